"""sum_i f_i^2 and some f_c in one step, with one gradient-sized buffer: what square and squentropy are made of."""

from typing import Any

import torch
from torch import Tensor


class _SumOfSquaresAndScoresAt(torch.autograd.Function):
    # Left to autograd, the squares and the gather each allocate a gradient of the size of the scores, then their sum.
    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(scores.dtype, torch.float32)
        squares = torch.linalg.vector_norm(scores, dim=-1, dtype=dtype).square()
        return squares, scores.gather(-1, classes).to(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad_squares, grad_at = grads
        scores, classes = ctx.saved_tensors
        grad = scores * (2.0 * grad_squares).unsqueeze(-1)
        return grad.scatter_add_(-1, classes, grad_at).to(scores.dtype), None


def wrong_squares_and_scores_at(scores: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (..., C) and classes c (..., S) in [0, C) -> sum_{i != c} f_i^2 and f_c, both (..., S), float32 or better.

    Raises:
        ValueError: classes with other leading dimensions, which would be cut or broadcast, or not integers.
    """
    if classes.shape[:-1] != scores.shape[:-1] or classes.is_floating_point() or classes.dtype == torch.bool:
        raise ValueError(
            f"labels must be integers of shape {tuple(scores.shape[:-1])} for scores {tuple(scores.shape)}, "
            f"got {classes.dtype} {tuple(classes.shape[:-1])}"
        )
    squares, at = _SumOfSquaresAndScoresAt.apply(scores, classes.long())  # type: ignore[misc]
    return difference(squares.unsqueeze(-1), at.square()), at


def difference(squares: Tensor, square: Tensor) -> Tensor:
    """A sum of squares without one of them: not below zero, where two roundings can lead; the gradient is exact."""
    wrong = squares - square
    return wrong + (wrong.clamp_min(0.0) - wrong).detach()
