"""The JSON files of a run: whole or not at all."""

from pathlib import Path

import pytest

from hf_squareloss.recipes.run_files import read_object, write_object


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.json"
    write_object(path, {"a": [1, 0.5, None]})
    assert read_object(path) == {"a": [1, 0.5, None]} and [file.name for file in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("text", ["", '{"a": 1', "[1]", "\xff"])
def test_what_is_no_object_is_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "file.json").write_text(text, encoding="latin1")
    assert read_object(tmp_path / "file.json") == read_object(tmp_path / "missing.json") == {}


def test_the_old_file_stays_where_the_new_one_cannot_be_written(tmp_path: Path) -> None:
    write_object(tmp_path / "file.json", {"a": 1})
    with pytest.raises(TypeError):
        write_object(tmp_path / "file.json", {"a": object()})
    assert read_object(tmp_path / "file.json") == {"a": 1}
