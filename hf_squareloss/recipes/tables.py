"""Tables in files: csv, tsv, JSON and parquet as columns of text. Values are what the file says: no type is guessed."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.notices import say

if TYPE_CHECKING:
    from datasets import Dataset

FORMATS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
_SHOWN = 5  # faults that a message lists

Columns = dict[str, list[Any]]


def to_dataset(columns: Columns, split: str) -> Dataset:
    """Columns as a Dataset, but for those whose values have no type together: these are named on the screen."""
    from datasets import Dataset
    from pyarrow.lib import ArrowException

    kept, mixed = {}, []
    for name, values in columns.items():
        try:
            Dataset.from_dict({name: values})
            kept[name] = values
        except (ArrowException, TypeError):
            mixed.append(name)
    if mixed:
        say(f"Left out of the {split} split, values of different types: {', '.join(mixed)}")
    return Dataset.from_dict(kept)


def read_table(file: str | Path, name: str = "table") -> Columns:
    """The columns of a table in a file, in the file's order; all have one length, at least 1.

    A value is text as it is written (00017 and 1.10 stay so, true is "true"), a list of such, an object, or bytes; None
    for null and for a missing key. Text is UTF-8, or what a byte order mark says.

    Args:
        file: by its suffix, in upper or lower case,
            .csv: fields separated by commas, quoted where they need it; the first line names the columns;
            .tsv: separated by tabs. Quotes are characters like others, unless the whole file is as a csv writer
            (pandas) would write it;
            .json, .jsonl: a list of objects, or one object a line; a key may be missing;
            .parquet: classes in a file of `datasets` are their names;
            .gz after one of the first four: compressed.
        name: how errors call it, such as "train".

    Raises:
        ValueError: unknown suffix, a missing, broken or empty file, a column named twice, rows with more or fewer
            fields than the header, with their line numbers.
    """
    path, where = Path(file), f"{name} file {file}"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packed = suffixes[-1:] == [".gz"]
    kind = suffixes[-1 - packed] if len(suffixes) > packed else ""
    if kind not in FORMATS or (packed and kind == ".parquet"):
        raise ValueError(f"{where}: must end in {', '.join(FORMATS)}, or .gz after one of the first four")
    if not path.is_file():
        raise ValueError(f"{where} does not exist")
    try:
        if kind == ".parquet":
            columns = _read_parquet(path)
        else:
            content = path.read_bytes()
            text = _decoded(gzip.decompress(content) if packed else content)
            columns = {".csv": _read_csv, ".tsv": _read_tsv}.get(kind, _read_json)(text)
    except (ValueError, csv.Error, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{where} cannot be read: {error}") from error
    if not any(columns.values()):
        raise ValueError(f"the {name} split is empty: no rows in {file}")
    return columns


def literal(value: Any) -> Any:
    """A value as text, and a list as a list of texts; None, objects and bytes as they are.

    Example:
        >>> [literal(value) for value in (7, 0.5, True, "007", None, [1, "a"])]
        ['7', '0.5', 'true', '007', None, ['1', 'a']]
    """
    if value is None or isinstance(value, str | bytes | dict):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return [literal(entry) for entry in value]
    return str(value)


# ---- kinds of files -------------------------------------------------------------------------------------------------
def _decoded(content: bytes) -> str:
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"line {line} is not {'UTF-16' if utf16 else 'UTF-8'}: {error}") from error


def _read_csv(text: str) -> Columns:
    return _columns(_fields(text, strict=True))


def _read_tsv(text: str) -> Columns:
    if '"' in text:
        quoted = _as_quoted(text)
        if quoted is not None:
            return _columns(quoted)
    return _columns(_fields(text, delimiter="\t", quoting=csv.QUOTE_NONE))


def _as_quoted(text: str) -> list[tuple[int, list[str]]] | None:
    """The fields of a tsv file with quotes, or None: it has them where a csv writer makes the same file of the fields.

    GLUE's own files are not quoted, and have stray quotes.
    """
    try:
        rows = list(_fields(text, delimiter="\t", strict=True))
    except csv.Error:
        return None
    given = text.replace("\r\n", "\n").rstrip("\n")
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        written = io.StringIO(newline="")
        csv.writer(written, delimiter="\t", quoting=quoting, lineterminator="\n").writerows(row for _, row in rows)
        if written.getvalue().replace("\r\n", "\n").rstrip("\n") == given:
            return rows
    return None


def _fields(text: str, **dialect: Any) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, fields) of every row that is not a blank line."""
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), **dialect)
        line = 1
        try:
            for fields in reader:
                if fields:
                    yield line, fields
                line = reader.line_num + 1
        except csv.Error as error:
            raise csv.Error(f"line {line}: {error}") from error


@contextmanager
def _long_fields() -> Iterator[None]:
    """The csv module refuses fields of more than 131,072 characters, which a document may have."""
    limit = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(limit)


def _columns(rows: Iterable[tuple[int, list[str]]]) -> Columns:
    rows = iter(rows)
    _, header = next(rows, (0, []))
    twice = sorted({column for column in header if header.count(column) > 1})
    if twice:
        raise ValueError(f"two columns are called {twice[0]!r}")
    kept, faults = [], []
    for line, fields in rows:
        if len(fields) == len(header):
            kept.append(fields)
        else:
            faults.append(f"line {line} has {len(fields)}")
    if faults:
        more = f" and {len(faults) - _SHOWN} lines more" if len(faults) > _SHOWN else ""
        raise ValueError(
            f"expected {len(header)} fields as in the first line ({', '.join(header)}), but "
            f"{', '.join(faults[:_SHOWN])}{more}: a field with the separator in it must be quoted"
        )
    return {column: list(values) for column, values in zip(header, zip(*kept, strict=True), strict=False)}


def _read_json(text: str) -> Columns:
    options: Any = {"parse_float": str, "parse_int": str, "parse_constant": str}
    if text.lstrip().startswith("["):
        rows = json.loads(text, **options)
    else:
        rows = []
        for number, line in enumerate(text.split("\n"), 1):  # splitlines() would cut at U+2028 inside a text
            if line.strip():
                try:
                    rows.append(json.loads(line, **options))
                except ValueError as error:
                    raise ValueError(f"line {number}: {error}") from error
    wrong = next((number for number, row in enumerate(rows, 1) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise ValueError(f"row {wrong}: expected an object with the columns' names as keys")
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [literal(row.get(name)) for row in rows] for name in names}


def _read_parquet(path: Path) -> Columns:
    from datasets import ClassLabel, Features
    from pyarrow import parquet

    table = parquet.read_table(path)
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    for name, feature in Features.from_arrow_schema(table.schema).items():
        if isinstance(feature, ClassLabel):
            names: Any = feature.int2str
            columns[name] = [None if value is None else names(value) for value in columns[name]]
    return {name: [literal(value) for value in values] for name, values in columns.items()}
