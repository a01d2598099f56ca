"""Word vectors from a text file, as those of GloVe, for the input embeddings of a model from scratch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor


def vector_size(file: str | Path) -> int:
    """How many numbers a vector of the file has. ValueError as `read_vectors`."""
    for _, _, numbers in _lines(file):
        return len(numbers)
    raise ValueError(f"{file} has no word vector")


def read_vectors(file: str | Path, vocabulary: Mapping[str, int]) -> dict[int, Tensor]:
    """Token id -> vector (d,), of the words of a vocabulary that the file has; the first one of each.

    Args:
        file: a line for each word: the word and d numbers with spaces between, UTF-8, as GloVe's files, whose longest
            has words with spaces too; d is that of the first word. A first line of two whole numbers (word2vec's text
            format) is passed over.
        vocabulary: word -> token id.

    Raises:
        ValueError: a missing file, a line of another length, or what is no number, with the line.
    """
    found: dict[int, Tensor] = {}
    size = None
    for line, word, numbers in _lines(file):
        size = size or len(numbers)
        numbers, rest = numbers[-size:], numbers[:-size]
        if len(numbers) < size or any(map(_is_number, rest)):
            raise ValueError(f"{file}, line {line}: expected {size} numbers as before, got {len(numbers) + len(rest)}")
        place = vocabulary.get(" ".join([word, *rest]))
        if place is not None and place not in found:
            try:
                found[place] = torch.tensor([float(number) for number in numbers])
            except ValueError as error:
                raise ValueError(f"{file}, line {line}: {error}") from error
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def set_vectors(embeddings: torch.nn.Embedding, vectors: Mapping[int, Tensor]) -> None:
    """Write vectors into the rows of input embeddings.

    Raises:
        ValueError: vectors of another size.
    """
    for place, vector in vectors.items():
        if len(vector) != embeddings.embedding_dim:
            raise ValueError(
                f"the word vectors have {len(vector)} numbers, the model's {embeddings.embedding_dim}: leave the size "
                "out of --config_overrides"
            )
        with torch.no_grad():
            embeddings.weight[place] = vector.to(embeddings.weight)


def _lines(file: str | Path) -> Iterator[tuple[int, str, list[str]]]:
    if not Path(file).is_file():
        raise ValueError(f"the file of word vectors {file} does not exist")
    with Path(file).open(encoding="utf8") as lines:
        for line, text in enumerate(lines, 1):
            word, *numbers = text.rstrip().split(" ")
            if numbers and not (line == 1 and len(numbers) == 1):
                yield line, word, numbers
