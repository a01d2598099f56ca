"""The built-in text demo: the corpus is large, balanced, reproducible and free of leaks."""

from collections import Counter
from pathlib import Path

import pytest
from datasets import DatasetDict

from hf_squareloss.recipes.text_demo import (
    _fingerprint,
    _read_docstrings,
    _split,
    docstring_topics,
    tfidf_baseline,
)


@pytest.fixture(scope="module")
def data() -> DatasetDict:
    return docstring_topics()


def labels(data: DatasetDict) -> list[int]:
    return [label for rows in data.values() for label in rows["label"]]


def shared_texts(data: DatasetDict) -> set[str]:
    splits = [{_fingerprint(text) for text in rows["text"]} for rows in data.values()]
    return (splits[0] & splits[1]) | (splits[0] & splits[2]) | (splits[1] & splits[2])


def write_library(root: Path, sources: dict[str, str]) -> Path:
    for name, source in sources.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(source)
    return root


def test_thousands_of_texts_of_a_dozen_topics(data: DatasetDict) -> None:
    assert list(data) == ["train", "validation", "test"]
    assert 12 <= data["train"].features["label"].num_classes <= 15
    total = len(labels(data))
    assert total >= 3000
    for split, share in {"train": 0.5, "validation": 0.1, "test": 0.4}.items():
        assert len(data[split]) / total == pytest.approx(share, abs=0.01)
        assert set(data[split]["label"]) == set(range(data["train"].features["label"].num_classes))


def test_no_topic_holds_a_quarter_of_the_texts(data: DatasetDict) -> None:
    counts = Counter(labels(data))
    assert max(counts.values()) / counts.total() < 0.25
    assert min(counts.values()) >= 50


def test_no_text_is_in_two_splits(data: DatasetDict) -> None:
    assert not shared_texts(data)
    leaky = DatasetDict({**data, "test": data["train"].select([0])})
    assert len(shared_texts(leaky)) == 1


def test_the_same_seed_gives_the_same_splits(data: DatasetDict) -> None:
    _read_docstrings.cache_clear()
    again, other = docstring_topics(0), docstring_topics(1)
    for split in data:
        assert again[split].to_dict() == data[split].to_dict()
        assert other[split].to_dict() != data[split].to_dict()


def test_docstrings_are_read_not_imported_and_variants_dropped(tmp_path: Path) -> None:
    sources = {
        "queue.py": '"""A queue between several threads of a program."""\nraise RuntimeError("imported")\n',
        "logging/__init__.py": '"""A queue, between several\n  threads of a program 2!"""\npattern = "\\d"\n',
        "logging/handlers.py": 'class Handler:\n    """Too short."""\n',
        "xml/test/check.py": '"""A test file that nobody should be asked to classify."""\n',
        "html/broken.py": '"""This file is not Python, whatever its name says."""\ndef (:\n',
        "json/tool.py": f'def main():\n    """{"word " * 500}"""\n',
    }
    found = dict(_read_docstrings(write_library(tmp_path, sources)))
    assert found.pop("A queue between several threads of a program.") == "concurrency"
    (text,) = found
    assert found[text] == "markup"
    assert set(text.split()) == {"word"} and len(text.split()) < 100


def test_an_installation_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sources"):
        _read_docstrings(tmp_path)


def test_baseline_beats_chance_and_leaves_room(data: DatasetDict) -> None:
    assert 0.6 < tfidf_baseline(data) < 0.9


def test_baseline_learns_nothing_from_shuffled_labels(data: DatasetDict) -> None:
    texts = data["train"]["text"][:1000]
    topics = data["train"].features["label"].names
    pairs = tuple((text, topics[i % len(topics)]) for i, text in enumerate(texts))
    assert tfidf_baseline(_split(pairs, seed=0)) < 0.2
