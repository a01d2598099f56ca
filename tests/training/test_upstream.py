"""The order of batches of like lengths depends on seed and epoch alone."""

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler

from hf_squareloss.training import EpochSeededLengthSampler

LENGTHS = [1 + (7 * i) % 31 for i in range(200)]


def test_an_epoch_has_one_order() -> None:
    first, second = (EpochSeededLengthSampler(8, LENGTHS, seed=3) for _ in range(2))
    epochs = [list(first) for _ in range(3)]
    torch.rand(5)  # the global generator moves on
    second.set_epoch(2)
    assert list(second) == epochs[2]
    assert epochs[0] != epochs[1] != epochs[2]
    assert all(sorted(epoch) == list(range(200)) for epoch in epochs)
    assert list(EpochSeededLengthSampler(8, LENGTHS, seed=4)) != epochs[0]


def test_lengths_are_together() -> None:
    order = list(EpochSeededLengthSampler(8, LENGTHS, seed=0))
    padded = sum(8 * max(LENGTHS[i] for i in order[start : start + 8]) for start in range(0, 200, 8))
    assert padded < 1.2 * sum(LENGTHS)


def test_the_parent_has_no_such_order() -> None:
    torch.manual_seed(0)
    sampler = LengthGroupedSampler(8, lengths=LENGTHS)
    first = list(sampler)
    torch.manual_seed(0)
    torch.rand(5)
    assert list(sampler) != first
