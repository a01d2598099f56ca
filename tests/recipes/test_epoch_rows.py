"""Random numbers of rows by seed, epoch and row alone."""

from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from transformers import TrainerState

from hf_squareloss.recipes.epoch_rows import EpochCallback, EpochRows


class Drawn(EpochRows):
    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": self.generator(index).random()}


def draws(rows: EpochRows, **options: Any) -> list[float]:
    return torch.cat([batch["x"] for batch in DataLoader(rows, batch_size=2, **options)]).tolist()


def test_seed_epoch_and_row_make_the_numbers() -> None:
    rows = Drawn(4, seed=1)
    first = draws(rows)
    torch.rand(3)
    assert draws(rows) == first and len(set(first)) == 4
    rows.set_epoch(1)
    assert not set(draws(rows)) & set(first)
    rows.set_epoch(0)
    assert draws(rows) == first and not set(draws(Drawn(4, seed=2))) & set(first)


def test_workers_that_stay_see_the_next_epoch() -> None:
    rows = Drawn(4, seed=1)
    loader = DataLoader(rows, batch_size=2, num_workers=1, persistent_workers=True)
    for epoch in (0, 1):
        rows.set_epoch(epoch)
        found = torch.cat([batch["x"] for batch in loader]).tolist()
        assert found == draws(rows)


@pytest.mark.parametrize(("progress", "epoch"), [(None, 0), (0.0, 0), (1.0, 1), (2.375, 2)])
def test_the_callback_tells_the_epoch(progress: float | None, epoch: int) -> None:
    rows, expected = Drawn(1, seed=1), Drawn(1, seed=1)
    EpochCallback(rows).on_epoch_begin(None, TrainerState(epoch=progress), None)  # type: ignore[arg-type]
    expected.set_epoch(epoch)
    assert draws(rows) == draws(expected)
