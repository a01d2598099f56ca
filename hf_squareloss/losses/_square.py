"""The square loss of Hui & Belkin, plain and rescaled."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, final

import torch
from torch import Tensor

from hf_squareloss.losses._base import Loss, at_least_float32
from hf_squareloss.losses._squares import wrong_squares_and_scores_at

Scale = float | Literal["auto", "paper"]


def square_costs(scores: Tensor, *, k: float = 1.0, M: float = 1.0) -> Tensor:
    """The table of `square_loss` for every class: scores (..., C) -> (..., C).

    costs(f)_c = (1/C) (|f|^2 + (k - 1) f_c^2 - 2 k M f_c + k M^2)
    """
    scores = at_least_float32(scores)
    squares = scores.square()
    return (squares.sum(-1, keepdim=True) + (k - 1.0) * squares - 2.0 * k * M * scores + k * M * M) / scores.shape[-1]


def square_loss(scores: Tensor, labels: Tensor, *, k: float = 1.0, M: float = 1.0) -> Tensor:
    """The rescaled square loss on raw scores, one value per item.

    l(f, y) = (1/C) [k (f_y - M)^2 + sum_{i != y} f_i^2]

    Conventions where sources differ: mean over the C classes, no factor 1/2, k outside the square, no softmax.

    Args:
        scores: raw scores (..., C), any floating type; reduced in float32 or better.
        labels: (...) integers in [0, C).
        k: weight of the true class.
        M: the true class's target.

    Returns:
        (...) in float32 or float64.

    Raises:
        ValueError: labels of another shape or type, k or M not positive.

    Source: Hui & Belkin, ICLR 2021 (arXiv 2006.07322), section 2 and, for k and M, "rescaled square loss".

    Example:
        >>> square_loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0]))
        tensor([0.1250])
    """
    if not (0 < k < math.inf and 0 < M < math.inf):
        raise ValueError(f"k and M must be positive numbers, got k={k}, M={M}")
    return _costs_at(scores, labels.unsqueeze(-1), k, M).squeeze(-1)


def _costs_at(scores: Tensor, classes: Tensor, k: float, M: float) -> Tensor:
    """`square_costs` (..., C) at the classes (..., S), with no table."""
    wrong_squares, at = wrong_squares_and_scores_at(scores, classes)
    return (wrong_squares + k * (at - M).square()) / scores.shape[-1]


@final
@dataclass(frozen=True, kw_only=True)
class SquareLoss(Loss):
    """`square_loss` as a loss object, with soft labels, weights, multi-label and real-valued targets.

    Attributes:
        k: weight of the true class: a positive number, "paper" or "auto".
        M: target of the true class: a positive number, "paper" or "auto".

    "paper" is (1, 1) below 42 classes, (1, 15) from 42 and (15, 30) from 1000 (Hui & Belkin). "auto" makes the first
    gradient on the true score, 2 k M / C, equal to cross-entropy's 1: k = max(1, C / 8) and M = C / (2 k).
    With C = 1 the loss is the plain squared error of a regression.

    Example:
        >>> SquareLoss(k="auto", M="auto").resolve(16).to_dict()
        {'loss': 'square', 'k': 2.0, 'M': 4.0}
    """

    name: ClassVar[str] = "square"
    citation: ClassVar[str] = (
        "Like Hui and Mikhail Belkin. Evaluation of Neural Architectures Trained with Square Loss vs Cross-Entropy "
        "in Classification Tasks. ICLR 2021. https://arxiv.org/abs/2006.07322"
    )

    k: Scale = "auto"
    M: Scale = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("k", "M"):
            value = getattr(self, name)
            if value in ("auto", "paper"):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f'{name} must be a positive number, "auto" or "paper", got {value!r}')
            object.__setattr__(self, name, float(value))

    def resolve(self, num_classes: int) -> Self:
        k, M = self.k, self.M
        if num_classes == 1 and not self.multi_label:
            if {k, M} - {"auto", "paper", 1.0}:
                raise ValueError(f"one real-valued target (C = 1) has plain squared error: k and M mean nothing, "
                                 f"got k={k}, M={M}")  # fmt: skip
            return replace(self, k=1.0, M=1.0)
        # One class of a multi-label target is a binary question, whatever the number of classes.
        effective = 2 if self.multi_label else num_classes
        paper = (1.0, 1.0) if effective < 42 else (1.0, 15.0) if effective < 1000 else (15.0, 30.0)
        k = paper[0] if k == "paper" else k
        M = paper[1] if M == "paper" else M
        if k == "auto":
            k = max(1.0, effective / 8 if M == "auto" else effective / (2.0 * M))
        if M == "auto":
            M = effective / (2.0 * k)
        return replace(self, k=k, M=M)

    def for_ctc(self, num_classes: int, blank: int) -> Self:
        """`M` = 1 and `k` = C / 4; the posterior, with a tenth of the weight for the blank, unless these are given.

        Most frames are blanks, and a regression spends itself on them. On AN4 (C = 28) the character error rate on
        validation speakers was .09 with these values and at best .13 with the soft minimum.
        """
        M = 1.0 if self.M == "auto" else self.M
        k = max(1.0, num_classes / (4.0 * M)) if self.k == "auto" and M != "paper" else self.k
        loss = replace(self, k=k, M=M).resolve(num_classes)
        if loss.ctc_tau != "auto":
            return loss
        weights = tuple(0.1 if c == blank else 1.0 for c in range(num_classes))
        return replace(loss, ctc_tau="posterior", class_weights=self.class_weights or weights)

    def _k_and_M(self, scores: Tensor) -> tuple[float, float]:
        loss = self.resolve(scores.shape[-1])
        return float(loss.k), float(loss.M)

    def costs(self, scores: Tensor) -> Tensor:
        k, M = self._k_and_M(scores)
        return square_costs(scores, k=k, M=M)

    def costs_at(self, scores: Tensor, classes: Tensor) -> Tensor:
        k, M = self._k_and_M(scores)
        return _costs_at(scores, classes, k, M)

    def multi_label_costs(self, scores: Tensor, targets: Tensor) -> Tensor:
        """f_c^2 + y_c ((k - 1) f_c^2 - 2 k M f_c + k M^2): k (f_c - M)^2 where y_c = 1, f_c^2 where y_c = 0."""
        k, M = self._k_and_M(scores)
        scores = at_least_float32(scores)
        squares = scores.square()
        return squares + targets * ((k - 1.0) * squares - 2.0 * k * M * scores + k * M * M)

    def regression_costs(self, scores: Tensor, targets: Tensor) -> Tensor:
        self.resolve(1)
        return (scores - targets).square()

    def link(self, scores: Tensor) -> Tensor:
        """p_c = f_c / (k M - (k - 1) f_c) for f_c clipped to [0, M].

        The population minimiser of the loss is f_c = k M p_c / (1 + (k - 1) p_c), which runs from 0 to M.
        """
        return _link(scores, *self._k_and_M(scores))

    def link_at(self, scores: Tensor, classes: Tensor) -> Tensor:
        return _link(scores.gather(-1, classes), *self._k_and_M(scores))


def _link(scores: Tensor, k: float, M: float) -> Tensor:
    scores = at_least_float32(scores).clamp(0.0, M)
    return torch.clamp(scores / (k * M - (k - 1.0) * scores), 0.0, 1.0)
