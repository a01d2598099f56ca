"""Cross-entropy: the baseline, through the same path as every other loss."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch.nn.functional as F
from torch import Tensor

from hf_squareloss.losses._base import Loss, at_least_float32


@final
@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """costs(f)_c = logsumexp(f) - f_c, in natural logarithms; multi-label: one binary cross-entropy per class.

    Example:
        >>> import torch
        >>> CrossEntropy()(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.6931])
    """

    name: ClassVar[str] = "cross_entropy"
    scores_are_logits: ClassVar[bool] = True

    def costs(self, scores: Tensor) -> Tensor:
        return -at_least_float32(scores).log_softmax(-1)

    def costs_at(self, scores: Tensor, classes: Tensor) -> Tensor:
        return -at_least_float32(scores).log_softmax(-1).gather(-1, classes)

    def multi_label_costs(self, scores: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(at_least_float32(scores), targets, reduction="none")

    def link(self, scores: Tensor) -> Tensor:
        scores = at_least_float32(scores)
        return scores.sigmoid() if self.multi_label else scores.softmax(-1)
