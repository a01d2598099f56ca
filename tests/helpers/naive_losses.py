"""Losses one item and one class at a time, from the formulas in losses/contract.py, and their minimisers."""

from collections.abc import Callable
from functools import partial

import torch
from contract import CONTRACT
from torch import Tensor

from hf_squareloss.losses import Loss


def cost_of(loss: Loss) -> Callable[[Tensor, int], Tensor]:
    """The naive cost for a loss object."""
    return partial(CONTRACT[loss.name].cost, loss)


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


def multi_label_values(loss: Loss, scores: Tensor, targets: Tensor) -> Tensor:
    """Every item's mean over its yes-no questions, with the loss object's weights; targets (N, C) of 0 and 1."""
    question, num_classes, rows = CONTRACT[loss.name].question, scores.shape[-1], []
    assert question is not None
    weights = loss.class_weights or [1.0] * num_classes
    for f, target in zip(scores, targets, strict=True):
        total = f.new_zeros(())
        if not bool((target == loss.ignore_index).all()):
            for c in range(num_classes):
                total = total + weights[c] * question(loss, f[c], bool(target[c])) / num_classes
        rows.append(total)
    return torch.stack(rows)


def minimise(objective: Callable[[Tensor], Tensor], size: int) -> Tensor:
    """The (size,) scores where an objective is least, found numerically from zero."""
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
