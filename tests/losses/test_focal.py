"""Focal loss: the paper's figures, what others have taken it for, and its link where softmax is no probability."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from batches import close, random_scores
from torch import Tensor

from hf_squareloss.losses import CrossEntropy, Loss, make_loss

LABELS = torch.tensor([0, 1, 2, 3, 0])


def focal(**parameters: Any) -> Loss:
    return make_loss("focal", **parameters)


@pytest.mark.parametrize(("p", "times"), [(0.9, 100), (0.968, 1000), (0.5, 4)])
def test_the_papers_figures(p: float, times: float) -> None:
    """Section 3.2, gamma = 2: 100 times less loss than cross-entropy at 0.9, about 1000 at 0.968, 4 at 0.5."""
    scores, label = torch.tensor([p, 1 - p], dtype=torch.float64).log(), torch.tensor(0)
    ratio = CrossEntropy()(scores, label) / focal(gamma=2.0)(scores, label)
    assert ratio.item() == pytest.approx(times, rel=0.03)


def test_without_gamma_it_is_cross_entropy() -> None:
    scores = random_scores(5, 4)
    close(focal(gamma=0.0)(scores, LABELS), CrossEntropy()(scores, LABELS))
    close(focal(gamma=0.0, alpha=0.25)(scores, LABELS), 0.25 * CrossEntropy()(scores, LABELS))
    close(focal(gamma=0.0).probabilities(scores), scores.softmax(-1))


# ---- what it is not --------------------------------------------------------------------------------------------------
def check(mean: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Value and gradient of a mean loss against the paper's formula with gamma = 2 and alpha = 0.25."""
    ours, theirs = (random_scores(5, 4).requires_grad_() for _ in range(2))
    p = theirs.softmax(-1)[range(5), LABELS]
    reference = (-0.25 * (1 - p) ** 2 * p.log()).mean()
    value = mean(ours, LABELS)
    torch.testing.assert_close(value, reference)
    value.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def weighted(weight: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def mean(scores: Tensor, labels: Tensor) -> Tensor:
        cross_entropy = F.cross_entropy(scores, labels, reduction="none")
        return (0.25 * weight((-cross_entropy).exp()) * cross_entropy).mean()

    return mean


def of_the_mean(scores: Tensor, labels: Tensor) -> Tensor:
    cross_entropy = F.cross_entropy(scores, labels)
    return 0.25 * (1 - (-cross_entropy).exp()) ** 2 * cross_entropy


def test_is_the_papers_formula() -> None:
    check(focal(gamma=2.0, alpha=0.25).mean)
    check(weighted(lambda p: (1 - p) ** 2))


@pytest.mark.parametrize(
    "wrong",
    [weighted(lambda p: p**2), weighted(lambda p: (1 - p.detach()) ** 2), weighted(lambda p: 1 - p), of_the_mean],
    ids=["p for 1 - p", "weight detached", "no exponent", "of the mean"],
)
def test_the_formula_rejects_known_bugs(wrong: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(AssertionError, match="not close|not equal"):
        check(wrong)


# ---- the link --------------------------------------------------------------------------------------------------------
def h(q: Tensor, gamma: float) -> Tensor:
    """-1 / l'(q) for l(q) = -(1 - q)^gamma log q, as in Charoenphakdee et al."""
    return q / ((1 - q) ** gamma - gamma * q * (1 - q) ** (gamma - 1) * q.log())


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 5.0])
def test_the_link_is_the_papers_function_of_the_softmax(gamma: float) -> None:
    scores = random_scores(20, 5)
    expected = h(scores.softmax(-1), gamma)
    close(focal(gamma=gamma, alpha=0.25).link(scores), expected / expected.sum(-1, keepdim=True))


@pytest.mark.parametrize("alpha", [None, 0.25])
def test_the_link_of_a_question(alpha: float | None) -> None:
    scores, q = random_scores(20, 1), random_scores(20, 1).sigmoid()
    odds = h(q, 2.0) / h(1 - q, 2.0) * (1.0 if alpha is None else (1 - alpha) / alpha)
    close(focal(alpha=alpha, multi_label=True).link(scores), odds / (1 + odds))


def test_the_softmax_is_too_timid() -> None:
    scores = torch.tensor([1.5, 0.0, -0.5])
    assert focal().probabilities(scores)[0] > scores.softmax(-1)[0] + 0.2
    assert not focal().scores_are_logits


@pytest.mark.parametrize("gamma", [0.1, 2.0, 10.0])
@pytest.mark.parametrize("multi_label", [False, True])
def test_the_link_in_float32(gamma: float, multi_label: bool) -> None:
    """Also where 1 - q is below float32's resolution, which the logarithms of large scores say."""
    scores = torch.linspace(-60, 60, 241).unsqueeze(-1) * torch.tensor([1.0, 0.25, 0.0])
    loss = focal(gamma=gamma, multi_label=multi_label)
    exact = loss.link(scores.double())
    torch.testing.assert_close(loss.link(scores).double(), exact, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [10.0, 1e3, 1e30])
@pytest.mark.parametrize("multi_label", [False, True])
def test_extreme_gamma_and_scores(gamma: float, multi_label: bool) -> None:
    big = torch.finfo(torch.float32).max
    scores = torch.tensor([[big, -big, 0.0], [big, big, big], [1e4, 0.0, -1e4], [0.0, 0.0, 0.0]])
    p = focal(gamma=gamma, multi_label=multi_label).probabilities(scores)
    assert p.isfinite().all() and (p >= 0).all() and (p <= 1).all()


# ---- parameters ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"gamma": -0.5}, "gamma must be"),
        ({"gamma": float("inf")}, "gamma must be"),
        ({"gamma": float("nan")}, "gamma must be"),
        ({"alpha": 0}, "alpha must be"),
        ({"alpha": 1}, "alpha must be"),
    ],
)
def test_wrong_parameters_are_refused(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        focal(**parameters)
