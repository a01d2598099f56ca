"""Masks that follow from seed, epoch and row in training, and never change in evaluation."""

from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from hf_squareloss.recipes.language_masks import MaskedRows, MaskedStream, Masking, mask_once, masked_rows
from hf_squareloss.recipes.vocabulary import build_tokenizer

ROWS = Dataset.from_dict({"input_ids": [[3, 4, 5, 6, 7, i % 8] for i in range(3, 43)]})


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(["one two three four five six seven"], "words")


@pytest.fixture(scope="module")
def masking(tokenizer: Any) -> Masking:
    return Masking(tokenizer, 0.3)


def drawn(rows: Any, epoch: int = 0, **options: Any) -> list[Any]:
    rows.set_epoch(epoch)
    return list(DataLoader(rows, batch_size=None, **options))


def test_masks_follow_from_seed_epoch_and_row(masking: Masking) -> None:
    rows = MaskedRows(ROWS, masking, seed=1)
    first = drawn(rows)
    torch.manual_seed(7)
    assert drawn(rows, num_workers=2) == first and rows[9] == first[9]
    assert drawn(rows, epoch=1) != first != drawn(MaskedRows(ROWS, masking, seed=2))
    labels = [label for row in first for label in row["labels"]]
    assert 40 < sum(label != -100 for label in labels) < 110  # 72 of 240
    for row, plain in zip(first, ROWS["input_ids"], strict=True):
        assert [a if b == -100 else b for a, b in zip(row["input_ids"], row["labels"], strict=True)] == plain


def test_masks_of_a_stream(masking: Masking) -> None:
    def stream() -> MaskedStream:
        return MaskedStream(ROWS.to_iterable_dataset(num_shards=2), masking, seed=1)

    first = drawn(stream())
    assert len(first) == 40 and drawn(stream()) == first != drawn(stream(), epoch=1)
    workers = drawn(stream(), num_workers=2)
    assert sorted(map(str, workers)) == sorted(map(str, first))


def test_masks_for_evaluation_are_the_same_each_time(tokenizer: Any, masking: Masking) -> None:
    state = torch.random.get_rng_state()
    first, second = (mask_once(ROWS, masking)[:] for _ in range(2))
    assert first == second and torch.equal(torch.random.get_rng_state(), state)
    flat = [label for labels in first["labels"] for label in labels]
    assert 40 < sum(label != -100 for label in flat) < 110
    assert any(tokenizer.mask_token_id in ids for ids in first["input_ids"])
    with pytest.raises(ValueError, match="mlm_probability 1e-06 masks none"):
        mask_once(Dataset.from_dict({"input_ids": [[3]]}), Masking(tokenizer, 1e-6))


def test_each_split_has_its_kind(masking: Masking) -> None:
    found = masked_rows({"train": ROWS, "test": ROWS}, masking, 0)
    assert isinstance(found["train"], MaskedRows) and found["test"].column_names == ["input_ids", "labels"]
    assert isinstance(masked_rows({"train": ROWS.to_iterable_dataset()}, masking, 0)["train"], MaskedStream)
