"""The precision of every loss: 16-bit scores, autocast, and compiled code."""

from dataclasses import replace
from typing import Any

import naive_losses as naive
import pytest
import torch
from batches import HARD, SOFT, every_option, random_scores, with_ignore_index
from contract import ONE_EACH, every_loss, title

from hf_squareloss.losses import Loss, SquareLoss

# type of the scores: relative tolerance of the value (always reduced in float32 or better) and of the gradient.
TOLERANCES = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-5),
    torch.bfloat16: (1e-5, 2**-8),
    torch.float16: (1e-5, 2**-11),
}


@every_loss
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_value_and_gradient_by_type_of_the_scores(loss: Loss, dtype: torch.dtype, soft: bool) -> None:
    labels = torch.arange(16) % 6
    if soft:
        labels = 0.1 + 0.4 * torch.nn.functional.one_hot(labels, 6).double()
    scores = random_scores(16, 6).to(dtype).requires_grad_()
    exact = scores.detach().double().requires_grad_()
    value, reference = loss(scores, labels), naive.values(loss, exact, labels)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    value_tolerance, gradient_tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(value.double(), reference, rtol=value_tolerance, atol=value_tolerance)
    value.sum().backward()
    reference.sum().backward()
    assert scores.grad is not None and exact.grad is not None and scores.grad.dtype == dtype
    torch.testing.assert_close(scores.grad.double(), exact.grad, rtol=gradient_tolerance, atol=gradient_tolerance)


def test_the_tolerances_reject_a_reduction_in_sixteen_bits() -> None:
    scores = random_scores(16, 6).bfloat16()
    reference = naive.values(SquareLoss(k=1, M=1), scores.double(), torch.arange(16) % 6)
    one_hot = torch.nn.functional.one_hot(torch.arange(16) % 6, 6)
    careless = (scores - one_hot).square().mean(-1)
    assert not torch.allclose(careless.double(), reference, rtol=TOLERANCES[torch.bfloat16][0])


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_scores_of_ten_thousand_stay_finite(loss: Loss, dtype: torch.dtype) -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]], dtype=dtype, requires_grad=True)
    for labels in (torch.tensor([1, 0]), torch.tensor([0, 2]), torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])):
        smoothed = replace(loss, label_smoothing=0.1, class_weights=(1.0, 2.0, 3.0))
        value = smoothed.mean(scores, labels)
        (gradient,) = torch.autograd.grad(value, scores)
        assert value.isfinite() and gradient.isfinite().all()
        assert smoothed.probabilities(scores).log().isfinite().all()


@every_loss
@every_option
def test_autocast_does_not_touch_the_reduction(loss: Loss, options: dict[str, Any]) -> None:
    loss, scores = replace(loss, **options), random_scores(4, 3).float()
    for labels in (HARD, SOFT.float()):
        labels = with_ignore_index(labels, loss.ignore_index)
        outside = loss.mean(scores, labels)
        with torch.autocast("cpu", torch.bfloat16):
            inside = loss.mean(scores, labels)
            careless = loss.costs(scores) @ torch.ones(3)
        assert torch.equal(inside, outside)
        assert careless.dtype == torch.bfloat16  # what a matmul would have done


# torch 2.13's compiler makes an instance of autograd.Function for its own books and so triggers torch's own warning.
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("loss", ONE_EACH, ids=title)
def test_the_compiled_loss_equals_the_eager_one(loss: Loss) -> None:
    scores = random_scores(4, 3).float()
    for options, labels in (
        ({}, HARD),
        ({"label_smoothing": 0.1, "class_weights": (0.5, 2.0, 1.0)}, HARD),
        ({}, SOFT.float()),
    ):
        one = replace(loss, **options)
        torch.compiler.reset()
        compiled = torch.compile(one.mean, fullgraph=True, backend="aot_eager")
        results = []
        for mean in (one.mean, compiled):
            leaf = scores.clone().requires_grad_()
            value = mean(leaf, labels)
            value.backward()
            results.append((value.detach(), leaf.grad))
        torch.testing.assert_close(results[0], results[1])
