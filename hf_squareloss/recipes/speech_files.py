"""Speech data in one shape: splits with the columns audio and text; read, checked, resampled, encoded and padded."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.audio_folders import is_audio_folder, read_audio_folder
from hf_squareloss.recipes.hub_splits import load_splits
from hf_squareloss.recipes.notices import say
from hf_squareloss.recipes.row_names import row_name, with_places
from hf_squareloss.recipes.tables import Columns, read_table

if TYPE_CHECKING:
    from datasets import Dataset


_SHOWN = 5  # bad utterances in a message


# ---- loading --------------------------------------------------------------------------------------------------------
def load_speech_files(
    files: Mapping[str, str],
    *,
    audio_column: str = "audio",
    text_column: str = "text",
    audio_root: str | None = None,
    skip_bad: bool = False,
) -> dict[str, Dataset]:
    """Utterances listed in local files, one per split, as `read_table` reads them.

    Args:
        files: split name -> path.
        audio_column: the column with the path of a sound file (whatever libsndfile reads) or of a .npy file with a
            waveform (samples,) or features (frames, dims).
        text_column: the column with the transcript; the test split may lack it.
        audio_root: the folder at which relative paths start; default: the folder of the list.
        skip_bad: leave training and validation rows without a transcript out, as `without_bad` says.

    A list with a column `offset` names segments, as NeMo's manifests do, and `duration` is their length, in seconds.

    Returns:
        Per split a Dataset with columns `audio` (path and bytes, as datasets stores undecoded audio, and the segment)
        and `text`, and `PLACE`.

    Raises:
        ValueError: as `read_table`, or a missing column, path or training transcript, an offset that is no number.
    """
    return {
        split: utterances(
            read_table(file, split),
            split,
            audio_root or Path(file).parent,
            audio_column=audio_column,
            text_column=text_column,
            skip_bad=skip_bad,
        )
        for split, file in files.items()
    }


def utterances(
    table: Columns,
    split: str,
    root: str | Path,
    *,
    audio_column: str = "audio",
    text_column: str = "text",
    skip_bad: bool = False,
) -> Dataset:
    """The columns audio, text and `PLACE` from a table of paths that start at `root`, as for `load_speech_files`."""
    from datasets import Dataset, Features, Value

    missing = [column for column in (audio_column, text_column) if column not in table]
    if audio_column in missing or (missing and split != "test"):
        raise ValueError(f"the {split} split has no column {missing[0]!r}; it has {', '.join(table)}")
    audio, feature = file_entries(table, split, root, audio_column)
    features: dict[str, Any] = {"audio": feature}
    columns: dict[str, list[Any]] = {"audio": audio}
    if text_column in table:
        columns["text"], features["text"] = table[text_column], Value("string")
        for row, text in enumerate(table[text_column], 1):
            if isinstance(text, list | dict | bytes):
                raise ValueError(f"{split} row {row}: {text_column} must be text, got {text}")
    rows = Dataset.from_dict(columns, features=Features(features))
    return _checked(split, with_places(rows, split), skip_bad)


def file_entries(
    table: Columns, split: str, root: str | Path, column: str, kind: str = "audio"
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A column of paths that start at `root`, as datasets stores what is not decoded, and its feature.

    Of sounds with the columns `offset` and `duration` beside it, the segment too. `kind` is for errors.

    Raises:
        ValueError: a missing path; an offset or a duration that is no number of seconds.
    """
    from datasets import Value

    entries = [_entry(value, root, f"{split} row {row}", kind) for row, value in enumerate(table[column], 1)]
    feature: dict[str, Any] = {"path": Value("string"), "bytes": Value("binary")}
    if kind == "audio" and "offset" in table:
        feature |= {"offset": Value("float64"), "duration": Value("float64")}
        durations = table.get("duration", [None] * len(entries))
        for row, (entry, offset, duration) in enumerate(zip(entries, table["offset"], durations, strict=True), 1):
            entry["offset"] = _seconds("offset", offset, f"{split} row {row}")
            entry["duration"] = _seconds("duration", duration, f"{split} row {row}")
    return entries, feature


def _entry(value: Any, root: str | Path, name: str, kind: str) -> dict[str, Any]:
    if isinstance(value, dict) and isinstance(value.get("bytes"), bytes):  # a parquet file of datasets
        return {"path": value.get("path"), "bytes": value["bytes"]}
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name}: expected the path of an {kind} file, got {value!r}")
    return {"path": str(Path(root, value)), "bytes": None}


def _seconds(column: str, value: Any, name: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{name}: {column} must be a number of seconds, got {value!r}")
    return seconds


def load_named_speech(
    name: str,
    config: str | None,
    split_names: Mapping[str, str | None],
    *,
    audio_column: str = "audio",
    text_column: str = "text",
    skip_bad: bool = False,
    **load_options: Any,
) -> dict[str, Dataset]:
    """A speech data set of the Hub (or a folder that `datasets.load_dataset` reads).

    Args:
        split_names: our split name (train, validation, test) -> its split names there, such as "train+validation".
            None: ours, where there is one. Others are not taken.
        skip_bad: as for `load_speech_files`.
        load_options: passed to `datasets.load_dataset` (cache_dir, token, revision, ...).

    Returns:
        As `load_speech_files`. The audio stays encoded: reading it is `read_audio`'s, which needs no torchcodec.
    """
    from datasets import Audio

    columns: dict[str, Any] = {"audio_column": audio_column, "text_column": text_column}
    if is_audio_folder(name):
        return {
            split: utterances(table, split, name, **columns, skip_bad=skip_bad)
            for split, table in read_audio_folder(name, split_names).items()
        }
    loaded: dict[str, Any] = load_splits(name, config, split_names, **load_options)
    splits = {}
    for split in (split for split in split_names if split in loaded):
        rows = loaded[split]
        for column in (audio_column, text_column):
            if column not in rows.column_names and not (split == "test" and column == text_column):
                raise ValueError(f"the {split} split has no column {column!r}; it has {', '.join(rows.column_names)}")
        ours = {audio_column: "audio", text_column: "text"}
        rows = rows.select_columns([column for column in ours if column in rows.column_names])
        rows = rows.rename_columns({a: b for a, b in ours.items() if a in rows.column_names and a != b})
        rows = with_places(rows.cast_column("audio", Audio(decode=False)), split)
        splits[split] = _checked(split, rows, skip_bad)
    if not splits:
        raise ValueError(
            f"{name} has none of the splits {', '.join(split_names)}: say which by the options that end in split_name"
        )
    return splits


def _checked(split: str, rows: Dataset, skip_bad: bool) -> Dataset:
    """Only training needs a transcript with words in it: in evaluation silence has none."""
    if len(rows) == 0:
        raise ValueError(f"the {split} split is empty")
    if "text" not in rows.column_names:
        return rows
    missing = [i for i, text in enumerate(rows["text"]) if text is None or (split == "train" and not str(text).strip())]
    faults = {i: f"{row_name(rows[i], 'audio', split, i)}: the transcript is empty" for i in missing}
    return without_bad(rows, faults, split, skip=skip_bad)


def without_bad(rows: Dataset, faults: Mapping[int, str], split: str, *, skip: bool) -> Dataset:
    """The rows of a split without those that cannot be used.

    Args:
        faults: position -> what is wrong with the row, with its name.
        skip: print them and leave them out, in training and validation; predictions stand in the order of all rows.

    Raises:
        ValueError: what is wrong with the rows, the first of them, unless `skip`; or nothing is left.
    """
    if not faults:
        return rows
    said = "; ".join(list(faults.values())[:_SHOWN])
    if len(faults) > 1:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        said = f"{len(faults)} of {len(rows)} utterances of the {split} split cannot be used: {said}{more}"
    if not skip or split.startswith("test"):
        advice = "" if split.startswith("test") else ". --skip_bad_utterances leaves such utterances out"
        raise ValueError(said + advice)
    if len(faults) == len(rows):
        raise ValueError(f"no utterance of the {split} split can be used: {said}")
    say(f"Left out: {said}")
    return rows.select([i for i in range(len(rows)) if i not in faults])


# ---- texts ----------------------------------------------------------------------------------------------------------
def normalize_texts(
    splits: Mapping[str, Dataset],
    *,
    ignore: Iterable[str] = (),
    case: Callable[[str], str] = str,
    skip_bad: bool = False,
) -> dict[str, Dataset]:
    """The splits with transcripts without the characters in `ignore`, in one case, with single spaces.

    Args:
        case: `str.lower`, `str.upper`, or `str` to leave letters as they are.

    Raises:
        ValueError: a training transcript of which nothing is left, unless `skip_bad`.
    """
    dropped = re.compile("|".join(re.escape(text) for text in ignore) or "(?!)")

    def normalize(row: dict[str, Any]) -> dict[str, str]:
        return {"text": " ".join(case(dropped.sub("", str(row["text"]))).split())}

    return {
        split: _checked(split, rows.map(normalize, desc=f"Normalizing {split}"), skip_bad)
        if "text" in rows.column_names
        else rows
        for split, rows in splits.items()
    }


def case_of(vocabulary: Iterable[str]) -> Callable[[str], str]:
    """`str.lower` where all its single letters are lower case, `str.upper` where all are upper case, else `str`."""
    letters = "".join(token for token in vocabulary if len(token) == 1)
    return str.lower if letters.islower() else str.upper if letters.isupper() else str


def encode_text(tokenizer: Any, text: str, name: str) -> list[int]:
    """The transcript as token ids. ValueError for what the tokenizer does not know."""
    tokens = tokenizer.tokenize(text)
    unknown = [t for t in tokens if tokenizer.convert_tokens_to_ids(t) in (None, tokenizer.unk_token_id)]
    if unknown:
        raise ValueError(
            f"{name}: the vocabulary does not have {', '.join(map(repr, sorted(set(unknown))))}, which the transcript "
            f"{text!r} contains: leave it out with chars_to_ignore, or use a tokenizer that has it"
        )
    return tokenizer(text).input_ids


def require_round_trip(text: str, decoded: str, name: str) -> None:
    """ValueError where decoding a transcript's tokens gives another text: errors would be counted against that one."""
    if " ".join(decoded.split()) != " ".join(text.split()):
        raise ValueError(
            f"{name}: the tokenizer gives back {decoded!r} for {text!r}, so errors would not be counted against the "
            "transcript: change it, or use another tokenizer"
        )
