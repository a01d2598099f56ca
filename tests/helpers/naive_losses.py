"""The losses as the papers write them, one class and one item at a time: what the tests hold the package against."""

from collections.abc import Callable

import torch
from torch import Tensor

from hf_squareloss.losses import CrossEntropy, Loss, SquareLoss, Squentropy

Cost = Callable[[Tensor, int], Tensor]


def square(f: Tensor, y: int, k: float = 1.0, M: float = 1.0) -> Tensor:
    """Hui & Belkin: (1/C) [k (f_y - M)^2 + sum_{i != y} f_i^2]."""
    total = f.new_zeros(())
    for i in range(len(f)):
        total = total + (k * (f[i] - M) ** 2 if i == y else f[i] ** 2)
    return total / len(f)


def cross_entropy(f: Tensor, y: int) -> Tensor:
    """-log softmax(f)_y, shifted by the largest score."""
    top = max(float(v.detach()) for v in f)
    total = f.new_zeros(())
    for value in f:
        total = total + (value - top).exp()
    return total.log() + top - f[y]


def squentropy(f: Tensor, y: int) -> Tensor:
    """Hui, Belkin & Wright: cross-entropy + 1/(C-1) sum_{i != y} f_i^2."""
    wrong = f.new_zeros(())
    for i in range(len(f)):
        if i != y:
            wrong = wrong + f[i] ** 2
    return cross_entropy(f, y) + wrong / (len(f) - 1)


def cost_of(loss: Loss) -> Cost:
    """The naive cost for a loss object whose k and M are numbers."""
    if isinstance(loss, SquareLoss):
        k, M = float(loss.k), float(loss.M)
        return lambda f, y: square(f, y, k, M)
    return {CrossEntropy: cross_entropy, Squentropy: squentropy}[type(loss)]


def values(loss: Loss, scores: Tensor, labels: Tensor) -> Tensor:
    """Every item's loss, with the loss object's weights, smoothing and ignore_index, for hard or soft labels."""
    cost, num_classes, rows = cost_of(loss), scores.shape[-1], []
    weights = loss.class_weights or [1.0] * num_classes
    flat_labels = labels.reshape(-1, num_classes) if labels.is_floating_point() else labels.reshape(-1)
    for f, label in zip(scores.reshape(-1, num_classes), flat_labels, strict=True):
        total = f.new_zeros(())
        if not bool((label == loss.ignore_index).all()):
            for c in range(num_classes):
                share = float(label[c]) if labels.is_floating_point() else float(int(label) == c)
                share = (1 - loss.label_smoothing) * share + loss.label_smoothing / num_classes
                total = total + weights[c] * share * cost(f, c)
        rows.append(total)
    return torch.stack(rows).reshape(scores.shape[:-1])


def minimise(objective: Callable[[Tensor], Tensor], size: int) -> Tensor:
    """The (size,) scores where a convex objective is least, found numerically."""
    scores = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS(
        [scores], max_iter=1000, tolerance_grad=1e-10, tolerance_change=1e-18, line_search_fn="strong_wolfe"
    )

    def step() -> Tensor:
        search.zero_grad()
        value = objective(scores)
        value.backward()
        return value

    search.step(step)  # type: ignore[arg-type]
    assert scores.grad is not None and scores.grad.abs().max() < 1e-7, "the search did not converge"
    return scores.detach()
