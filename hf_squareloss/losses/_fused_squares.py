"""(sum_{i != c} f_i^2 + k (f_c - M)^2) / n and f_c in one step: what square and squentropy are made of."""

from typing import Any

import torch
from torch import Tensor

from hf_squareloss.losses._targets import require_integers


class _SquaresAndScoresAt(torch.autograd.Function):
    # Left to autograd, each operation is a node and the squares and the gather each allocate a gradient of the size of
    # the scores, then their sum: for small scores the nodes are the time, for large ones the memory.
    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, classes: Tensor, k: float, M: float, n: int) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(scores.dtype, torch.float32)
        squares = torch.linalg.vector_norm(scores, dim=-1, keepdim=True, dtype=dtype).square()
        at = scores.gather(-1, classes).to(dtype)
        # A difference of two roundings can fall below zero, a sum of squares cannot.
        values = torch.addcmul(squares, at, at, value=-1.0).clamp_min(0.0)
        missing = at - M
        return torch.addcmul(values, missing, missing, value=k).mul(1.0 / n), at

    @staticmethod
    def setup_context(
        ctx: Any, inputs: tuple[Tensor, Tensor, float, float, int], output: tuple[Tensor, Tensor]
    ) -> None:
        scores, classes, ctx.k, ctx.M, ctx.n = inputs
        ctx.save_for_backward(scores, classes)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        scores, classes = ctx.saved_tensors
        grad_values, grad_at = grads
        if grad_values is None:
            grad = torch.zeros_like(scores)
        else:
            twice = grad_values * (2.0 / ctx.n)
            grad = scores * (twice if twice.shape[-1] == 1 else twice.sum(-1, keepdim=True))
            at = scores.gather(-1, classes).to(twice.dtype)
            grad_at_by_values = twice * ((ctx.k - 1.0) * at - ctx.k * ctx.M)
            grad_at = grad_at_by_values if grad_at is None else grad_at + grad_at_by_values
        if grad_at is not None:
            grad = grad.scatter_add_(-1, classes, grad_at.to(grad.dtype))
        return grad.to(scores.dtype), None, None, None, None


def squares_and_scores_at(scores: Tensor, classes: Tensor, *, k: float, M: float, n: int) -> tuple[Tensor, Tensor]:
    """(sum_{i != c} f_i^2 + k (f_c - M)^2) / n and f_c, both (..., S), float32 or better.

    Args:
        scores: f (..., C).
        classes: c (..., S), integers in [0, C).

    Raises:
        ValueError: classes with other leading dimensions, which would be cut or broadcast, or not integers.
    """
    require_integers(classes, (*scores.shape[:-1], "S"), name="classes", of=f" for scores {tuple(scores.shape)}")
    return _SquaresAndScoresAt.apply(scores, classes.long(), k, M, n)  # type: ignore[return-value]
