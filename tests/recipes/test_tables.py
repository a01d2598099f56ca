"""Files arrive as they are written: no type is guessed, and what does not fit is refused with its line."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pandas
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_squareloss.recipes.tables import literal, read_table, to_dataset


def read(folder: Path, name: str, content: str | bytes) -> dict[str, list[Any]]:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_table(folder / name, "train")


EXPECTED = {"text": ["00017", "1.10"], "label": ["01", "1"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "text,label\n00017,01\n1.10,1\n"),
        ("a.CSV", "text,label\r\n00017,01\r\n\r\n1.10,1"),
        ("a.tsv", "text\tlabel\n00017\t01\n1.10\t1\n"),
        ("a.jsonl", '{"text": "00017", "label": "01"}\n\n{"text": 1.10, "label": 1}\n'),
        ("a.json", '[{"text": "00017", "label": "01"}, {"label": 1, "text": 1.10}]'),
        ("a.v2.csv.gz", gzip.compress(b"text,label\n00017,01\n1.10,1\n", mtime=0)),
        ("a.Jsonl.GZ", gzip.compress(b'{"text": "00017", "label": "01"}\n{"text": 1.10, "label": 1}', mtime=0)),
        ("a.csv", "\ufefftext,label\n00017,01\n1.10,1\n"),
        ("a.json", b"\xef\xbb\xbf" + b'[{"text": "00017", "label": "01"}, {"label": 1, "text": 1.10}]'),
        ("a.tsv", "text\tlabel\n00017\t01\n1.10\t1\n".encode("utf-16")),  # "Unicode text" of spreadsheets
    ],
)
def test_values_are_as_they_are_written(name: str, content: str | bytes, tmp_path: Path) -> None:
    assert read(tmp_path, name, content) == EXPECTED


def test_what_looks_like_a_type_stays_text(tmp_path: Path) -> None:
    words = ["NA", "null", "nan", "true", "2024-01-05", "1e5", "0x10", " padded ", ""]
    rows = [{"text": word} for word in words]
    lines = "\n".join(f'"{word}"' for word in words)
    assert read(tmp_path, "a.csv", f"text\n{lines}\n")["text"] == words
    assert read(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))["text"] == words
    late = [str(i) for i in range(10_001)] + ["word"]
    assert read(tmp_path, "late.csv", "text\n" + "\n".join(late))["text"] == late


def test_values_of_json(tmp_path: Path) -> None:
    content = '{"a": null, "b": [0, 1.50, "x", null], "c": true}\n{"b": [], "c": NaN, "d": {"e": 1}}\n'
    assert read(tmp_path, "a.jsonl", content) == {
        "a": [None, None],
        "b": [["0", "1.50", "x", None], []],
        "c": ["true", "NaN"],
        "d": [None, {"e": "1"}],
    }
    separators = "one\u2028two\u2029three\x85four\x0bfive"
    assert read(tmp_path, "b.jsonl", json.dumps({"text": separators}, ensure_ascii=False))["text"] == [separators]
    assert read(tmp_path, "b.csv", f"text\n{separators}\n")["text"] == [separators]
    assert read(tmp_path, "b.tsv", f"text\n{separators}\n")["text"] == [separators]


def test_parquet(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"]), "value": Value("float64")})
    rows = {"text": ["007", None], "label": [1, 0], "value": [1.5, 2.0]}
    Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "a.parquet")
    expected = {"text": ["007", None], "label": ["yes", "no"], "value": ["1.5", "2.0"]}
    assert read_table(tmp_path / "a.parquet") == expected
    pandas.DataFrame({"text": ["007"], "tags": [["a", "b"]], "n": [3]}).to_parquet(tmp_path / "b.parquet")
    assert read_table(tmp_path / "b.parquet") == {"text": ["007"], "tags": [["a", "b"]], "n": ["3"]}
    with pytest.raises(ValueError, match=r"train file .*c\.parquet cannot be read"):
        read(tmp_path, "c.parquet", "text,label\n")


# ---- quotes ---------------------------------------------------------------------------------------------------------
TRICKY = ['he said "no"', "two\tfields", "two\nlines", '"', "plain", '"all"', "", "crlf\r\nin it"]


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize(("name", "separator"), [("a.tsv", "\t"), ("a.csv", ",")])
def test_what_pandas_writes(name: str, separator: str, quoting: Any, tmp_path: Path) -> None:
    frame = pandas.DataFrame({"text": TRICKY, "label": ["x"] * len(TRICKY)})
    frame.to_csv(tmp_path / name, sep=separator, index=False, quoting=quoting)
    assert read_table(tmp_path / name)["text"] == TRICKY


@pytest.mark.parametrize("text", ['a " b', '"c', '"all of it"', '"a" and "b"', 'an ""inch""', '""', "it''s"])
def test_quotes_in_a_tsv_that_is_not_quoted_are_characters(text: str, tmp_path: Path) -> None:
    assert read(tmp_path, "a.tsv", f"text\tlabel\n{text}\tx\nplain\ty\n")["text"] == [text, "plain"]


def test_one_stray_quote_makes_all_of_a_tsv_literal(tmp_path: Path) -> None:
    content = 'text\tlabel\n"he said ""no"""\tx\n5" screen\ty\n'
    assert read(tmp_path, "a.tsv", content)["text"] == ['"he said ""no"""', '5" screen']


def test_long_fields(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    assert read(tmp_path, "a.csv", "text\n" + "x" * 200_000)["text"] == ["x" * 200_000]
    assert csv.field_size_limit() == limit


# ---- refusals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", 'text,label\n"a\nb",x\nc,y,z\nd\n', r"expected 2 fields .*\(text, label\), but line 4 has 3, line 5"),
        ("a.tsv", "text\tlabel\na\n", "line 2 has 1"),
        ("a.csv", "text,label\n" + "a\n" * 7, "line 6 has 1 and 2 lines more"),
        ("a.csv", 'text\n"a" b\n', "line 2: "),
        ("a.csv", 'text\na\n"b\nc\n', "line 3: unexpected end"),
        ("a.csv", "text,text\na,b\n", "two columns are called 'text'"),
        ("a.csv", b"text\nfine\ncaf\xe9\n", "line 3 is not UTF-8"),
        ("a.jsonl", '{"text": "a"}\n{"text":\n', "line 2: "),
        ("a.jsonl", '{"text": "a"}\n"b"\n', "row 2: expected an object"),
        ("a.json", "[{", "cannot be read"),
        ("a.csv.gz", "text\na\n", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"text\na\n", mtime=0)[:-9], "cannot be read"),
        ("a.csv", "", "train split is empty"),
        ("a.csv", "text\n", "train split is empty"),
        ("a.json", "[]", "train split is empty"),
        ("a.jsonl", "{}\n", "train split is empty"),
        ("a.xlsx", "", r"must end in \.csv, \.tsv"),
        ("a", "", r"must end in \.csv"),
        ("a.gz", "", r"must end in \.csv"),
        ("a.parquet.gz", "", r"must end in \.csv"),
    ],
)
def test_what_is_refused(name: str, content: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read(tmp_path, name, content)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train file .*no\.csv does not exist"):
        read_table(tmp_path / "no.csv", "train")


def test_literals() -> None:
    assert [literal(value) for value in (1, -1.0, False, b"x", {"a": 1})] == ["1", "-1.0", "false", b"x", {"a": 1}]


def test_columns_without_a_type_are_left_out_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    columns: dict[str, Any] = {"text": ["a", None], "meta": ["x", ["y"]], "ids": [["1"], []], "other": [[["z"]], ["z"]]}
    assert to_dataset(columns, "train").to_dict() == {"text": ["a", None], "ids": [["1"], []]}
    assert capsys.readouterr().out == "Left out of the train split, values of different types: meta, other\n"
