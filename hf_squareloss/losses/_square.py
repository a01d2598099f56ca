"""The square loss of Hui & Belkin, plain and rescaled."""

import functools
import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import peek_interpreter_stack
from torch._C._nn import mse_loss

from hf_squareloss.losses._base import Loss, at_least_float32
from hf_squareloss.losses._fused_squares import squares_and_scores_at
from hf_squareloss.losses._gram import (
    gram_pays,
    in_float16_on_accelerator,
    linear_squares_and_scores_at,
    product_type,
)

Scale = float | Literal["auto", "paper"]
_FEW = 2**15  # scores, about as many as one step over them costs as much as starting an operation
_FULL_PRECISION = (torch.float32, torch.float64)


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

    The sum over the wrong classes is computed as |f|^2 - f_y^2: in float32 what is below 1e-7 f_y^2 of it is lost to
    rounding. Gradients have no such difference.

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


def linear_square_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    *,
    k: Scale = 1.0,
    M: Scale = 1.0,
    label_smoothing: float = 0.0,
    class_weights: tuple[float, ...] | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """The square loss of the scores f = W h + b of a linear head, one value per item, without building them.

    sum_i f_i^2 = h^T (W^T W) h + 2 h^T W^T b + |b|^2, and f_y needs one row of W: value and gradients are those of
    `square_loss(F.linear(hidden, weight, bias), labels)` up to rounding, for about 4 (C + N) d^2 operations and two
    d x d matrices instead of 6 N C d and N C. Where that is no gain (few items or classes for the size of d, or
    float16 on an accelerator), the scores of the items that count are built after all.

    With `label_smoothing` and `class_weights` together it also holds copies of W. Gradients that can be differentiated
    again (`create_graph=True`) build the scores.

    Rounding grows with the square of the scores' cancellation, (|h| |W| / |f|)^2, where plain scores have its first
    power: hidden states nearly orthogonal to all rows of W want float64. In bfloat16 that begins where W's rows share a
    direction that is as long as what they differ in, and h is orthogonal to it.

    Args:
        hidden: H (..., d).
        weight: W (C, d).
        bias: b (C,) or None.
        labels: (...) integers in [0, C) or `ignore_index`; ignored items cost no time.
        k: weight of the true class: a number, "paper" or "auto".
        M: the true class's target: a number, "paper" or "auto".
        label_smoothing: share of the label spread over all classes.
        class_weights: one per class.
        ignore_index: items with this label have value zero.

    Returns:
        (...) in float32 or float64.

    Raises:
        ValueError: shapes, types or label values do not fit.

    Source: Vincent, de Brebisson & Bouthillier, NeurIPS 2015 (arXiv 1412.7091), with the rescaling of Hui & Belkin.

    Example:
        >>> linear_square_loss(torch.eye(2), torch.eye(2), None, torch.tensor([0, 1]))
        tensor([0., 0.])
    """
    loss = SquareLoss(k=k, M=M, label_smoothing=label_smoothing, class_weights=class_weights, ignore_index=ignore_index)
    return loss.of_linear(hidden, weight, bias, labels)


def _costs_at(scores: Tensor, classes: Tensor, k: float, M: float) -> Tensor:
    """`square_costs` (..., C) at the classes (..., S), with no table."""
    return squares_and_scores_at(scores, classes, k=k, M=M, n=scores.shape[-1])[0]


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
    needs_scores: ClassVar[bool] = False
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

    def _k_and_M(self, num_classes: int) -> tuple[float, float]:
        loss = self if isinstance(self.k, float) and isinstance(self.M, float) else self.resolve(num_classes)
        return float(loss.k), float(loss.M)

    def costs(self, scores: Tensor) -> Tensor:
        k, M = self._k_and_M(scores.shape[-1])
        return square_costs(scores, k=k, M=M)

    def costs_at(self, scores: Tensor, classes: Tensor) -> Tensor:
        k, M = self._k_and_M(scores.shape[-1])
        return _costs_at(scores, classes, k, M)

    def total(self, scores: Tensor, labels: Tensor) -> Tensor:
        few = self._of_few(scores, labels, per_item=False)
        return super().total(scores, labels) if few is None else few

    def mean(self, scores: Tensor, labels: Tensor) -> Tensor:
        few = self._of_few(scores, labels, per_item=True)
        return super().mean(scores, labels) if few is None else few

    def _of_few(self, scores: Tensor, labels: Tensor, per_item: bool) -> Tensor | None:
        """The sum of the values, or their mean, by torch's squared error, where its few operations are the time.

        k (f_y - M)^2 + sum_{i != y} f_i^2 = sum_i (r_i f_i - r_i t_i)^2, with r and t rows of small tables.
        None where that is slower, or where the labels need a closer look.
        """
        if (
            self.class_weights is not None
            or self.label_smoothing
            or self.multi_label
            or type(scores) is not Tensor
            or not scores.is_cpu
            or scores.dim() != 2
            or scores.dtype not in _FULL_PRECISION
            or torch.compiler.is_compiling()
        ):
            return None
        num_items, num_classes = scores.shape
        if (
            not 1 < num_classes <= _FEW**0.5
            or not 0 < num_items * num_classes <= _FEW
            or 0 <= self.ignore_index < num_classes
            or labels.dtype != torch.int64
            or labels.shape != (num_items,)
        ):
            return None
        # What a mode or a transform of the moment makes of a table must not outlive it.
        tables = _tables.__wrapped__ if _transformed() else _tables
        roots, targets, reduction = tables(num_classes, self.k, self.M, num_items if per_item else None, scores.dtype)
        try:
            targets = targets.index_select(0, labels)
        except IndexError:  # ignored items, or wrong labels
            return None
        if roots is not None:
            scores = scores * (roots.index_select(0, labels) if roots.dim() else roots)
        # What F.mse_loss ends in: its look at the shapes takes as long as the operation itself.
        return mse_loss(scores, targets, reduction)  # type: ignore[arg-type]  # the stub is wrong

    def of_linear(self, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor:
        """As `linear_square_loss`."""
        num_classes, hidden_size = _check_linear(hidden, weight, bias)
        hard = not labels.is_floating_point() and not self.multi_label and num_classes > 1
        if not hard:
            return super().of_linear(hidden, weight, bias, labels)
        items, classes = hidden.reshape(-1, hidden_size), labels.flatten().long()
        kept = counted = None
        if labels.shape != hidden.shape[:-1] or not self._all_in_range(labels, num_classes):
            kept = self._check(hidden[..., :1].expand(*hidden.shape[:-1], num_classes), labels).flatten()
            classes = torch.where(kept, classes, 0)
            # A compiled graph has one shape whatever is ignored; elsewhere ignored items need not be computed.
            if not torch.compiler.is_compiling():
                counted = kept.nonzero().squeeze(-1)
                items, classes = items.index_select(0, counted), classes.index_select(0, counted)
        pays = gram_pays(len(items), num_classes, hidden_size, product_type(hidden))
        if in_float16_on_accelerator(hidden) or not pays:
            values = self._label_costs(F.linear(items, weight, bias), classes)
        else:
            values = self._gram_values(items, weight, bias, classes)
        if counted is not None:
            values = values.new_zeros(labels.numel()).index_copy(0, counted, values)
        elif kept is not None:
            values = torch.where(kept, values, 0.0)
        return values.view(labels.shape)

    def _gram_values(self, items: Tensor, weight: Tensor, bias: Tensor | None, classes: Tensor) -> Tensor:
        if self.label_smoothing and self.class_weights is not None:
            return self._smoothed_and_weighted_gram_values(items, weight, bias, classes)
        num_classes = len(weight)
        shift, factor, k, M, least = _without_smoothing(num_classes, *self._k_and_M(num_classes), self.label_smoothing)
        if shift:
            bias = -shift + (weight.new_zeros(num_classes) if bias is None else at_least_float32(bias))
        squares, at = linear_squares_and_scores_at(items, weight, bias, classes)
        values = factor * (_of_wrong_classes(squares, at) + k * (at - M).square()) + least
        if self.class_weights is not None:
            values = self._weights(values.device, values.dtype, num_classes)[classes] * values
        return values

    def _smoothed_and_weighted_gram_values(
        self, items: Tensor, weight: Tensor, bias: Tensor | None, classes: Tensor
    ) -> Tensor:
        """sum_c w_c costs(f)_c needs sum_c w_c f_c^2, the squares of other scores, and sum_c w_c f_c, a score."""
        num_classes, smoothing = len(weight), self.label_smoothing
        k, M = self._k_and_M(num_classes)
        squares, at = linear_squares_and_scores_at(items, weight, bias, classes)
        values = (_of_wrong_classes(squares, at) + k * (at - M).square()) / num_classes
        weights = self._weights(values.device, values.dtype, num_classes)
        root = weights.sqrt()
        heavier = None if bias is None else bias * root
        weighted, _ = linear_squares_and_scores_at(items, weight * root.unsqueeze(-1), heavier, classes)
        total = (items * (weights.unsqueeze(-1) * weight).sum(0)).sum(-1, dtype=values.dtype)
        total = total if bias is None else total + (weights * bias).sum()
        every = weights.sum() * (squares + k * M * M) + (k - 1.0) * weighted - 2.0 * k * M * total
        return (1.0 - smoothing) * weights[classes] * values + smoothing / num_classes**2 * every

    def multi_label_costs(self, scores: Tensor, targets: Tensor) -> Tensor:
        """f_c^2 + y_c ((k - 1) f_c^2 - 2 k M f_c + k M^2): k (f_c - M)^2 where y_c = 1, f_c^2 where y_c = 0."""
        k, M = self._k_and_M(scores.shape[-1])
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
        return _link(scores, *self._k_and_M(scores.shape[-1]))

    def link_at(self, scores: Tensor, classes: Tensor) -> Tensor:
        return _link(scores.gather(-1, classes), *self._k_and_M(scores.shape[-1]))


def _of_wrong_classes(squares: Tensor, at: Tensor) -> Tensor:
    """sum_{i != y} f_i^2; a difference of two roundings can fall below zero, its gradient is the difference's."""
    wrong = squares - at.square()
    return wrong + (wrong.clamp_min(0.0) - wrong).detach()


def _without_smoothing(
    num_classes: int, k: float, M: float, smoothing: float
) -> tuple[float, float, float, float, float]:
    """Shift s, factor a, k', M' and least value r of the smoothed loss as a plain one on shifted scores.

    (1 - eps) costs(f)_y + eps / C sum_c costs(f)_c = a [sum_{i != y} (f_i - s)^2 + k' (f_y - s - M')^2] + r

    Both sides are quadratic in f, with one coefficient for all classes but y; comparing them gives the five.
    """
    if not smoothing:
        return 0.0, 1.0 / num_classes, k, M, 0.0
    factor = (1.0 - smoothing) / num_classes + smoothing * (num_classes + k - 1.0) / num_classes**2
    linear = smoothing * k * M / num_classes**2  # -1/2 of the coefficient of f_i
    shift = linear / factor
    at_square = factor + (1.0 - smoothing) * (k - 1.0) / num_classes
    at_linear = linear + (1.0 - smoothing) * k * M / num_classes
    least = k * M * M / num_classes - (num_classes - 1.0) * factor * shift**2 - at_linear**2 / at_square
    return shift, factor, at_square / factor, at_linear / at_square - shift, least


@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _tables(
    num_classes: int, k: Scale, M: Scale, num_items: int | None, dtype: torch.dtype
) -> tuple[Tensor | None, Tensor, int]:
    """Of `SquareLoss._of_few` for every label: rows r, rows r t, and torch's number for a mean (1) or a sum (2).

    A sum over classes has its 1 / C, and one over `num_items` too, in r^2, which costs less than a division of the sum;
    where k = 1, r is one number, or None for the mean that torch takes itself.
    """
    k, M = SquareLoss(k=k, M=M)._k_and_M(num_classes)
    targets = torch.eye(num_classes, dtype=dtype, device="cpu") * (math.sqrt(k) * M)
    if k == 1.0 and num_items is not None:
        return None, targets, 1
    root = 1.0 / math.sqrt(num_classes * (num_items or 1))
    roots = torch.ones_like(targets).fill_diagonal_(math.sqrt(k)) * root
    return roots if k != 1.0 else roots[0, 0].clone(), targets * root, 2


def _transformed() -> bool:
    """Whether torch.func or a mode such as FakeTensorMode changes what operations return (names of torch 2.13)."""
    return torch._C._len_torch_dispatch_stack() > 0 or peek_interpreter_stack() is not None


def _link(scores: Tensor, k: float, M: float) -> Tensor:
    scores = at_least_float32(scores).clamp(0.0, M)
    return torch.clamp(scores / (k * M - (k - 1.0) * scores), 0.0, 1.0)


def _check_linear(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[int, int]:
    """C and d, or a ValueError for shapes that do not make scores."""
    if weight.dim() != 2 or hidden.dim() < 1 or hidden.shape[-1] != weight.shape[-1]:
        raise ValueError(f"hidden (..., d) and weight (C, d) do not fit: {tuple(hidden.shape)}, {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape {tuple(weight.shape[:1])}, got {tuple(bias.shape)}")
    return weight.shape[0], weight.shape[1]
