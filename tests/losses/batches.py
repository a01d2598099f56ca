"""Scores, labels and options that the shared tests of the losses have in common."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"class_weights": (0.5, 2.0, 1.0)},
    {"label_smoothing": 0.3, "class_weights": (0.5, 2.0, 1.0)},
    {"label_smoothing": 0.3, "class_weights": (0.5, 2.0, 1.0), "ignore_index": 1},
]
HARD = torch.tensor([0, 2, 1, -100])
SOFT = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.6, 0.4], [-100.0, -100.0, -100.0]], dtype=torch.float64)
QUESTIONS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-100.0, -100.0, -100.0]], dtype=torch.float64)

every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "plain")


def random_scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2


def with_ignore_index(labels: Tensor, ignore_index: int) -> Tensor:
    """Labels that are ignored by -100, ignored by another value."""
    return torch.where(labels == -100, ignore_index, labels)


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Scores (..., C) of zero to three leading dimensions, and labels."""
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    num_classes = draw(st.integers(2, 5))
    size = int(torch.tensor(shape).prod()) if shape else 1
    value = st.floats(-50, 50, width=32)
    scores = draw(st.lists(value, min_size=size * num_classes, max_size=size * num_classes))
    labels = draw(st.lists(st.integers(0, num_classes - 1), min_size=size, max_size=size))
    return torch.tensor(scores, dtype=torch.float64).reshape(*shape, num_classes), torch.tensor(labels).reshape(shape)


@st.composite
def hard_scores(draw: st.DrawFn, dtype: torch.dtype) -> Tensor:
    """Scores (C,) in a float type: tiny, usual and huge ones, and neighbours one rounding apart."""
    largest = torch.finfo(dtype).max
    sizes = (0.0, 1e-30, 1e-9, 1e-3, 0.1, 1.0, 1.5, 2.0, 3.0, 15.0, 100.0, 1e4, 1e10, 1e30, largest)
    usual = st.one_of(st.sampled_from(sizes), st.floats(0.0, 50.0))
    value = st.builds(lambda size, sign: sign * min(size, largest), usual, st.sampled_from((1.0, -1.0)))
    scores = torch.tensor(draw(st.lists(value, min_size=1, max_size=4)), dtype=torch.float64).to(dtype)
    above = torch.nextafter(scores, torch.full_like(scores, torch.inf)).clamp_max(largest)
    both = torch.cat([scores, above])
    order = draw(st.permutations(range(len(both))))
    return both[list(order)][: draw(st.integers(2, len(both)))]


few = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def close(ours: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)
