"""Speech data in one shape: splits with the columns audio and text; read, checked, resampled, encoded and padded."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

_FORMATS = (".csv", ".tsv", ".json", ".jsonl")


# ---- loading --------------------------------------------------------------------------------------------------------
def load_speech_files(
    files: Mapping[str, str], *, audio_column: str = "audio", text_column: str = "text"
) -> dict[str, Dataset]:
    """Utterances listed in local csv, tsv (tab-separated, unquoted) or json files, one per split.

    Args:
        files: split name -> path.
        audio_column: the column with the path of a sound file (whatever libsndfile reads) or of a .npy file with a
            waveform (samples,) or features (frames, dims); relative paths start at the folder of the list.
        text_column: the column with the transcript; the test split may lack it.

    Returns:
        Per split a Dataset with columns `audio` (path and bytes, as datasets stores undecoded audio) and `text`.

    Raises:
        ValueError: unknown kind of file, a missing, empty or broken file, a missing column, an empty transcript.
    """
    from datasets import Dataset

    splits = {}
    for split, file in files.items():
        rows = _read_rows(split, Path(file))
        missing = {audio_column, text_column} - rows[0].keys()
        if audio_column in missing or (missing and split != "test"):
            raise ValueError(f"the {split} split has no column {missing.pop()!r}; it has {', '.join(rows[0])}")
        columns: dict[str, list[Any]] = {
            "audio": [{"path": str(Path(file).parent / row[audio_column]), "bytes": None} for row in rows]
        }
        if not missing:
            columns["text"] = [row[text_column] for row in rows]
        splits[split] = _checked(split, Dataset.from_dict(columns))
    return splits


def load_named_speech(
    name: str,
    config: str | None,
    split_names: Mapping[str, str],
    *,
    audio_column: str = "audio",
    text_column: str = "text",
    **load_options: Any,
) -> dict[str, Dataset]:
    """A speech data set of the Hub (or a folder that `datasets.load_dataset` reads).

    Args:
        split_names: our split name (train, validation, test) -> its split names there, such as "train+validation".
        load_options: passed to `datasets.load_dataset` (cache_dir, token, revision, ...).

    Returns:
        As `load_speech_files`. The audio stays encoded: reading it is `read_audio`'s, which needs no torchcodec.
    """
    from datasets import Audio, load_dataset

    splits = {}
    for split, theirs in split_names.items():
        rows: Any = load_dataset(name, config, split=theirs, **load_options)
        for column in (audio_column, text_column):
            if column not in rows.column_names and not (split == "test" and column == text_column):
                raise ValueError(f"the {split} split has no column {column!r}; it has {', '.join(rows.column_names)}")
        columns = {audio_column: "audio", text_column: "text"}
        rows = rows.select_columns([column for column in columns if column in rows.column_names])
        rows = rows.rename_columns({a: b for a, b in columns.items() if a in rows.column_names and a != b})
        splits[split] = _checked(split, rows.cast_column("audio", Audio(decode=False)))
    return splits


def _read_rows(split: str, file: Path) -> list[dict[str, Any]]:
    if file.suffix not in _FORMATS:
        raise ValueError(f"{split} file {file}: must end in {', '.join(_FORMATS)}")
    if not file.is_file():
        raise ValueError(f"{split} file {file} does not exist")
    try:
        content = file.read_text(encoding="utf8")
        if file.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(content), strict=True))
        elif file.suffix == ".tsv":
            rows = list(csv.DictReader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE))
        elif content.lstrip().startswith("["):
            rows = json.loads(content)
        else:
            rows = [json.loads(line) for line in content.splitlines() if line.strip()]
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{split} file {file} cannot be read: {error}") from error
    if not rows:
        raise ValueError(f"the {split} split is empty: no rows in {file}")
    for number, row in enumerate(rows, 1):
        if None in row or row.keys() != rows[0].keys() or None in row.values():
            raise ValueError(f"{split} file {file}, row {number}: expected a value for each of {', '.join(rows[0])}")
    return rows


def _checked(split: str, rows: Dataset) -> Dataset:
    if len(rows) == 0:
        raise ValueError(f"the {split} split is empty")
    if "text" in rows.column_names:
        empty = next((i for i, text in enumerate(rows["text"]) if not str(text or "").strip()), None)
        if empty is not None:
            raise ValueError(f"{utterance_name(split, empty, rows[empty])}: the transcript is empty")
    return rows


def utterance_name(split: str, index: int, row: Mapping[str, Any]) -> str:
    """What errors call an utterance: its split, its row (the first is 1) and its path where there is one."""
    path = row["audio"]["path"]
    return f"{split} row {index + 1}" + (f" ({path})" if path else "")


# ---- texts ----------------------------------------------------------------------------------------------------------
def normalize_texts(
    splits: Mapping[str, Dataset], *, ignore: Iterable[str] = (), case: Callable[[str], str] = str
) -> dict[str, Dataset]:
    """The splits with transcripts without the characters in `ignore`, in one case, with single spaces.

    Args:
        case: `str.lower`, `str.upper`, or `str` to leave letters as they are.

    Raises:
        ValueError: a transcript of which nothing is left.
    """
    dropped = re.compile("|".join(re.escape(text) for text in ignore) or "(?!)")

    def normalize(row: dict[str, Any]) -> dict[str, str]:
        return {"text": " ".join(case(dropped.sub("", str(row["text"]))).split())}

    return {
        split: _checked(split, rows.map(normalize, desc=f"Normalizing {split}"))
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
