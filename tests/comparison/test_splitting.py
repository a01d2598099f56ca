"""A file of rows in three parts: disjoint, complete, with every class, and the same every time."""

import json
from collections import Counter
from pathlib import Path

import pytest
from datasets import Dataset

from hf_squareloss.comparison._splitting import split_file


def write(folder: Path, labels: list[str], column: str = "label") -> Path:
    path = folder / "data.csv"
    path.write_text(f"text,{column}\n" + "".join(f"text {i:05d},{label}\n" for i, label in enumerate(labels)))
    return path


def rows(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines()]


def test_parts_are_disjoint_complete_and_stratified(tmp_path: Path) -> None:
    labels = ["a"] * 700 + ["b"] * 250 + ["c"] * 45 + ["d"] * 5
    texts = split_file(write(tmp_path, labels))
    parts = {name: rows(text) for name, text in texts.items()}
    assert {name: len(part) for name, part in parts.items()} == {"train": 801, "validation": 100, "test": 99}
    found = [row["text"] for part in parts.values() for row in part]
    assert sorted(found) == [f"text {i:05d}" for i in range(1000)]
    for name in ("validation", "test"):
        counts = Counter(row["label"] for row in parts[name])
        assert [counts[label] for label in "abc"] == pytest.approx([70, 25, 4.5], abs=1)
    assert {row["label"] for row in parts["train"]} == set("abcd")
    assert [row["text"] for row in parts["train"]] == sorted(row["text"] for row in parts["train"])


def test_again_the_same(tmp_path: Path) -> None:
    file = write(tmp_path, ["a", "b"] * 50)
    assert split_file(file) == split_file(file)


def test_a_part_that_there_is_already_is_not_split_off(tmp_path: Path) -> None:
    texts = split_file(write(tmp_path, ["a", "b"] * 50), ("test",))
    assert set(texts) == {"train", "test"} and len(rows(texts["test"])) == 9


@pytest.mark.parametrize("column", ["label", "other"])
def test_values_and_rows_without_labels_are_split_too(tmp_path: Path, column: str) -> None:
    texts = split_file(write(tmp_path, [f"{i / 7:.3f}" for i in range(100)], column))
    assert [len(rows(text)) for text in texts.values()] == [80, 10, 10]


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too few rows to split validation and test off"):
        split_file(write(tmp_path, ["a", "b"] * 3))


def test_bytes_are_refused_with_what_to_do(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": b"png", "path": None}] * 40, "label": ["a", "b"] * 20}
    Dataset.from_dict(rows).to_parquet(str(tmp_path / "images.parquet"))
    with pytest.raises(ValueError, match=r"images.parquet holds what .* cannot \(.*bytes.*\): give them as files"):
        split_file(tmp_path / "images.parquet")
