"""The demos' texts: split by file, the same each time; and what counts alone predict."""

from pathlib import Path

import pytest

from hf_squareloss.recipes import language_demo
from hf_squareloss.recipes.language_demo import DEMO_TRAINING, DEMOS, commonest_next, python_sources


def test_splits_share_no_file() -> None:
    data = python_sources()
    assert {name: sum(map(len, rows["text"])) for name, rows in data.items()} == dict(language_demo._CHARACTERS)
    texts = [text for rows in data.values() for text in rows["text"]]
    assert len(set(texts)) >= len(texts) - 10  # packages begin with like files
    assert data["test"]["text"][:] == python_sources()["test"]["text"][:]
    assert any("def " in text for text in data["train"]["text"])


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sources"):
        python_sources(root=tmp_path)
    for name in ("a.py", "b.py", "test/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    found = [text for rows in python_sources("words", tmp_path).values() for text in rows["text"]]
    assert sorted(found) == ["text of a.py", "text of b.py"]
    with pytest.raises(ValueError, match="characters, words"):
        python_sources("letters")


def test_every_demo_has_its_settings() -> None:
    assert DEMO_TRAINING.keys() == set(DEMOS)


def test_counts_predict_what_followed_most_often() -> None:
    train = [[1, 2, 3, 1, 2, 3, 1, 2, 4]]
    assert commonest_next(train, [[1, 2, 3]], order=2) == 1.0
    assert commonest_next(train, [[1, 2, 4]], order=2) == 0.5
    assert commonest_next(train, [[9, 9, 1]], order=2) == 0.5  # 1 is the commonest of all
    assert commonest_next([[5, 6, 7, 5, 8, 7, 5, 8]], [[7, 5, 8], [6, 7]], order=1) == 1.0
