"""Training examples that change from epoch to epoch at random, the same in every process, worker and resumed run."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import TrainerCallback


class EpochRows(Dataset[dict[str, Any]]):
    """Rows whose random numbers follow from the seed, the epoch and the row alone.

    A generator that goes on from row to row would give others after resuming, with more workers and in more processes.
    """

    def __init__(self, count: int, seed: int) -> None:
        self._count, self._seed = count, seed
        self._epoch = torch.zeros((), dtype=torch.long).share_memory_()  # workers see it change

    def __len__(self) -> int:
        return self._count

    def set_epoch(self, epoch: int) -> None:
        """From now on the rows are those of this epoch."""
        self._epoch.fill_(epoch)

    def generator(self, index: int) -> np.random.Generator:
        """The random numbers of a row in this epoch."""
        return np.random.default_rng((self._seed, int(self._epoch), index))

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]: ...


class EpochCallback(TrainerCallback):
    """Tells rows the epoch of a Trainer.

    accelerate tells a data set alone whose sampler has no set_epoch (1.15), and its own have one.
    """

    def __init__(self, rows: EpochRows) -> None:
        self._rows = rows

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._rows.set_epoch(int(state.epoch or 0))
