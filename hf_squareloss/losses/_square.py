"""The square loss of Hui & Belkin, plain and rescaled."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self, final

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_squareloss.losses._base import FORMS, Form, Loss, at_least_float32
from hf_squareloss.losses._fused_squares import squares_and_scores_at
from hf_squareloss.losses._gram import gram_pays, in_float16_on_accelerator, product_type
from hf_squareloss.losses._linear_square import check_linear, gram_values
from hf_squareloss.losses._parameters import LARGEST, LEAST, require_choice, require_positive
from hf_squareloss.losses._probabilities import Calibration
from hf_squareloss.losses._rescaling import Rescaling, k_and_M
from hf_squareloss.losses._targets import check_targets, may_read, require_integers, widened

_FEW = 2**15  # scores, about as many as one step over them costs as much as starting an operation


def square_costs(scores: Tensor, *, k: float = 1.0, M: float = 1.0) -> Tensor:
    """The table of `square_loss` for every class: scores (..., C) -> (..., C).

    costs(f)_c = (1/C) (|f|^2 + (k - 1) f_c^2 - 2 k M f_c + k M^2), for k and M from 1e-8 to 1e8.
    """
    k, M = require_positive("k", k), require_positive("M", M)
    scores = at_least_float32(scores)
    squares = scores.square()
    return (squares.sum(-1, keepdim=True) + (k - 1.0) * squares - 2.0 * k * M * scores + k * M * M) / scores.shape[-1]


def square_loss(scores: Tensor, labels: Tensor, *, k: float = 1.0, M: float = 1.0) -> Tensor:
    """The rescaled square loss on raw scores, one value per item.

    l(f, y) = (1/C) [k (f_y - M)^2 + sum_{i != y} f_i^2]

    Conventions where sources differ: mean over the C classes, no factor 1/2, k outside the square, no softmax.

    Of many scores the sum over the wrong classes is computed as |f|^2 - f_y^2, without a second tensor of their size:
    in float32 what is below 1e-7 f_y^2 of it is lost to rounding. Gradients have no such difference.

    Args:
        scores: raw scores (..., C), any floating type; reduced in float32 or better.
        labels: (...) integers in [0, C).
        k: weight of the true class, from 1e-8 to 1e8.
        M: the true class's target, from 1e-8 to 1e8.

    Returns:
        (...) in float32 or float64.

    Raises:
        ValueError: labels of another shape or type, k or M out of range.

    Source: Hui & Belkin, ICLR 2021 (arXiv 2006.07322), section 2 and, for k and M, "rescaled square loss".

    Example:
        >>> square_loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0]))
        tensor([0.1250])
    """
    k, M = require_positive("k", k), require_positive("M", M)
    return _costs_at(scores, labels.unsqueeze(-1), k, M).squeeze(-1)


def linear_square_loss(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    labels: Tensor,
    *,
    k: Rescaling = 1.0,
    M: Rescaling = 1.0,
    label_smoothing: float = 0.0,
    class_weights: tuple[float, ...] | None = None,
    ignore_index: int = -100,
    form: Form = "auto",
) -> Tensor:
    """The square loss of the scores f = W h + b of a linear head, one value per item, without building them.

    sum_i f_i^2 = h^T (W^T W) h + 2 h^T W^T b + |b|^2, and f_y needs one row of W: value and gradients are those of
    `square_loss(F.linear(hidden, weight, bias), labels)` up to rounding, for about 4 (C + N) d^2 operations and two
    d x d matrices instead of 6 N C d and N C. Where that is no gain (few items or classes for the size of d, or
    float16 on an accelerator), and for `label_smoothing` together with `class_weights`, the scores of the items that
    count are built after all. Gradients that can be differentiated again (`create_graph=True`) build them too.

    Rounding grows with the square of the scores' cancellation, (|h| |W| / |f|)^2, where plain scores have its first
    power: hidden states nearly orthogonal to all rows of W want float64. In bfloat16 that begins where W's rows share a
    direction that is as long as what they differ in, and h is orthogonal to it.

    Args:
        hidden: H (..., d).
        weight: W (C, d).
        bias: b (C,) or None.
        labels: (...) integers in [0, C) or `ignore_index`; ignored items cost no time on a CPU.
        k: weight of the true class: a number, "paper" or "auto".
        M: the true class's target: a number, "paper" or "auto".
        label_smoothing: share of the label spread over all classes.
        class_weights: one per class.
        ignore_index: items with this label have value zero.
        form: "gram" never builds scores, "scores" always does, "auto" takes what is faster.

    Returns:
        (...) in float32 or float64.

    Raises:
        ValueError: shapes, types or label values do not fit; "gram" for what needs scores.

    Source: Vincent, de Brebisson & Bouthillier, NeurIPS 2015 (arXiv 1412.7091), with the rescaling of Hui & Belkin.

    Example:
        >>> linear_square_loss(torch.eye(2), torch.eye(2), None, torch.tensor([0, 1]))
        tensor([0., 0.])
    """
    loss = SquareLoss(k=k, M=M, label_smoothing=label_smoothing, class_weights=class_weights, ignore_index=ignore_index)
    return loss.of_linear(hidden, weight, bias, labels, form=form)


def _costs_at(scores: Tensor, classes: Tensor, k: float, M: float) -> Tensor:
    """`square_costs` (..., C) at the classes (..., S), with no table."""
    if classes.shape[-1] == 1 and scores.numel() <= _FEW and not torch.compiler.is_compiling():
        return _costs_of_few(at_least_float32(scores), classes, k, M)
    return squares_and_scores_at(scores, classes, k=k, M=M, n=scores.shape[-1])[0]


def _costs_of_few(scores: Tensor, classes: Tensor, k: float, M: float) -> Tensor:
    """The costs (..., 1) at one class each as a squared distance: twice as fast where memory does not matter."""
    if classes.dtype != torch.int64 or classes.shape[:-1] != scores.shape[:-1]:
        require_integers(classes, (*scores.shape[:-1], 1), name="classes", of=f" for scores {tuple(scores.shape)}")
        classes = classes.long()
    squares = F.mse_loss(scores, torch.zeros_like(scores).scatter(-1, classes, M), reduction="none")
    mean = squares.mean(-1, keepdim=True)
    return mean if k == 1.0 else mean + (k - 1.0) / scores.shape[-1] * squares.gather(-1, classes)


@final
@dataclass(frozen=True, kw_only=True)
class SquareLoss(Loss):
    """`square_loss` as a loss object, with soft labels, weights, multi-label and real-valued targets.

    Attributes:
        k: weight of the true class: a number from 1e-8 to 1e8, "paper" or "auto".
        M: target of the true class: a number from 1e-8 to 1e8, "paper" or "auto".

    "paper" is (1, 1) below 42 classes, (1, 15) from 42 and (15, 30) from 1000 (Hui & Belkin). "auto" is k = C / 4, from
    1 to 100, and M with k M^2 = C / 4, at least 1: so k = M = 1 up to 4 classes, and M = 1 up to 400. With C = 1 the
    loss is the plain squared error of a regression.

    Example:
        >>> SquareLoss(k="auto", M="auto").resolve(16).to_dict()
        {'loss': 'square', 'k': 4.0, 'M': 1.0}
    """

    name: ClassVar[str] = "square"
    needs_scores: ClassVar[bool] = False
    citation: ClassVar[str] = (
        "Like Hui and Mikhail Belkin. Evaluation of Neural Architectures Trained with Square Loss vs Cross-Entropy "
        "in Classification Tasks. ICLR 2021. https://arxiv.org/abs/2006.07322"
    )

    k: Rescaling = "auto"
    M: Rescaling = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("k", "M"):
            object.__setattr__(self, name, require_positive(name, getattr(self, name), "auto", "paper"))

    def resolve(self, num_classes: int) -> Self:
        k, M = self.k, self.M
        if num_classes == 1 and not self.multi_label:
            if {k, M} - {"auto", "paper", 1.0}:
                raise ValueError(f"one real-valued target (C = 1) has plain squared error: k and M mean nothing, "
                                 f"got k={k}, M={M}")  # fmt: skip
            return replace(self, k=1.0, M=1.0)
        # One class of a multi-label target is a binary question, whatever the number of classes.
        k, M = k_and_M(k, M, 2 if self.multi_label else num_classes)
        return replace(self, k=k, M=M)

    @property
    def meaning(self) -> int:
        return 2 if "auto" in (self.k, self.M) else 1  # another rule than before

    def for_ctc(self, num_classes: int, blank: int) -> Self:
        """The posterior, with a tenth of the weight for the blank, unless `ctc_tau` or weights are given.

        Most frames are blanks, and a regression spends itself on them. On AN4 (C = 28, k = 7, M = 1) the character
        error rate on validation speakers was .09 with these values and at best .13 with the soft minimum.
        """
        loss = self.resolve(num_classes)
        if loss.ctc_tau != "auto":
            return loss
        weights = tuple(0.1 if c == blank else 1.0 for c in range(num_classes))
        return replace(loss, ctc_tau="posterior", class_weights=self.class_weights or weights)

    def default_calibration(self, num_classes: int) -> Calibration:
        """T M = max(C (1 + (k - 1) / C)^2 / k, 2 log C).

        The first is the slope of the link where all classes are equally likely: the minimiser
        f_c = k M p_c / (1 + (k - 1) p_c) has d log p_c / d f_c = T at p_c = 1 / C. The second, which counts where k is
        large, lets an exact score, M for one class and 0 for the others, mean a probability of about 1 - 1 / C.
        Measured on the tasks of docs/probabilities.md. Where a class is a yes-no question, T = (k + 1)^2 / (k M) and
        shift = -(k + 1): value and slope of the logit at p = 1 / 2.
        """
        k, M = self._k_and_M(num_classes)
        if self.multi_label:
            return Calibration(T=(k + 1.0) ** 2 / (k * M), shift=-(k + 1.0), source="rule")
        slope = num_classes * (1.0 + (k - 1.0) / num_classes) ** 2 / k
        T = max(slope, 2.0 * math.log(num_classes)) / M
        return Calibration(T=min(max(T, LEAST), LARGEST), source="rule")

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
        # Plain and few, the sum is one operation of torch's: half the time of a value for each item and their sum.
        plain = self.class_weights is None and not self.label_smoothing and scores.is_floating_point()
        if plain and 0 < scores.numel() <= _FEW and labels.shape == scores.shape[:-1]:
            (k, M), num_classes = self._k_and_M(scores.shape[-1]), scores.shape[-1]
            if k == 1.0 and self.all_count(labels, num_classes):
                scores = at_least_float32(scores)
                targets = torch.zeros_like(scores).scatter_(-1, labels.long().unsqueeze(-1), M)
                return F.mse_loss(scores, targets, reduction="sum") / num_classes
        return super().total(scores, labels)

    def of_linear(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, *, form: Form = "auto"
    ) -> Tensor:
        """As `linear_square_loss`."""
        require_choice("form", form, FORMS)
        num_classes, hidden_size = check_linear(hidden, weight, bias)
        labels = widened(labels)
        hard = not labels.is_floating_point() and not self.multi_label and num_classes > 1
        every_class = self.label_smoothing and self.class_weights is not None  # whose sum is no product of two matrices
        if not hard or (every_class and form == "gram"):
            return super().of_linear(hidden, weight, bias, labels, form=form)
        form = "scores" if every_class else form
        items, classes = hidden.reshape(-1, hidden_size), labels.flatten().long()
        kept = counted = None
        if labels.shape != hidden.shape[:-1] or not self.all_count(labels, num_classes):
            scores = hidden[..., :1].expand(*hidden.shape[:-1], num_classes)  # their shape: they are not built
            kept = check_targets(scores, labels, multi_label=False, ignore_index=self.ignore_index).flatten()
            classes = torch.where(kept, classes, 0)
            # A compiled graph has one shape whatever is ignored, and an accelerator would have to be asked how many
            # items that is; elsewhere ignored items need not be computed.
            if may_read(labels):
                counted = kept.nonzero().squeeze(-1)
                items, classes = items.index_select(0, counted), classes.index_select(0, counted)
        if form == "auto":
            pays = gram_pays(len(items), num_classes, hidden_size, product_type(hidden))
            form = "gram" if pays and not in_float16_on_accelerator(hidden) else "scores"
        if form == "gram":
            k, M = self._k_and_M(num_classes)
            values = gram_values(items, weight, bias, classes, k=k, M=M, smoothing=self.label_smoothing)
            if self.class_weights is not None:
                values = self.weights_on(values.device, values.dtype, num_classes)[classes] * values
        else:
            values = self._label_costs(F.linear(items, weight, bias), classes)
        if counted is not None:
            values = values.new_zeros(labels.numel()).index_copy(0, counted, values)
        elif kept is not None:
            values = torch.where(kept, values, 0.0)
        return values.view(labels.shape)

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
        """Scores (..., C) -> (..., C): the inverse of the population minimiser, continued over all real scores.

        Exact: the minimiser f_c = k M p_c / (1 + (k - 1) p_c) runs from 0 to M as p_c runs from 0 to 1, and there

            q(f) = f / (k M - (k - 1) f)    for f in [0, M]    is p_c.

        A trained model overshoots. Convention: outside of [0, M] the curve goes on with the slope that it has at the
        end, straight below 0 and as a logarithm above M; what is then below d = 16 eps / C (eps of the float type)
        becomes positive by a logarithm too, so that C classes at 0 have less than 16 eps together:

            q(f) = f / (k M)                       for f < 0,
            q(f) = 1 + log(1 + k (f - M) / M)      for f > M,
            link(f) = q if q >= d else d / (1 + log(2 - q / d)).

        Strictly increasing, with a continuous derivative, and finite for any finite score. With `multi_label`, where
        each answer is a probability by itself, d = 16 eps and 1 is approached in the same way, from a distance of
        e = sqrt(eps), which halves the digits between the value and the order of scores above M:

            link(f) = 1 - e / (1 + log(2 - (1 - q) / e))   for q > 1 - e.
        """
        return self._link(scores, scores.shape[-1])

    def link_at(self, scores: Tensor, classes: Tensor) -> Tensor:
        return self._link(scores.gather(-1, classes), scores.shape[-1])

    def _link(self, scores: Tensor, num_classes: int) -> Tensor:
        (k, M), scores = self._k_and_M(num_classes), at_least_float32(scores)
        info = torch.finfo(scores.dtype)
        inside, below, above = scores.clamp(0.0, M), scores.clamp_max(0.0), (scores - M).clamp_min(0.0)
        q = inside / (k * (M - inside) + inside)  # k M - (k - 1) f would cancel near M for a large k
        q = q + below / (k * M) + torch.log1p((k / M * above).clamp_max(info.max))
        least = 16.0 * info.eps / (1 if self.multi_label else num_classes)
        p = _positive(q, least)
        if not self.multi_label:
            return p
        margin = math.sqrt(info.eps)
        return torch.where(q > 1.0 - margin, 1.0 - _positive(1.0 - q, margin), p)


def _positive(q: Tensor, least: float) -> Tensor:
    """`q` where it is at least `least`; below, what goes on with the same slope and stays above zero."""
    return q.clamp_min(least) / (1.0 + torch.log1p((1.0 - q / least).clamp(0.0, torch.finfo(q.dtype).max)))
