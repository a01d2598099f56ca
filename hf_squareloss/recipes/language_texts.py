"""Texts for language models, from files of lines or tables and from the Hub, whole or as a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.hub_splits import load_splits
from hf_squareloss.recipes.tables import FORMATS, read_table

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

FILES = (".txt", *FORMATS)
_BUFFER = 10_000  # texts of a stream among which the next one is drawn


def load_texts(files: Mapping[str, str], column: str = "text", *, linebreaks: bool = True) -> dict[str, Dataset]:
    """Local files as splits with the one column `text`.

    Args:
        files: split name -> path. A .txt file (UTF-8) has one text a line; others are tables, as `read_table` says.
        column: of a table, the column of the text.
        linebreaks: whether a line of a .txt file keeps its end, so that texts put together are the file.

    Raises:
        ValueError: a missing, empty or unreadable file, a missing column, an empty cell.
    """
    from datasets import Dataset

    splits = {}
    for name, file in files.items():
        if Path(file).suffix.lower() == ".txt":
            texts: list[Any] = [line for line in _lines(file, name, linebreaks) if line.strip()]
        else:
            texts = _column(read_table(file, name), column, name)
        _require_text(texts, name, file)
        splits[name] = Dataset.from_dict({"text": texts})
    return splits


def load_named_texts(
    name: str, config: str | None, column: str, split_names: Mapping[str, str | None], **load_options: Any
) -> dict[str, Any]:
    """The splits train, validation and test of a data set of the Hub, with the one column `text`.

    Args:
        split_names: as for `load_splits`.
        load_options: passed to `datasets.load_dataset` (cache_dir, token, revision, ...); with `streaming=True` each
            split is an `IterableDataset`.

    Raises:
        ValueError: none of these splits, or no such column.
    """
    splits = load_splits(name, config, split_names, **load_options)
    for split, rows in splits.items():
        there = rows.column_names or _columns_of(rows)
        if column not in there:
            raise ValueError(f"the {split} split has no column {column!r}; it has {', '.join(there)}")
        rows = rows.select_columns([column])
        splits[split] = rows if column == "text" else rows.rename_column(column, "text")
    return splits


def stream_file(file: str, column: str = "text", *, linebreaks: bool = True) -> IterableDataset:
    """A training file as a stream with the one column `text`: no more than some texts of it are in memory.

    Raises:
        ValueError: another kind of file, one that is missing or empty, or a missing column.
    """
    from datasets import load_dataset

    kind = {".txt": "text", ".csv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
    suffix = Path(file).suffix.lower()
    if suffix not in kind:
        raise ValueError(f"train file {file}: a stream must end in {', '.join(kind)}")
    if not Path(file).is_file() or not Path(file).stat().st_size:
        raise ValueError(f"train file {file} {'is empty' if Path(file).is_file() else 'does not exist'}")
    options: dict[str, Any] = {"keep_linebreaks": linebreaks} if suffix == ".txt" else {}
    rows: Any = load_dataset(kind[suffix], data_files={"train": file}, streaming=True, **options)["train"]
    there = _columns_of(rows)
    name = "text" if suffix == ".txt" else column
    if name not in there:
        raise ValueError(f"the train split has no column {name!r}; it has {', '.join(there)}")
    rows = rows.select_columns([name])
    return rows if name == "text" else rows.rename_column(name, "text")


def shuffled(rows: IterableDataset, seed: int, count: int | None = None) -> IterableDataset:
    """A stream in an order that the seed decides, as far as a buffer allows; the first `count` texts of it at most."""
    return (rows if count is None else rows.take(count)).shuffle(seed=seed, buffer_size=_BUFFER)


def read_stream(rows: Any, count: int | None) -> Dataset:
    """The first `count` texts of a stream, or all of them, as a data set in memory."""
    from datasets import Dataset

    return Dataset.from_dict({"text": [row["text"] for row in islice(rows, count)]})


def content_of_stream(name: str, *rest: object) -> Dataset:
    """What a stream is made of, for the identity of a run: of a file a digest of its bytes, else its name."""
    from datasets import Dataset

    content = name
    if Path(name).is_file():
        with open(name, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    return Dataset.from_dict({"stream": [str(part) for part in (content, *rest)]})


def _columns_of(stream: Any) -> list[str]:
    first = list(stream.take(1))
    return list(first[0]) if first else []


def _lines(file: str, name: str, linebreaks: bool) -> Iterator[str]:
    path, number = Path(file), 0
    if not path.is_file():
        raise ValueError(f"{name} file {file} does not exist")
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as lines:
            for line in lines:
                number += 1
                yield line if linebreaks else line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name} file {file} cannot be read: after line {number} it is not UTF-8: {error}") from error


def _column(table: Mapping[str, list[Any]], column: str, name: str) -> list[Any]:
    if column not in table:
        raise ValueError(f"the {name} split has no column {column!r}; it has {', '.join(table)}")
    return table[column]


def _require_text(texts: Iterable[Any], name: str, file: str) -> None:
    row = 0
    for row, text in enumerate(texts, 1):
        if not isinstance(text, str):
            raise ValueError(f"the {name} split, row {row}: expected a text, got {text!r}")
    if not row:
        raise ValueError(f"the {name} split is empty: no text in {file}")
