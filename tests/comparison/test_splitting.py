"""A file of rows in three parts: disjoint, complete, with every class, and the same every time."""

import json
from collections import Counter
from pathlib import Path

import pytest

from hf_squareloss.comparison._splitting import split_file


def write(folder: Path, labels: list[str], column: str = "label") -> Path:
    path = folder / "data.csv"
    path.write_text(f"text,{column}\n" + "".join(f"text {i:05d},{label}\n" for i, label in enumerate(labels)))
    return path


def rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_parts_are_disjoint_complete_and_stratified(tmp_path: Path) -> None:
    labels = ["a"] * 700 + ["b"] * 250 + ["c"] * 45 + ["d"] * 5
    paths = split_file(write(tmp_path, labels), tmp_path / "parts")
    parts = {name: rows(path) for name, path in paths.items()}
    assert {name: len(part) for name, part in parts.items()} == {"train": 801, "validation": 100, "test": 99}
    texts = [row["text"] for part in parts.values() for row in part]
    assert sorted(texts) == [f"text {i:05d}" for i in range(1000)]
    for name in ("validation", "test"):
        counts = Counter(row["label"] for row in parts[name])
        assert [counts[label] for label in "abc"] == pytest.approx([70, 25, 4.5], abs=1)
    assert {row["label"] for row in parts["train"]} == set("abcd")
    assert [row["text"] for row in parts["train"]] == sorted(row["text"] for row in parts["train"])


def test_again_the_same_and_no_file_is_touched(tmp_path: Path) -> None:
    file = write(tmp_path, ["a", "b"] * 50)
    paths = split_file(file, tmp_path / "parts")
    before = {name: (path.read_text(), path.stat().st_mtime_ns) for name, path in paths.items()}
    assert split_file(file, tmp_path / "parts") == paths
    assert {name: (path.read_text(), path.stat().st_mtime_ns) for name, path in paths.items()} == before


def test_a_part_that_there_is_already_is_not_split_off(tmp_path: Path) -> None:
    paths = split_file(write(tmp_path, ["a", "b"] * 50), tmp_path / "parts", ("test",))
    assert set(paths) == {"train", "test"} and len(rows(paths["test"])) == 9


@pytest.mark.parametrize("column", ["label", "other"])
def test_values_and_rows_without_labels_are_split_too(tmp_path: Path, column: str) -> None:
    paths = split_file(write(tmp_path, [f"{i / 7:.3f}" for i in range(100)], column), tmp_path / "parts")
    assert [len(rows(path)) for path in paths.values()] == [80, 10, 10]


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too few rows to split validation and test off"):
        split_file(write(tmp_path, ["a", "b"] * 3), tmp_path / "parts")
