"""The base of every loss: a table of costs, and all that follows from it once for all losses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_squareloss.losses._parameters import (
    require_choice,
    require_flag,
    require_integer,
    require_number,
    require_positive,
    require_weights,
    spell,
)
from hf_squareloss.losses._probabilities import Calibration, probabilities_of
from hf_squareloss.losses._targets import all_count, check_targets, outside, widened, wrong_distributions

Form = Literal["auto", "gram", "scores"]
FORMS = ("auto", "gram", "scores")
_LOW_PRECISION = (torch.float16, torch.bfloat16)


def at_least_float32(scores: Tensor) -> Tensor:
    """`scores` in float32 when they come in a 16-bit type, else unchanged (float64 stays float64)."""
    return scores.float() if scores.dtype in _LOW_PRECISION else scores


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """A loss is a table of costs: `costs(f)[..., c]` is the loss of the raw scores f if the true class were c.

    From the table follow, for every loss:

        hard label y                     costs[y]
        soft label q (mixup, ...)        sum_c q_c costs[c]
        label smoothing eps              (1 - eps) costs[y] + eps / C sum_c costs[c]
        class weights w                  costs[c] replaced by w_c costs[c]

    A loss of your own is one subclass with `costs` and `link`; `costs_at`, `link_at`, `of_linear`, `multi_label_costs`,
    `resolve` and `for_ctc` may be given where there is something faster or more to say.

    Attributes:
        label_smoothing: eps in [0, 1), the share of the label spread evenly over the C classes.
        class_weights: one positive weight per class. Means divide by the sum of the weights, as torch's cross_entropy;
            with `multi_label`, where every class is asked about in each row, by the number of rows.
        multi_label: every class is a yes-no question of its own; targets are 0 or 1 with the shape of the scores.
        ignore_index: items with this label count nowhere (real-valued targets have no such value).
        ctc_tau: for `ctc_loss` alone, its `tau`: a positive number, "posterior", or "auto" for what `for_ctc` says.
        calibration: what `probabilities` takes in place of the link for the scores of one trained model. It is no part
            of the loss: losses that differ in it alone are equal.
    """

    name: ClassVar[str]
    citation: ClassVar[str] = ""
    scores_are_logits: ClassVar[bool] = False  # whether a softmax (sigmoid if multi_label) of scores is a probability
    needs_scores: ClassVar[bool] = True  # whether `of_linear` builds the scores of integer labels

    label_smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None
    multi_label: bool = False
    ignore_index: int = -100
    ctc_tau: float | Literal["auto", "posterior"] = "auto"
    calibration: Calibration | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        smoothing = require_number("label_smoothing", self.label_smoothing, "in [0, 1)", lambda eps: 0 <= eps < 1)
        object.__setattr__(self, "label_smoothing", smoothing)
        if self.class_weights is not None:
            object.__setattr__(self, "class_weights", require_weights("class_weights", self.class_weights))
        require_flag("multi_label", self.multi_label)
        require_integer("ignore_index", self.ignore_index)
        if self.multi_label and self.label_smoothing:
            raise ValueError("label_smoothing is not defined for multi_label targets; smooth the targets themselves")
        object.__setattr__(self, "ctc_tau", require_positive("ctc_tau", self.ctc_tau, "posterior", "auto"))
        object.__setattr__(self, "calibration", Calibration.of(self.calibration))

    # ---- what a loss must give -----------------------------------------------------------------------------------
    @abstractmethod
    def costs(self, scores: Tensor) -> Tensor:
        """The table: scores (..., C) -> costs (..., C) in float32 or float64."""

    @abstractmethod
    def link(self, scores: Tensor) -> Tensor:
        """Scores (..., C) -> probabilities (..., C), the inverse of the population minimiser; need not sum to one.

        Increasing and above zero over all finite scores, so that `probabilities` keep their order.
        """

    # ---- what a loss may give ------------------------------------------------------------------------------------
    def costs_at(self, scores: Tensor, classes: Tensor) -> Tensor:
        """`costs(scores)` at integer classes (..., S): override it where the table need not be built."""
        return self.costs(scores).gather(-1, classes)

    def link_at(self, scores: Tensor, classes: Tensor) -> Tensor:
        """`link(scores)` at integer classes (..., S): override it where it needs no other scores."""
        return self.link(scores).gather(-1, classes)

    def multi_label_costs(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Costs (..., C) of each yes-no question, for targets (..., C) in [0, 1]."""
        raise ValueError(
            f"{self.name} is not defined for multi-label targets; use cross_entropy, square, brier or focal"
        )

    def regression_costs(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Costs (...) of one real-valued score, for scores and targets (...)."""
        raise ValueError(f"{self.name} is not defined for one real-valued target (num_labels = 1); use the square loss")

    def resolve(self, num_classes: int) -> Self:
        """This loss with every parameter that depends on the number of classes as a number."""
        return self

    @property
    def meaning(self) -> int:
        """Raised when equal parameters come to mean another loss, so that no run goes on across that."""
        return 1

    def default_calibration(self, num_classes: int) -> Calibration | None:
        """What `probabilities` of a trained model take where no scores were held out; None: the link."""
        return None

    def for_ctc(self, num_classes: int, blank: int) -> Self:
        """`resolve` where the loss is one of alignments: what is "auto" may have another value there."""
        loss = self.resolve(num_classes)
        return replace(loss, ctc_tau=1.0) if loss.ctc_tau == "auto" else loss

    # ---- what follows --------------------------------------------------------------------------------------------
    def __call__(self, scores: Tensor, labels: Tensor) -> Tensor:
        """One value per item.

        Args:
            scores: raw scores (..., C), any floating type; reduced in float32 or better.
            labels: (...) integers in [0, C) or ignore_index; or a distribution over classes (..., C), floating;
                or targets (..., C) in [0, 1] if `multi_label`; or real values (...) if C = 1. A row of a (..., C)
                target filled with ignore_index is ignored.

        Returns:
            (...) in float32 or float64, weighted by `class_weights`, zero where ignored.

        Raises:
            ValueError: shapes, types or label values do not fit, or this loss cannot mean such targets.
        """
        labels = widened(labels)
        if scores.dim() and scores.is_floating_point() and labels.shape == scores.shape[:-1]:
            if self.all_count(labels, scores.shape[-1]):
                return self._label_costs(scores, labels.long())
        kept = check_targets(scores, labels, multi_label=self.multi_label, ignore_index=self.ignore_index)
        num_classes = scores.shape[-1]
        if num_classes == 1 and not self.multi_label:
            self._refuse_for_regression()
            targets = labels.reshape(scores.shape[:-1]).to(at_least_float32(scores[..., 0]).dtype)
            values = self.regression_costs(at_least_float32(scores[..., 0]), torch.where(kept, targets, 0.0))
        elif labels.shape == scores.shape:
            values = self._target_costs(scores, torch.where(kept.unsqueeze(-1), labels, 0))
        else:
            values = self._label_costs(scores, torch.where(kept, labels, 0).long())
        return torch.where(kept, values, 0.0)

    def of_linear(
        self, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, *, form: Form = "auto"
    ) -> Tensor:
        """`self(F.linear(hidden, weight, bias), labels)`: override it where the scores need not be built.

        Args:
            hidden: (..., d).
            weight: (C, d).
            bias: (C,) or None.
            labels: as in `__call__`.
            form: "scores" builds them, "gram" does without, "auto" takes what is faster.

        Raises:
            ValueError: as `__call__`, or "gram" for a loss that cannot do without scores.
        """
        if require_choice("form", form, FORMS) == "gram":
            raise ValueError(f"{self.name} needs the scores of these labels: form must be 'auto' or 'scores'")
        return self(F.linear(hidden, weight, bias), labels)

    def item_weights(
        self, labels: Tensor, num_classes: int | None = None, *, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """What each item counts in a mean, whose denominator is the sum of this: 1, its class weight, or 0 if ignored.

        Args:
            labels: as in `__call__`.
            num_classes: C, needed only to tell real-valued targets (C = 1) from distributions.
            dtype: of the result; float64 keeps all of a weight's digits.

        Returns:
            (...) in `dtype`.
        """
        labels = widened(labels)
        hard = not labels.is_floating_point() and not self.multi_label
        if num_classes == 1 and not self.multi_label:
            return torch.ones_like(labels, dtype=dtype)
        if hard:
            kept = labels != self.ignore_index
        else:
            kept = (labels != self.ignore_index).any(-1)
        if self.class_weights is None or self.multi_label:
            return kept.to(dtype)
        weights = self.weights_on(labels.device, dtype)
        if hard:  # a label that is no class is refused where the loss sees it
            return torch.where(kept, weights[torch.where(kept, labels, 0).long().clamp(0, len(weights) - 1)], 0.0)
        return torch.where(kept, (labels.to(dtype) * weights).sum(-1), 0.0)

    def total_weight(
        self, labels: Tensor, num_classes: int | None = None, *, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """The sum of `item_weights`, scalar."""
        if self.class_weights is None and num_classes != 1 and not self.multi_label and not labels.is_floating_point():
            return (widened(labels) != self.ignore_index).sum()
        return self.item_weights(labels, num_classes, dtype=dtype).sum()

    def wrong_labels(self, labels: Tensor, num_classes: int) -> Tensor:
        """(...) whether integer labels are neither in [0, C) nor `ignore_index`; no value is read from the device."""
        return outside(labels, num_classes, self.ignore_index)

    def wrong_targets(self, targets: Tensor) -> Tensor:
        """(...) whether rows of targets (..., C) are not what `__call__` takes; no value is read from the device."""
        found = wrong_distributions(widened(targets), multi_label=self.multi_label, ignore_index=self.ignore_index)
        return found[0].any(-1) | found[1]

    def all_count(self, labels: Tensor, num_classes: int) -> bool:
        """Whether these are integer labels that all count, by a single look at them; False also where that is dear."""
        return not self.multi_label and num_classes > 1 and all_count(labels, num_classes, self.ignore_index)

    def total(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Scalar: the sum of the values."""
        return self(scores, labels).sum()

    def mean(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Scalar: the sum of the values divided by the sum of `item_weights` (zero when every item is ignored)."""
        total = self.total(scores, labels)
        return scale(total, self.total_weight(labels, scores.shape[-1], dtype=total.dtype))

    def probabilities(self, scores: Tensor) -> Tensor:
        """Class probabilities (..., C), float32 or better, from raw scores (..., C).

        By `calibration` where there is one. Else by the loss's own link, which is right for a model that has reached
        the minimum of its loss; most have not.

        Label smoothing and class weights change what the loss aims at, from p to q_c ~ w_c ((1 - eps) p_c + eps / C):
        both are undone after the loss's own link, and the result is renormalised. With `multi_label` each class has a
        probability of its own.

        They are in the order of the scores, up to rounding, and logarithms of them are finite; the largest belongs to
        the largest score however close the next one is. Only class weights, where they are undone, change the order.

        Raises:
            ValueError: C = 1, where a score is a real value and not a class; a link that gives what is not finite.
        """
        return probabilities_of(self, scores)

    def to_dict(self) -> dict[str, Any]:
        """The loss as plain values for JSON: its name and every parameter that is not at its default.

        A loss from outside this package adds the module to import before `make_loss` can know it.
        """
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        values = {"loss": self.name} | {k: list(v) if isinstance(v, tuple) else v for k, v in changed.items()}
        if self.calibration is not None:
            values["calibration"] = self.calibration.to_dict()  # at its end, and not the object
        module = type(self).__module__
        return values if module.startswith("hf_squareloss.") else values | {"module": module}

    def __str__(self) -> str:
        """For people: "square, k = 2.0, M = 4.0"."""
        return ", ".join([self.name, *spell(replace(self, calibration=None).to_dict())])

    # ---- inside --------------------------------------------------------------------------------------------------
    def _label_costs(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Integer labels (...), none ignored."""
        values = self.costs_at(scores, labels.unsqueeze(-1)).squeeze(-1)
        smoothing, num_classes = self.label_smoothing, scores.shape[-1]
        if self.class_weights is None and not smoothing:
            return values
        weights = self.weights_on(values.device, values.dtype, num_classes)
        of_label = weights.gather(0, labels.reshape(-1)).reshape(labels.shape)  # weights[labels] fails under vmap
        values = (1.0 - smoothing) * of_label * values
        return values + smoothing / num_classes * (self.costs(scores) * weights).sum(-1) if smoothing else values

    def _target_costs(self, scores: Tensor, targets: Tensor) -> Tensor:
        """Distributions or multi-label targets (..., C)."""
        # Sums of products, never a matmul: autocast would run that in 16 bits.
        weights = self.weights_on(scores.device, at_least_float32(scores).dtype, scores.shape[-1])
        targets = targets.to(weights.dtype)
        if self.multi_label:
            return (self.multi_label_costs(scores, targets) * weights).sum(-1) / scores.shape[-1]
        smoothing = self.label_smoothing
        if smoothing:
            targets = (1.0 - smoothing) * targets + smoothing / scores.shape[-1]
        return (targets * weights * self.costs(scores)).sum(-1)

    def weights_on(self, device: torch.device, dtype: torch.dtype, num_classes: int | None = None) -> Tensor:
        """The class weights (C,) on a device, copied there once."""
        if self.class_weights is None:
            assert num_classes is not None
            return torch.ones(num_classes, device=device, dtype=dtype)
        if num_classes is not None and len(self.class_weights) != num_classes:
            raise ValueError(f"{len(self.class_weights)} class_weights for scores of {num_classes} classes")
        if torch.compiler.is_compiling():
            return torch.tensor(self.class_weights, device=device, dtype=dtype)
        constants: dict[Any, Tensor] = vars(self).setdefault("_constants", {})
        if (device, dtype) not in constants:
            with torch.inference_mode(False):
                weights = torch.tensor(self.class_weights, device=device, dtype=dtype)
            if type(weights) is not Tensor:  # what FakeTensorMode makes must not outlive it
                return weights
            constants[device, dtype] = weights
        return constants[device, dtype]

    def _refuse_for_regression(self) -> None:
        if self.label_smoothing or self.class_weights is not None:
            raise ValueError("label_smoothing and class_weights mean nothing for one real-valued target (C = 1)")


def scale(total: Tensor, num_items: Tensor | float) -> Tensor:
    """`total` over `num_items`, zero instead of 0 / 0: the one place where a sum of losses becomes a mean."""
    tiny = torch.finfo(total.dtype).tiny
    if isinstance(num_items, Tensor):
        return total / num_items.to(total).clamp_min(tiny)
    return total / max(num_items, tiny)
