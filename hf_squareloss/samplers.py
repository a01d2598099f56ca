"""Batches of like lengths in an order that depends on seed and epoch alone, so that a resumed run goes on with it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices


class EpochSeededLengthSampler(LengthGroupedSampler):
    """`LengthGroupedSampler`, which draws from the global generator (5.24) and so anew in the middle of an epoch.

    Args:
        batch_size: examples in a batch.
        lengths: of every example, in tokens or frames.
        seed: the order of epoch e is drawn with seed + e.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        self.epoch += 1  # where nobody calls set_epoch
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))
