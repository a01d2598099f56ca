"""SpeechBrain's relative lengths as positions, without SpeechBrain."""

import pytest
import torch
from torch import Tensor

from hf_squareloss.integrations.speechbrain import ctc_loss, positions, sequence_loss

LONGEST = 1000


def wrong_pairs(lengths: Tensor, size: int, *, partial: bool, dtype: torch.dtype = torch.float32) -> int:
    """Of these lengths, divided by `size` as SpeechBrain's batches have them, those that do not come back."""
    relative = lengths.to(dtype) / size
    return int((positions(relative, torch.empty(1, 1).expand(len(lengths), size), partial=partial) != lengths).sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("partial", [True, False])
def test_every_length_comes_back(partial: bool, dtype: torch.dtype) -> None:
    """All 500,500 pairs up to 1000, and those of a minute at 16 kHz."""
    for size in range(1, LONGEST + 1):
        assert wrong_pairs(torch.arange(size + 1), size, partial=partial, dtype=dtype) == 0
    assert wrong_pairs(torch.arange(960_001), 960_000, partial=partial, dtype=dtype) == 0


def test_a_fixed_margin_would_count_padding() -> None:
    """The control: what these pairs do to a margin of 1e-6, as this module had it."""
    wrong = 0
    for size in range(1, LONGEST + 1):
        lengths = torch.arange(1, size + 1)
        wrong += int(((lengths / size * size - 1e-6).ceil() != lengths).sum())
    assert wrong == 18_677


def test_a_position_that_is_covered_in_part() -> None:
    relative, padded = torch.tensor([0.26, 0.24, 0.0, 1.0]), torch.empty(4, 10)
    assert positions(relative, padded).tolist() == [3, 3, 0, 10]
    assert positions(relative, padded, partial=False).tolist() == [3, 2, 0, 10]


def test_a_ratio_a_little_above_one_stays_within() -> None:
    assert positions(torch.tensor([1.00005]), torch.empty(1, 50_000)).tolist() == [50_000]
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        positions(torch.tensor([1.01]), torch.empty(1, 5))
    with pytest.raises(ValueError, match=r"shape \(1,\)"):
        positions(torch.tensor([1.0, 1.0]), torch.empty(1, 5))


def test_padding_counts_nowhere() -> None:
    """36 of 70: the ratio in float32, times 70, is a little above 36."""
    inside, size = 36, 70
    scores, targets = torch.zeros(2, size, 3), torch.zeros(2, size, dtype=torch.long)
    scores[1, inside:] = 50.0
    lengths = torch.tensor([1.0, inside / size])
    values = sequence_loss(scores, targets, lengths, reduction="batch", k=1.0, M=1.0)
    torch.testing.assert_close(values, torch.full((2,), 1 / 3))
    each = ctc_loss(scores, targets[:, :2] + 1, lengths, torch.ones(2), 0, reduction="batch", loss="cross_entropy")
    scores[1, inside:] = -50.0
    again = ctc_loss(scores, targets[:, :2] + 1, lengths, torch.ones(2), 0, reduction="batch", loss="cross_entropy")
    assert torch.equal(each, again)
