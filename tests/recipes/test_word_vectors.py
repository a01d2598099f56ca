"""Word vectors from files in GloVe's and word2vec's text formats."""

from pathlib import Path

import pytest
import torch

from hf_squareloss.recipes.word_vectors import read_vectors, set_vectors, vector_size

VOCABULARY = {"[PAD]": 0, "the": 1, "cat": 2}


@pytest.mark.parametrize("header", ["", "4 3\n"])
def test_vectors_of_the_vocabulary(header: str, tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text(f"{header}the 1 2 3\ndog 4 5 6\ncat -1 .5 1e-3\nthe 9 9 9\n")
    found = read_vectors(file, VOCABULARY)
    assert vector_size(file) == 3 and {place: vector.tolist() for place, vector in found.items()} == {
        1: [1.0, 2.0, 3.0],
        2: pytest.approx([-1.0, 0.5, 1e-3]),
    }
    embeddings = torch.nn.Embedding(3, 3)
    before = embeddings.weight[0].clone()
    set_vectors(embeddings, found)
    assert embeddings.weight[1].tolist() == [1.0, 2.0, 3.0] and torch.equal(embeddings.weight[0], before)
    with pytest.raises(ValueError, match="have 3 numbers, the model's 4"):
        set_vectors(torch.nn.Embedding(3, 4), found)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("the 1 2\ndog 1\ncat 1 2 3\n", "line 2: expected 2 numbers"),
        ("the 1 2\ndog 1 2 3\n", "got 3"),
        ("the 1 x\n", "line 1: could not convert"),
    ],
)
def test_wrong_lines_are_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_vectors(tmp_path / "vectors.txt", VOCABULARY)


def test_a_word_may_have_spaces(tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("the 1 2\nat a . b 3 4\n. . 5 6\n")
    found = read_vectors(tmp_path / "vectors.txt", {"at a . b": 0, ". .": 1, "at": 2})
    assert {place: vector.tolist() for place, vector in found.items()} == {0: [3.0, 4.0], 1: [5.0, 6.0]}


def test_no_vectors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        vector_size(tmp_path / "no.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match="no word vector"):
        vector_size(tmp_path / "empty.txt")
