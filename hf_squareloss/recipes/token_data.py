"""Data for token classification in one shape: splits with lists `tokens` and `tags`, and what the tags mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.cache import tokenized_splits
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.tables import Columns, literal, read_table, to_dataset

if TYPE_CHECKING:
    from datasets import Dataset

CONLL = (".conll", ".iob", ".txt")
IGNORED = -100  # the label of what has none: special tokens, padding, and all but the first piece of a token


# ---- files ----------------------------------------------------------------------------------------------------------
def read_sentences(file: str | Path, name: str = "table") -> Columns:
    """The columns of a file with one sentence a row, whose tokens and tags are lists.

    Args:
        file: as `read_table` takes it: JSON and parquet with lists, csv and tsv with spaces between the tokens and
            between the tags; or .conll, .iob, .txt: a token a line, its tag in the last of the columns, which spaces or
            tabs separate, and an empty line between sentences. Lines that begin with -DOCSTART- are left out.
        name: how errors call it, such as "train".

    Raises:
        ValueError: as `read_table`, or a line of another number of columns.
    """
    path = Path(file)
    if path.suffix.lower() not in CONLL:
        return read_table(file, name)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name} file {file} cannot be read: {error}") from error
    rows: list[list[list[str]]] = [[]]
    width = None
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields or fields[0] == "-DOCSTART-":
            rows.append([])
            continue
        width = width or len(fields)
        if len(fields) != width:
            raise ValueError(f"{name} file {file}, line {number}: expected {width} columns, got {len(fields)}")
        rows[-1].append(fields)
    sentences = [row for row in rows if row]
    if not sentences:
        raise ValueError(f"the {name} split is empty: no rows in {file}")
    columns: Columns = {"tokens": [[fields[0] for fields in row] for row in sentences]}
    if width != 1:
        columns["tags"] = [[fields[-1] for fields in row] for row in sentences]
    return columns


def load_sentences(files: Mapping[str, str]) -> dict[str, Dataset]:
    """Local files, one per split, as `read_sentences` reads them; text is cut into words at its spaces."""
    splits = {}
    for split, file in files.items():
        columns = read_sentences(file, split)
        lists = {name: [v.split() if isinstance(v, str) else v for v in values] for name, values in columns.items()}
        splits[split] = to_dataset(lists, split)
    return splits


# ---- tags -----------------------------------------------------------------------------------------------------------
def token_data(
    splits: Mapping[Any, Dataset],
    text_column: str | None = None,
    label_column: str | None = None,
    task_name: str = "ner",
) -> ClassificationData:
    """Splits with the columns `tokens` and `tags`, lists of text, and the names of the tags.

    Args:
        splits: with one sentence a row.
        text_column: the tokens; default: `tokens` where there is such a column, or else the first.
        label_column: the tags; default: `<task_name>_tags`, or `tags`, or else the second.

    The classes are those of the features or else of the training tags. A test split may be without tags.

    Raises:
        ValueError: no split, an empty one, a missing column, a row with another number of tags than of tokens, or with
            a tag that training does not have.
    """
    if not splits:
        raise ValueError("the data has none of the splits train, validation and test")
    ours: dict[str, Dataset] = {}
    names: list[str] | None = None
    for split in sorted(splits, key=lambda name: name != "train"):  # whose tags are the classes
        rows = splits[split]
        if len(rows) == 0:
            raise ValueError(f"the {split} split is empty")
        text = text_column or ("tokens" if "tokens" in rows.column_names else rows.column_names[0])
        others = [f"{task_name}_tags", "tags", *(name for name in rows.column_names if name != text)]
        tags = label_column or next((name for name in others if name in rows.column_names), "tags")
        for column in (text, tags):
            if column not in rows.column_names and not (column == tags and split.startswith("test")):
                raise ValueError(f"the {split} split has no column {column!r}; it has {', '.join(rows.column_names)}")
        ours[split] = _lists(rows, {"tokens": text, "tags": tags}, split)
        if tags in rows.column_names and "tags" in ours[split].column_names:
            if names is None:
                names = _names(rows.features[tags]) or tags_in(ours[split])
                if not names:
                    raise ValueError(f"no sentence of the {split} split has a token")
            _require_known(ours[split]["tags"], names, split)
    return ClassificationData(ours, names or [])


def tags_in(rows: Dataset) -> list[str]:
    """The different tags of a split: numbers in their order, then words in theirs."""
    different = {tag for tags in rows["tags"] for tag in tags}
    return sorted(different, key=lambda tag: (not tag.isdecimal(), int(tag) if tag.isdecimal() else 0, tag))


def _lists(rows: Dataset, columns: Mapping[str, str], split: str) -> Dataset:
    """The rows with our columns alone, as lists of text of one length."""
    from datasets import Dataset, Features, List, Value

    feature = _names(rows.features[columns["tags"]]) if columns["tags"] in rows.column_names else None
    tokens = [literal(value) for value in rows[columns["tokens"]]]
    tags: list[Any] | None = None
    if columns["tags"] in rows.column_names:
        tags = [_named(value, feature, split, row) for row, value in enumerate(rows[columns["tags"]], 1)]
        if split.startswith("test") and all(value is None for value in tags):
            tags = None
    for row, words in enumerate(tokens, 1):
        for column, value in (("tokens", words), *([("tags", tags[row - 1])] if tags is not None else [])):
            if not isinstance(value, list) or not all(isinstance(entry, str) and entry for entry in value):
                raise ValueError(
                    f"the {split} split, row {row}: {columns[column]} must be a list of words, got {value}"
                )
        if tags is not None and len(words) != len(tags[row - 1]):
            raise ValueError(f"the {split} split, row {row}: {len(words)} tokens and {len(tags[row - 1])} tags")
    found = {"tokens": tokens, **({} if tags is None else {"tags": tags})}
    return Dataset.from_dict(found, features=Features({name: List(Value("string")) for name in found}))


def _named(value: Any, names: Sequence[str] | None, split: str, row: int) -> Any:
    if names is None or value is None:
        return literal(value)
    wrong = next((tag for tag in value if tag is None or not 0 <= tag < len(names)), None)
    if wrong is not None:
        raise ValueError(f"the {split} split, row {row}: the tag {wrong} is outside 0 to {len(names) - 1}")
    return [names[tag] for tag in value]


def _names(feature: Any) -> list[str] | None:
    from datasets import ClassLabel, LargeList, List

    inner = feature.feature if isinstance(feature, List | LargeList) else None
    return list(inner.names) if isinstance(inner, ClassLabel) else None


def _require_known(rows: Sequence[Sequence[str]], names: Sequence[str], split: str) -> None:
    known = set(names)
    for row, tags in enumerate(rows, 1):
        unknown = next((tag for tag in tags if tag not in known), None)
        if unknown is not None:
            raise ValueError(
                f"the {split} split, row {row}: the training tags do not have {unknown!r}; "
                f"known are {', '.join(names[:10])}"
            )


def _classes(tags: Sequence[str], names: Sequence[str]) -> list[int]:
    """The classes of tags, whatever their case: `fit_to_model` may have taken the model's names."""
    exact, folded = _indices(tuple(names))
    return [exact[tag] if tag in exact else folded[tag.casefold()] for tag in tags]


@cache
def _indices(names: tuple[str, ...]) -> tuple[dict[str, int], dict[str, int]]:
    return {name: i for i, name in enumerate(names)}, {name.casefold(): i for i, name in enumerate(names)}


# ---- the model's inputs ---------------------------------------------------------------------------------------------
def encode_sentences(
    data: ClassificationData,
    tokenizer: Any,
    *,
    max_length: int,
    pad: bool = False,
    label_all_tokens: bool = False,
    num_proc: int | None = None,
    overwrite: bool = False,
    cache_dir: str | None = None,
) -> dict[str, Dataset]:
    """Every split as ids of word pieces, with `labels` where tags are known, and the place of each token.

    The first piece of a token has its label; the others `IGNORED`, or, with `label_all_tokens`, the same label, and
    I-X after B-X. `starts` is the place of each token's first piece, or -1 where it has none: it was cut off by
    `max_length`, or the tokenizer makes no piece of it (of U+200D, as BERT's).

    Raises:
        ValueError: a tokenizer that cannot say which piece belongs to which token, or a split of which no tag is left.
    """
    from datasets.fingerprint import Hasher

    if not tokenizer.is_fast:
        raise ValueError(
            f"a {type(tokenizer).__name__} does not say which piece belongs to which token: take a fast one"
        )
    names = data.label_names or []
    inner = [names.index(within) if (within := re.sub("^B-", "I-", name)) in names else c
             for c, name in enumerate(names)]  # fmt: skip
    key = Hasher.hash((tokenizer, max_length, pad, label_all_tokens, names))  # before a call sets how it truncates

    def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
        encoded = tokenizer(
            rows["tokens"],
            is_split_into_words=True,
            truncation=True,
            max_length=max_length,
            padding="max_length" if pad else False,
        )
        columns = {**encoded, "starts": []}
        if "tags" in rows:
            columns["labels"] = []
        for row, tokens in enumerate(rows["tokens"]):
            starts, labels = [-1] * len(tokens), []
            classes = _classes(rows["tags"][row], names) if "tags" in rows else []
            for place, word in enumerate(encoded.word_ids(row)):
                label = IGNORED
                if word is not None and starts[word] < 0:
                    starts[word] = place
                    label = classes[word] if classes else IGNORED
                elif word is not None and classes and label_all_tokens:
                    label = inner[classes[word]]
                labels.append(label)
            columns["starts"].append(starts)
            if "tags" in rows:
                columns["labels"].append(labels)
        return columns

    options: dict[str, Any] = {"num_proc": num_proc, "overwrite": overwrite, "cache_dir": cache_dir}
    encoded = tokenized_splits(data.splits, encode, key, **options)
    for name, rows in encoded.items():
        if "labels" in rows.column_names and all(place < 0 for starts in rows["starts"] for place in starts):
            raise ValueError(f"no token of the {name} split has a tag within max_seq_length={max_length}")
    return encoded


def label_counts(encoded: Dataset, num_labels: int) -> list[int]:
    """How many labels of each class an encoded split has."""
    counts = Counter(label for labels in encoded["labels"] for label in labels)
    return [counts[c] for c in range(num_labels)]


def cut_sentences(encoded: Mapping[str, Dataset]) -> str:
    """One line about sentences longer than the model's input; empty where there are none."""
    cut = {name: [_cut_tokens(starts) for starts in rows["starts"]] for name, rows in encoded.items()}
    told = [
        f"{sum(map(bool, counts))} of {len(counts)} in {name} ({sum(counts)} tokens)"
        for name, counts in cut.items()
        if any(counts)
    ]
    if not told:
        return ""
    return f"Sentences longer than max_seq_length are cut, and the tokens at their ends left out: {', '.join(told)}"


def _cut_tokens(starts: Sequence[int]) -> int:
    """How many tokens lie behind the last one that is there; one without pieces, before it, is not cut off."""
    return next((count for count, place in enumerate(reversed(starts)) if place >= 0), len(starts))
