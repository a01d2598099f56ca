"""The Brier score: Brier's own example, the metric that we report, and what others have taken it for."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from batches import random_scores
from torch import Tensor

from hf_squareloss.inference import calibration_metrics
from hf_squareloss.losses import make_loss

LABELS = torch.tensor([0, 1, 2, 3, 0])


@pytest.mark.parametrize(("p", "expected"), [(0.7, 0.18), (0.9, 0.02), (0.5, 0.5), (0.2, 1.28)])
def test_forecasts_of_rain(p: float, expected: float) -> None:
    """Of two classes, (p - 1)^2 + (1 - p)^2 where it rained."""
    scores = torch.tensor([p, 1 - p], dtype=torch.float64).log()
    assert make_loss("brier")(scores, torch.tensor(0)).item() == pytest.approx(expected)


def test_is_the_metric_that_evaluation_reports() -> None:
    scores = random_scores(5, 4)
    loss = make_loss("brier")
    metrics = calibration_metrics(loss.probabilities(scores), LABELS)
    assert loss.mean(scores, LABELS).item() == pytest.approx(metrics["brier"])


def check(mean: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Value and gradient of a mean loss against Brier's formula."""
    ours, theirs = (random_scores(5, 4).requires_grad_() for _ in range(2))
    reference = (theirs.softmax(-1) - F.one_hot(LABELS, 4)).square().sum(-1).mean()
    value = mean(ours, LABELS)
    torch.testing.assert_close(value, reference)
    value.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def on_probabilities(
    link: Callable[[Tensor], Tensor], reduce: Callable[[Tensor], Tensor]
) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda scores, labels: reduce((link(scores) - F.one_hot(labels, 4)).square()).mean()


def softmax(scores: Tensor) -> Tensor:
    return scores.softmax(-1)


def total(squares: Tensor) -> Tensor:
    return squares.sum(-1)


def test_is_briers_formula() -> None:
    check(make_loss("brier").mean)


@pytest.mark.parametrize(
    "wrong",
    [
        on_probabilities(lambda scores: scores, total),
        on_probabilities(torch.sigmoid, total),
        on_probabilities(softmax, lambda squares: squares.mean(-1)),
        on_probabilities(softmax, lambda squares: squares.sum(-1) / 2),
        on_probabilities(softmax, lambda squares: squares.gather(-1, LABELS.unsqueeze(-1)).squeeze(-1)),
    ],
    ids=["raw scores", "sigmoid", "mean over classes", "half", "true class alone"],
)
def test_the_formula_rejects_known_bugs(wrong: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(AssertionError, match="not close|not equal"):
        check(wrong)


def test_nearly_certain_scores_cost_nothing_and_not_less() -> None:
    """In float32 the difference keeps an absolute 1e-6 and its sign."""
    scores, labels = random_scores(1000, 52), torch.zeros(1000, dtype=torch.long)
    scores[:, 0] += torch.linspace(5.0, 25.0, 1000)
    costs = make_loss("brier")(scores.float(), labels)
    assert costs.min() >= 0.0
    torch.testing.assert_close(costs.double(), make_loss("brier")(scores, labels), rtol=0, atol=1e-6)


def test_certain_of_a_wrong_class_it_has_no_gradient() -> None:
    scores = torch.tensor([50.0, 0.0], requires_grad=True)
    make_loss("brier")(scores, torch.tensor(1)).backward()
    assert scores.grad is not None and scores.grad.abs().max() < 1e-6
    assert F.cross_entropy(scores, torch.tensor(1)).item() == pytest.approx(50.0)
