"""Squentropy: what the paper says it is, and what others have taken it for."""

from collections.abc import Callable

import naive_losses as naive
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from hf_squareloss.losses import Squentropy


def check(mean: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Value and gradient of a mean loss against the paper's formula."""
    scores = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1, 2], [3, 0, 1]])
    ours, theirs = scores.clone().requires_grad_(), scores.clone().requires_grad_()
    value, reference = mean(ours, labels), naive.values(Squentropy(), theirs, labels).mean()
    torch.testing.assert_close(value, reference)
    value.backward()
    reference.backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def with_extra_term(extra: Callable[[Tensor], Tensor], items: str = "tokens") -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy plus the mean square of `extra(scores)` over the wrong classes."""

    def mean(scores: Tensor, labels: Tensor) -> Tensor:
        num_classes = scores.shape[-1]
        wrong = 1 - F.one_hot(labels, num_classes)
        values = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="none")
        values = values + (wrong * extra(scores).square()).sum(-1).flatten() / (num_classes - 1)
        return values.sum() / (labels.numel() if items == "tokens" else len(labels))

    return mean


def test_is_the_papers_formula() -> None:
    check(Squentropy().mean)
    check(with_extra_term(lambda scores: scores))


@pytest.mark.parametrize(
    "wrong",
    [
        with_extra_term(lambda scores: scores.softmax(-1)),
        with_extra_term(lambda scores: scores.detach()),
        with_extra_term(lambda scores: scores, items="batch"),
        lambda scores, labels: (scores.softmax(-1) - F.one_hot(labels, 4)).square().sum(-1).mean(),
    ],
    ids=["softmax in the square", "detached", "divided by the batch", "softmax-Brier"],
)
def test_the_formula_rejects_known_bugs(wrong: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(AssertionError, match="not close|not equal"):
        check(wrong)


@pytest.mark.parametrize("num_classes", [2, 3, 50])
def test_probabilities_are_the_papers_softmax(num_classes: int) -> None:
    scores = torch.randn(20, num_classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Squentropy().probabilities(scores), scores.softmax(-1))


@pytest.mark.parametrize(("num_classes", "gap"), [(2, 0.25), (10, 0.12), (100, 0.02)])
def test_the_softmax_of_the_population_minimiser_keeps_the_order_and_nears_the_posterior(
    num_classes: int, gap: float
) -> None:
    """The minimiser solves p_i = (s_i + a f_i) / (1 + a f_i), s = softmax(f), a = 2 / (C - 1): p nears s as C grows.

    The paper reads softmax all the same, and so do we: on trained networks its likelihood is the better one.
    """
    posterior = torch.arange(1, num_classes + 1, dtype=torch.float64).square()
    posterior = posterior / posterior.sum()
    classes = torch.arange(num_classes)
    f = naive.minimise(lambda scores: posterior @ Squentropy()(scores.expand(num_classes, -1), classes), num_classes)
    s, a = f.softmax(-1), 2 / (num_classes - 1)
    torch.testing.assert_close((s + a * f) / (1 + a * f), posterior, rtol=0, atol=1e-6)
    p = Squentropy().probabilities(f)
    assert torch.equal(p.argsort(), posterior.argsort())
    assert (p - posterior).abs().max() < gap


@pytest.mark.parametrize(
    ("loss", "scores", "labels", "says"),
    [
        (Squentropy(multi_label=True), torch.zeros(2, 3), torch.zeros(2, 3), "multi-label"),
        (Squentropy(), torch.zeros(2, 1), torch.zeros(2), "square"),
    ],
)
def test_what_squentropy_cannot_mean_is_refused(loss: Squentropy, scores: Tensor, labels: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loss(scores, labels)
