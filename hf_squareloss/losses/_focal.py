"""Focal loss: cross-entropy that gives less weight to what is already told right."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_squareloss.losses._base import Loss, at_least_float32
from hf_squareloss.losses._parameters import LEAST, require_number


@final
@dataclass(frozen=True, kw_only=True)
class FocalLoss(Loss):
    """costs(f)_c = -alpha (1 - q_c)^gamma log q_c with q = softmax(f); multi-label: one binary focal loss per class.

    A yes-no question has q = sigmoid(f) and costs -alpha (1 - q)^gamma log q for yes, -(1 - alpha) q^gamma log(1 - q)
    for no. Without alpha both factors are 1.

    q is not the probability of c. For p the true one, the loss is least where p_c = h(q_c) / sum_i h(q_i), with
    h(q) = q / ((1 - q)^gamma - gamma q (1 - q)^(gamma - 1) log q), and that is the link. For a yes-no question it is
    p / (1 - p) = (1 - alpha) / alpha h(q) / h(1 - q).

    Attributes:
        gamma: from 0, which is cross-entropy, to 1e30; papers use up to 5.
        alpha: in (0, 1), or None for a factor of 1.

    Source: Lin, Goyal, Girshick, He & Dollar, ICCV 2017 (arXiv 1708.02002), equation 5. The link: Charoenphakdee,
    Vongkulbhisal, Chairatanakul & Sugiyama, CVPR 2021 (arXiv 2011.09172).

    Example:
        >>> import torch
        >>> FocalLoss(gamma=1.0)(torch.zeros(1, 2), torch.tensor([0]))
        tensor([0.3466])
    """

    name: ClassVar[str] = "focal"
    citation: ClassVar[str] = (
        "Tsung-Yi Lin, Priya Goyal, Ross Girshick, Kaiming He and Piotr Dollar. Focal Loss for Dense Object Detection. "
        "ICCV 2017. https://arxiv.org/abs/1708.02002"
    )

    gamma: float = 2.0
    alpha: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        gamma = require_number("gamma", self.gamma, "a number from 0 to 1e30", lambda gamma: 0 <= gamma <= 1e30)
        object.__setattr__(self, "gamma", gamma)
        if self.alpha is not None:
            expected = "a number in (0, 1), 1e-8 from its ends or more, or None"
            alpha = require_number("alpha", self.alpha, expected, lambda alpha: LEAST <= alpha <= 1 - LEAST)
            object.__setattr__(self, "alpha", alpha)

    def costs(self, scores: Tensor) -> Tensor:
        log_q, log_rest = _log_softmax_and_rest(at_least_float32(scores))
        return -(1.0 if self.alpha is None else self.alpha) * (self.gamma * log_rest).exp() * log_q

    def multi_label_costs(self, scores: Tensor, targets: Tensor) -> Tensor:
        scores = at_least_float32(scores)
        yes, no = (1.0, 1.0) if self.alpha is None else (self.alpha, 1.0 - self.alpha)
        log_q, log_rest = F.logsigmoid(scores), F.logsigmoid(-scores)
        of_yes = -yes * (self.gamma * log_rest).exp() * log_q
        of_no = -no * (self.gamma * log_q).exp() * log_rest
        return targets * of_yes + (1.0 - targets) * of_no

    def link(self, scores: Tensor) -> Tensor:
        scores = at_least_float32(scores)
        if not self.multi_label:
            return _log_h(*_log_softmax_and_rest(scores), self.gamma).softmax(-1)
        log_q, log_rest = F.logsigmoid(scores), F.logsigmoid(-scores)
        logit = _log_h(log_q, log_rest, self.gamma) - _log_h(log_rest, log_q, self.gamma)
        return (logit if self.alpha is None else logit + math.log(1.0 / self.alpha - 1.0)).sigmoid()


def _log_softmax_and_rest(scores: Tensor) -> tuple[Tensor, Tensor]:
    """log q and log(1 - q), finite, for q = softmax(scores); 1 - q of the largest score is the others' sum."""
    scores = _finite(scores - scores.detach().amax(-1, keepdim=True))  # a logsumexp of huge ones would lose log C
    top = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, scores.argmax(-1, keepdim=True), True)
    log_q = scores.log_softmax(-1)
    others = scores.masked_fill(top, -math.inf).logsumexp(-1, keepdim=True) - scores.logsumexp(-1, keepdim=True)
    log_rest = torch.where(top, others, torch.log1p(-log_q.masked_fill(top, -math.inf).exp()))
    return _finite(log_q), _finite(log_rest)


def _log_h(log_q: Tensor, log_rest: Tensor, gamma: float) -> Tensor:
    """log h(q) = log q - gamma log(1 - q) - log(1 + gamma r), r = -q log q / (1 - q), from log q and log(1 - q).

    r rises from 0 to 1 with q. Of q near 1, log q holds no more than its rounding: it comes from log(1 - q) there.
    """
    near_one = log_rest.clamp(min=-60.0)  # r is 1 to the last digit below exp(-40)
    r = torch.where(
        log_q > -math.log(2.0),
        -torch.log1p(-near_one.exp()) * (log_q - near_one).exp(),
        -log_q * (log_q - log_rest).exp(),
    )
    return log_q - _finite(gamma * log_rest) - torch.log1p(gamma * r)


def _finite(logarithms: Tensor) -> Tensor:
    """Scores that differ by more than the float type holds have logarithms of -inf."""
    return logarithms.clamp(min=torch.finfo(logarithms.dtype).min / 4.0)
