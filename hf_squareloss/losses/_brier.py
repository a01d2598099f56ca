"""The Brier score as a loss: the squared distance between a softmax and the label."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from hf_squareloss.losses._base import Loss, at_least_float32


@final
@dataclass(frozen=True, kw_only=True)
class BrierLoss(Loss):
    """costs(f)_c = sum_i (p_i - [i = c])^2 = |p|^2 - 2 p_c + 1 with p = softmax(f).

    A yes-no question of multi-label targets costs (p - y)^2 with p = sigmoid(f).

    Conventions where sources differ: the sum over the C classes, from 0 to 2, as Brier has it; of one yes-no question
    the one square, from 0 to 1. A proper loss: p is the probability. Its gradient vanishes where the model is certain
    of a wrong class.

    Source: Brier, Monthly Weather Review 78 (1950), equation 2.

    Example:
        >>> import torch
        >>> BrierLoss()(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.5000])
    """

    name: ClassVar[str] = "brier"
    scores_are_logits: ClassVar[bool] = True
    citation: ClassVar[str] = (
        "Glenn W. Brier. Verification of Forecasts Expressed in Terms of Probability. Monthly Weather Review 78. 1950. "
        "https://doi.org/10.1175/1520-0493(1950)078%3C0001:VOFEIT%3E2.0.CO;2"
    )

    def costs(self, scores: Tensor) -> Tensor:
        p = at_least_float32(scores).softmax(-1)
        return p.square().sum(-1, keepdim=True) - 2.0 * p + 1.0

    def multi_label_costs(self, scores: Tensor, targets: Tensor) -> Tensor:
        """y (1 - p)^2 + (1 - y) p^2: linear in y, and (p - y)^2 for y of 0 or 1."""
        p = at_least_float32(scores).sigmoid()
        return p.square() - 2.0 * targets * p + targets

    def link(self, scores: Tensor) -> Tensor:
        scores = at_least_float32(scores)
        return scores.sigmoid() if self.multi_label else scores.softmax(-1)
