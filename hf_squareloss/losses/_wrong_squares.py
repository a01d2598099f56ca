"""sum_{i != y} f_i^2 and f_y in one step, with one gradient-sized buffer: what square and squentropy are made of."""

from typing import Any

import torch
from torch import Tensor


class _WrongSquaresAndTrueScore(torch.autograd.Function):
    # Left to autograd, the squares and the gather each allocate a gradient of the size of the scores, then their sum.
    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(scores.dtype, torch.float32)
        true_score = scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1).to(dtype)
        squares = torch.linalg.vector_norm(scores, dim=-1, dtype=dtype).square()
        # A difference of two roundings can fall below zero, a sum of squares cannot.
        return (squares - true_score.square()).clamp_min(0.0), true_score

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad_wrong, grad_true = grads
        scores, labels = ctx.saved_tensors
        grad = scores * (2.0 * grad_wrong).unsqueeze(-1)
        true_score = scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
        instead = grad_true - 2.0 * grad_wrong * true_score
        grad = grad.scatter_add_(-1, labels.unsqueeze(-1), instead.unsqueeze(-1))
        return grad.to(scores.dtype), None


def wrong_squares_and_true_score(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (..., C) and labels (...) in [0, C) -> sum_{i != y} f_i^2 (...) and f_y (...), in float32 or float64.

    Raises:
        ValueError: labels of another shape, which would broadcast, or not integers.
    """
    if labels.shape != scores.shape[:-1] or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"labels must be integers of shape {tuple(scores.shape[:-1])} for scores {tuple(scores.shape)}, "
            f"got {labels.dtype} {tuple(labels.shape)}"
        )
    return _WrongSquaresAndTrueScore.apply(scores, labels.long())  # type: ignore[return-value]
