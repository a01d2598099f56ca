"""Every loss with the formula of its paper: the shared tests run over CONTRACT. A new loss adds one entry."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from hf_squareloss.losses import CrossEntropy, Loss, SquareLoss, make_loss


class Contract(NamedTuple):
    """What the shared tests need of a loss.

    Attributes:
        losses: objects to test, with the parameters that matter and no option that all losses have.
        cost: `cost(loss, f, y)`, the paper's formula for scores f (C,) and the class y, written naively.
        question: `question(loss, f, yes)`, the same for one yes-no question and its score (); None: multi-label targets
            are refused.
        exact_link: the link is the inverse of the population minimiser.
    """

    losses: list[Loss]
    cost: Callable[[Any, Tensor, int], Tensor]
    question: Callable[[Any, Tensor, bool], Tensor] | None = None
    exact_link: bool = True


def cross_entropy(loss: Loss, f: Tensor, y: int) -> Tensor:
    """-log softmax(f)_y, shifted by the largest score."""
    top = max(float(v.detach()) for v in f)
    total = f.new_zeros(())
    for value in f:
        total = total + (value - top).exp()
    return total.log() + top - f[y]


def cross_entropy_of_a_question(loss: Loss, f: Tensor, yes: bool) -> Tensor:
    return cross_entropy(loss, torch.stack([torch.zeros_like(f), f]), int(yes))


def square(loss: SquareLoss, f: Tensor, y: int) -> Tensor:
    """Hui & Belkin: (1/C) [k (f_y - M)^2 + sum_{i != y} f_i^2]."""
    resolved = loss.resolve(len(f))  # "auto" as numbers
    k, M, total = float(resolved.k), float(resolved.M), f.new_zeros(())
    for i in range(len(f)):
        total = total + (k * (f[i] - M) ** 2 if i == y else f[i] ** 2)
    return total / len(f)


def square_of_a_question(loss: SquareLoss, f: Tensor, yes: bool) -> Tensor:
    resolved = loss.resolve(2)
    return float(resolved.k) * (f - float(resolved.M)) ** 2 if yes else f**2


def squentropy(loss: Loss, f: Tensor, y: int) -> Tensor:
    """Hui, Belkin & Wright: cross-entropy + 1/(C-1) sum_{i != y} f_i^2."""
    wrong = f.new_zeros(())
    for i in range(len(f)):
        if i != y:
            wrong = wrong + f[i] ** 2
    return cross_entropy(CrossEntropy(), f, y) + wrong / (len(f) - 1)


def focal(loss: Any, f: Tensor, y: int) -> Tensor:
    """Lin et al., equation 5: -alpha (1 - p)^gamma log p for p = softmax(f)_y."""
    p = (-cross_entropy(loss, f, y)).exp()
    return -(loss.alpha or 1.0) * (1.0 - p) ** loss.gamma * p.log()


def focal_of_a_question(loss: Any, f: Tensor, yes: bool) -> Tensor:
    """With alpha_t: alpha where the answer is yes, 1 - alpha where it is no."""
    p = 1.0 / (1.0 + (-f if yes else f).exp())
    alpha = 1.0 if loss.alpha is None else loss.alpha if yes else 1.0 - loss.alpha
    return -alpha * (1.0 - p) ** loss.gamma * p.log()


def brier(loss: Loss, f: Tensor, y: int) -> Tensor:
    """Brier: sum_i (p_i - [i = y])^2 for p = softmax(f)."""
    total = f.new_zeros(())
    for i in range(len(f)):
        total = total + ((-cross_entropy(loss, f, i)).exp() - float(i == y)) ** 2
    return total


def brier_of_a_question(loss: Loss, f: Tensor, yes: bool) -> Tensor:
    return (1.0 / (1.0 + (-f).exp()) - float(yes)) ** 2


CONTRACT: dict[str, Contract] = {
    "brier": Contract([make_loss("brier")], brier, brier_of_a_question),
    "cross_entropy": Contract([CrossEntropy()], cross_entropy, cross_entropy_of_a_question),
    "focal": Contract(
        [make_loss("focal"), make_loss("focal", gamma=0.5, alpha=0.25)],
        focal,
        focal_of_a_question,
    ),
    "square": Contract(
        [SquareLoss(), SquareLoss(k=1, M=1), SquareLoss(k=3, M=2), SquareLoss(k=0.5, M=15)],
        square,
        square_of_a_question,
    ),
    # Its paper reads a softmax, which is not the minimiser's inverse: test_squentropy.py says how far off it is.
    "squentropy": Contract([make_loss("squentropy")], squentropy, exact_link=False),
}

EVERY: list[Loss] = [loss for entry in CONTRACT.values() for loss in entry.losses]
ONE_EACH: list[Loss] = [entry.losses[0] for entry in CONTRACT.values()]
MULTI_LABEL: list[Loss] = [loss for entry in CONTRACT.values() if entry.question for loss in entry.losses]


def title(loss: Loss) -> str:
    """A test's name for a loss: its name and parameters."""
    return "-".join(f"{key}={value}" if key != "loss" else str(value) for key, value in loss.to_dict().items())


every_loss = pytest.mark.parametrize("loss", EVERY, ids=title)
every_multi_label_loss = pytest.mark.parametrize("loss", MULTI_LABEL, ids=title)
