"""The memory of the square loss on scores: its gradient is the one buffer of their size."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from hf_squareloss.losses import SquareLoss

N, C = 8192, 1000


def peak_in_scores(mean: Callable[[Tensor, Tensor], Tensor]) -> tuple[float, int]:
    """Peak of the memory allocated by forward and backward, in units of the scores, and the number of such buffers."""
    scores, labels = torch.randn(N, C, requires_grad=True), torch.randint(0, C, (N,))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        mean(scores, labels).backward()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events: list[Any] = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    unit, live, peak = N * C * 4, 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak / unit, sum(event.nbytes() >= unit for event in events)


@pytest.mark.parametrize(
    "loss", [SquareLoss(), SquareLoss(k=3, M=2, class_weights=(2.0,) * C)], ids=["auto", "weights"]
)
def test_the_gradient_is_the_only_buffer_of_the_size_of_the_scores(loss: SquareLoss) -> None:
    peak, buffers = peak_in_scores(loss.mean)
    assert buffers == 1
    assert peak < 1.05


def test_the_measure_sees_the_buffers_of_plain_autograd() -> None:
    def plain(scores: Tensor, labels: Tensor) -> Tensor:
        true = scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        return ((scores.square().sum(-1) + 2 * true.square() - 12 * true + 12) / C).mean()

    peak, buffers = peak_in_scores(plain)
    assert buffers > 1
    assert peak > 2
