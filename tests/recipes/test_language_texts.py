"""Texts from files of lines, tables and streams; what is missing, empty or no text is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_squareloss.recipes.language_texts import (
    content_of_stream,
    load_named_texts,
    load_texts,
    read_stream,
    shuffled,
    stream_file,
    training_stream,
)
from hf_squareloss.recipes.run_identity import content_of_rows


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    def to(name: str, content: str) -> str:
        (tmp_path / name).write_bytes(content.encode())
        return str(tmp_path / name)

    return to


def test_lines_keep_their_ends_unless_told(write: Callable[[str, str], str]) -> None:
    file = write("a.txt", "one\n\n  two\r\nthree")
    assert load_texts({"train": file})["train"]["text"][:] == ["one\n", "  two\r\n", "three"]
    assert load_texts({"train": file}, linebreaks=False)["train"]["text"][:] == ["one", "  two", "three"]
    table = write("a.jsonl", '{"words": "one\\ntwo", "n": 1}\n')
    rows = load_texts({"train": table}, "words")["train"]
    assert rows["text"][:] == ["one\ntwo"] and rows.column_names == ["text", "row"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "\none\n \n\ntwo\n"),
        ("a.csv", 'text\n""\none\n" "\n"\n"\ntwo\n'),
        ("a.jsonl", "".join(f'{{"text": "{text}"}}\n' for text in ("", "one", " ", "\\n", "two"))),
    ],
)
def test_blank_texts_are_left_out_of_files_and_streams(
    name: str, content: str, write: Callable[[str, str], str]
) -> None:
    file = write(name, content)
    assert load_texts({"train": file}, linebreaks=False)["train"].to_dict() == {"text": ["one", "two"], "row": [1, 4]}
    stream = training_stream(stream_file(file, linebreaks=False), 2)
    assert [row["text"] for row in stream] == ["one", "two"]


def test_blank_texts_of_a_data_set_of_the_hub_are_left_out(write: Callable[[str, str], str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write("data/train.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in ("", "one", None, " \n", "two")))
    kept, cache = {"text": ["one", "two"], "row": [1, 4]}, {"cache_dir": str(tmp_path / "cache")}
    assert load_named_texts(str(tmp_path / "data"), None, "text", {}, **cache)["train"].to_dict() == kept
    stream = load_named_texts(str(tmp_path / "data"), None, "text", {}, streaming=True, **cache)["train"]
    assert [row["text"] for row in training_stream(stream)] == kept["text"]
    assert read_stream(stream, 2, "train").to_dict() == kept


def test_a_stream_of_csv_is_text_as_it_is_written(write: Callable[[str, str], str]) -> None:
    file = write("a.csv", "n,text\n1,NA\n2,007\n3,null\n4,1.10\n")
    assert [row["text"] for row in stream_file(file)] == ["NA", "007", "null", "1.10"]
    assert [row["text"] for row in stream_file(write("b.csv", "text\n007\n08\n"))] == ["007", "08"]


def test_numbers_in_a_stream_are_named(write: Callable[[str, str], str]) -> None:
    with pytest.raises(ValueError, match="expected a text, got 7"):
        list(training_stream(stream_file(write("a.jsonl", '{"text": 7}\n'))))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "train split is empty"),
        ("a.txt", " \n\n", "train split is empty"),
        ("a.csv", "words\none\n", "no column 'text'; it has words"),
        ("a.jsonl", '{"text": null}\n', "row 1: expected a text"),
        ("a.pdf", "x", "must end in"),
    ],
)
def test_bad_files(name: str, content: str, message: str, write: Callable[[str, str], str]) -> None:
    with pytest.raises(ValueError, match=message):
        load_texts({"train": write(name, content)})


def test_a_missing_file_and_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_texts({"train": str(tmp_path / "no.txt")})
    (tmp_path / "latin.txt").write_bytes("one\ntw\xf6\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        load_texts({"train": str(tmp_path / "latin.txt")})


def test_a_stream_is_the_file(write: Callable[[str, str], str]) -> None:
    file = write("a.txt", "".join(f"line {i}\n" for i in range(50)))
    stream = stream_file(file)
    assert [row["text"] for row in stream] == load_texts({"train": file})["train"]["text"][:]
    assert read_stream(stream, 3, "train")["text"][:] == ["line 0\n", "line 1\n", "line 2\n"]
    first = training_stream(stream_file(file), 20)
    orders = [[row["text"] for row in shuffled(first, seed, blocks=False)] for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2] and sorted(orders[0]) == sorted(f"line {i}\n" for i in range(20))
    table = write("a.csv", "words,n\none,1\n")
    assert [dict(row) for row in stream_file(table, "words")] == [{"text": "one"}]


@pytest.mark.parametrize(("name", "message"), [("a.csv", "no column 'text'"), ("a.bin", "a stream must end in")])
def test_bad_streams(name: str, message: str, write: Callable[[str, str], str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        stream_file(write(name, "words\none\n"))
    for file, reason in ((write("b.txt", ""), "is empty"), (str(tmp_path / "no.txt"), "does not exist")):
        with pytest.raises(ValueError, match=reason):
            stream_file(file)


def test_a_stream_is_known_by_its_bytes(write: Callable[[str, str], str]) -> None:
    def known(*parts: Any) -> str:
        return content_of_rows(content_of_stream(*parts))

    same, other = known(write("a.txt", "one\n")), known(write("b.txt", "two\n"))
    assert same == known(write("c.txt", "one\n")) != other
    assert same != known(write("c.txt", "one\n"), 5) and known("user/name") != known("user/other")


def test_a_data_set_of_the_hub(tmp_path: Path) -> None:
    folder, cache = tmp_path / "data", {"cache_dir": str(tmp_path / "cache")}
    folder.mkdir()
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("words,n\none,1\ntwo,2\n")
    for streaming in (False, True):
        splits = load_named_texts(str(folder), None, "words", {"validation": "test"}, streaming=streaming, **cache)
        assert {name: [row["text"] for row in rows] for name, rows in splits.items()} == {
            "train": ["one", "two"],
            "validation": ["one", "two"],
            "test": ["one", "two"],
        }
    with pytest.raises(ValueError, match="no column 'text'; it has words, n"):
        load_named_texts(str(folder), None, "text", {}, **cache)
