"""Texts for language models, from files of lines or tables and from the Hub, whole or as a stream."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_squareloss.recipes.hub_splits import load_splits
from hf_squareloss.recipes.tables import FORMATS, read_table

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

FILES = (".txt", *FORMATS)
_LINES, _BLOCKS = 10_000, 1_000  # of a stream, among which the next one is drawn


def load_texts(files: Mapping[str, str], column: str = "text", *, linebreaks: bool = True) -> dict[str, Dataset]:
    """Local files as splits with the columns `text` and `row`, the place of the text in its file, from 0.

    Args:
        files: split name -> path. A .txt file (UTF-8) has one text a line; others are tables, as `read_table` says.
            Blank texts are left out.
        column: of a table, the column of the text.
        linebreaks: whether a line of a .txt file keeps its end, so that texts put together are the file.

    Raises:
        ValueError: a missing, empty or unreadable file, a missing column, an empty cell.
    """
    from datasets import Dataset

    splits = {}
    for name, file in files.items():
        if Path(file).suffix.lower() == ".txt":
            texts: list[Any] = list(_lines(file, name, linebreaks))
        else:
            table = read_table(file, name)
            _require_column(column, table, name)
            texts = table[column]
        splits[name] = Dataset.from_dict(_numbered(texts, name))
        if not len(splits[name]):
            raise ValueError(f"the {name} split is empty: no text in {file}")
    return splits


def load_named_texts(
    name: str, config: str | None, column: str, split_names: Mapping[str, str | None], **load_options: Any
) -> dict[str, Any]:
    """The splits train, validation and test of a data set of the Hub, with the columns `text` and `row`.

    Args:
        split_names: as for `load_splits`.
        load_options: passed to `datasets.load_dataset` (cache_dir, token, revision, ...); with `streaming=True` each
            split is an `IterableDataset` with the one column `text`, as of `stream_file`.

    Blank texts and nulls are left out; `row` counts them.

    Raises:
        ValueError: none of these splits, or no such column.
    """
    splits = load_splits(name, config, split_names, **load_options)
    for split, rows in splits.items():
        _require_column(column, rows.column_names or _columns_of(rows), split)
        rows = rows.select_columns([column])
        rows = rows if column == "text" else rows.rename_column(column, "text")
        if not load_options.get("streaming"):
            rows = rows.add_column("row", np.arange(len(rows))).filter(_is_text, input_columns="text")
            if not len(rows):
                raise ValueError(f"the {split} split is empty: no text in {name}")
        splits[split] = rows
    return splits


def stream_file(file: str, column: str = "text", *, linebreaks: bool = True) -> IterableDataset:
    """A training file as a stream with the one column `text`: no more than some texts of it are in memory.

    Cells of a csv file are text as it is written, as `read_table` has them.

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
    if suffix == ".csv":
        options = _as_text(file, column)
    rows: Any = load_dataset(kind[suffix], data_files={"train": file}, streaming=True, **options)["train"]
    name = "text" if suffix == ".txt" else column
    _require_column(name, _columns_of(rows), "train")
    rows = rows.select_columns([name])
    return rows if name == "text" else rows.rename_column(name, "text")


def training_stream(rows: IterableDataset, count: int | None = None) -> IterableDataset:
    """The first `count` texts of a stream, or all of them, without blank ones."""
    texts = rows.filter(_is_text, input_columns="text")
    return texts if count is None else texts.take(count)


def shuffled(rows: IterableDataset, seed: int, *, blocks: bool) -> IterableDataset:
    """A stream of rows of tokens in an order that the seed decides, as far as a buffer allows.

    Blocks are shuffled, not the texts that they are cut from, which stay with their neighbours.
    """
    return rows.shuffle(seed=seed, buffer_size=_BLOCKS if blocks else _LINES)


def read_stream(rows: Any, count: int | None, name: str) -> Dataset:
    """The same as a data set in memory, with the column `row` too."""
    from datasets import Dataset

    texts = ((row, text) for row, text in enumerate(row["text"] for row in rows) if _is_text(text))
    kept = list(islice(texts, count))
    if not kept:
        raise ValueError(f"the {name} split is empty: no text in the stream")
    return Dataset.from_dict({"text": [text for _, text in kept], "row": [row for row, _ in kept]})


def content_of_stream(name: str, *rest: object) -> Dataset:
    """What a stream is made of, for the identity of a run: of a file a digest of its bytes, else its name."""
    from datasets import Dataset

    content = name
    if Path(name).is_file():
        with open(name, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    return Dataset.from_dict({"stream": [str(part) for part in (content, *rest)]})


def _as_text(file: str, column: str) -> dict[str, Any]:
    """Options of the csv reader of `datasets` by which it takes a column as it is written: 007 and NA stay."""
    from datasets import Features, Value

    with open(file, encoding="utf-8-sig", newline="") as lines:
        there = next(csv.reader(lines), [])
    _require_column(column, there, "train")
    return {"usecols": [column], "features": Features({column: Value("string")}), "keep_default_na": False}


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


def _require_column(column: str, there: Iterable[str], name: str) -> None:
    if column not in there:
        raise ValueError(f"the {name} split has no column {column!r}; it has {', '.join(there)}")


def _numbered(texts: Iterable[Any], name: str) -> dict[str, list[Any]]:
    """The texts that are not blank, and the row of each."""
    found: dict[str, list[Any]] = {"text": [], "row": []}
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"the {name} split, row {row + 1}: expected a text, got {text!r}")
        if _is_text(text):
            found["text"].append(text)
            found["row"].append(row)
    return found


def _is_text(value: Any) -> bool:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"expected a text, got {value!r}")
    return bool(value and value.strip())
