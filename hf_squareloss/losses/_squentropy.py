"""Squentropy: cross-entropy plus the mean square of the wrong classes' scores."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from hf_squareloss.losses._base import Loss, at_least_float32
from hf_squareloss.losses._fused_squares import squares_and_scores_at


@final
@dataclass(frozen=True, kw_only=True)
class Squentropy(Loss):
    """costs(f)_c = logsumexp(f) - f_c + (1 / (C - 1)) (|f|^2 - f_c^2); probabilities are a softmax.

    Source: Hui, Belkin & Wright, ICML 2023 (arXiv 2302.03952).

    Example:
        >>> import torch
        >>> Squentropy()(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6931])
    """

    name: ClassVar[str] = "squentropy"
    scores_are_logits: ClassVar[bool] = True
    citation: ClassVar[str] = (
        "Like Hui, Mikhail Belkin and Stephen Wright. Cut your Losses with Squentropy. ICML 2023. "
        "https://arxiv.org/abs/2302.03952"
    )

    def costs(self, scores: Tensor) -> Tensor:
        scores = at_least_float32(scores)
        squares = scores.square()
        wrong = (squares.sum(-1, keepdim=True) - squares) / (scores.shape[-1] - 1)
        return wrong - scores.log_softmax(-1)

    def costs_at(self, scores: Tensor, classes: Tensor) -> Tensor:
        wrong, at = squares_and_scores_at(scores, classes, k=0.0, M=0.0, n=scores.shape[-1] - 1)
        return wrong + at_least_float32(scores).logsumexp(-1, keepdim=True) - at

    def link(self, scores: Tensor) -> Tensor:
        return at_least_float32(scores).softmax(-1)
