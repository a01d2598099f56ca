"""|f|^2 and f_y in one step, with one gradient-sized buffer: what the square loss and squentropy are made of."""

from typing import Any

import torch
from torch import Tensor


class _SquaredNormAndTrueScore(torch.autograd.Function):
    # Left to autograd, |f|^2 and the gather each allocate a gradient of the size of the scores, and then their sum.
    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        dtype = torch.promote_types(scores.dtype, torch.float32)
        squared_norm = torch.linalg.vector_norm(scores, dim=-1, dtype=dtype).square()
        return squared_norm, scores.gather(-1, labels.unsqueeze(-1)).squeeze(-1).to(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad_norm, grad_true = grads
        scores, labels = ctx.saved_tensors
        grad = scores * (2.0 * grad_norm).unsqueeze(-1)
        grad = grad.scatter_add_(-1, labels.unsqueeze(-1), grad_true.unsqueeze(-1))
        return grad.to(scores.dtype), None


def squared_norm_and_true_score(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (..., C) and labels (...) in [0, C) -> |f|^2 (...) and f_y (...), in float32 or float64."""
    return _SquaredNormAndTrueScore.apply(scores, labels)  # type: ignore[return-value]
