"""The questions of the multiple-choice demo."""

from pathlib import Path

import pytest

from hf_squareloss.recipes.choice_data import choice_data
from hf_squareloss.recipes.choice_demo import docstring_endings, similarity_baseline


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(8):
        functions = [
            f'def f{i}():\n    """Do thing w{number}x{i} for us. Then say w{number}x{i} again here. More."""\n'
            for i in range(6)
        ]
        short = 'def g():\n    """Do. Then."""\n'
        (tmp_path / f"module{number}.py").write_text("".join(functions) + short)
    return tmp_path


def test_the_second_sentence_is_right(root: Path) -> None:
    data = docstring_endings(root)
    for rows in data.values():
        assert len(rows) >= 6
        for row in rows:
            word = row["sent1"].split()[2]  # type: ignore[index,call-overload]
            right = [word in row[f"ending{i}"] for i in range(4)]  # type: ignore[index,call-overload]
            assert right == [i == row["label"] for i in range(4)]  # type: ignore[index,call-overload]


def test_splits_share_no_file(root: Path) -> None:
    files = [{text.split()[2].split("x")[0] for text in rows["sent1"]} for rows in docstring_endings(root).values()]
    assert files[0].isdisjoint(files[1] | files[2]) and files[1].isdisjoint(files[2])
    assert docstring_endings(root)["test"].to_list() == docstring_endings(root)["test"].to_list()
    assert docstring_endings(root, seed=1)["test"].to_list() != docstring_endings(root)["test"].to_list()


def test_no_docstrings(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="docstrings"):
        docstring_endings(tmp_path)


def test_the_baseline_compares_words(root: Path) -> None:
    assert similarity_baseline(choice_data(docstring_endings(root))) == 1.0
