"""From scores to probabilities: by a loss's own link, or by the number that was fitted to a model's scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from hf_squareloss.losses._parameters import (
    require_choice,
    require_flag,
    require_integer,
    require_number,
    require_positive,
    short,
)
from hf_squareloss.losses._targets import may_read

if TYPE_CHECKING:
    from hf_squareloss.losses._base import Loss

SOURCES = ("validation", "rule", "given")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What makes probabilities of a trained model's scores f (..., C):

        softmax(T f - log w)    for one class of several, w the loss's class weights (1 where it has none),
        sigmoid(T f + shift)    where each class is a yes-no question of its own (`multi_label`).

    T is fitted to held-out scores by `hf_squareloss.inference.calibrate`, or is what `Loss.default_calibration` says:
    1 / T is the temperature of Guo et al., ICML 2017 (arXiv 1706.04599), section 4.2; T and shift together are Platt's
    scaling (1999).

    Attributes:
        T: a positive number from 1e-8 to 1e8.
        shift: zero but for `multi_label`.
        source: what the scores were of: "validation", or "given" where nobody said; "rule" where there were none.
        items: how many items with scores it was fitted to.
        weights_undone: whether class weights w are. They are not for CTC, whose weight for the blank says how frames
            are learnt and not how frequent a class is: w is 1 then.
        folded_into: the name of the linear layer whose weights have been multiplied by T: scores of such a model are
            the logarithms of probabilities already, up to a constant, and no loss's own; None where nothing was folded.
        folded_norm: the Frobenius norm of that layer's weights, by which another layer of its name is told from it.
    """

    T: float
    shift: float = 0.0
    source: Literal["validation", "rule", "given"] = "given"
    items: int = 0
    weights_undone: bool = True
    folded_into: str | None = None
    folded_norm: float | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "T", require_positive("T", self.T))
        shift = require_number("shift", self.shift, "a finite number", math.isfinite)
        object.__setattr__(self, "shift", shift)
        require_choice("source", self.source, SOURCES)
        require_integer("items", self.items)
        require_flag("weights_undone", self.weights_undone)
        if self.folded_into is not None and not isinstance(self.folded_into, str):
            raise ValueError(f"folded_into must be the name of a layer or None, got {short(self.folded_into)}")
        if self.folded_norm is not None:
            norm = require_number("folded_norm", self.folded_norm, "a norm or None", lambda norm: 0 <= norm < math.inf)
            object.__setattr__(self, "folded_norm", norm)

    @classmethod
    def of(cls, value: Any) -> Calibration | None:
        """What a dataclass or a file says: a `Calibration`, its `to_dict`, or None.

        Raises:
            ValueError: it is something else.
        """
        if value is None or isinstance(value, cls):
            return value
        names = {each.name for each in fields(cls)}
        if not isinstance(value, Mapping) or "T" not in value or not value.keys() <= names:
            raise ValueError(
                f"calibration must be a Calibration or a mapping with T and any of {', '.join(sorted(names - {'T'}))}, "
                f"got {short(value)}"
            )
        return cls(**value)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: T and what is not at its default."""
        values = {each.name: (getattr(self, each.name), each.default) for each in fields(self)}
        return {name: value for name, (value, default) in values.items() if default is MISSING or value != default}


def probabilities_of(loss: Loss, scores: Tensor) -> Tensor:
    """`Loss.probabilities`."""
    num_classes = scores.shape[-1]
    if num_classes == 1 and not loss.multi_label:
        raise ValueError("num_labels = 1 is a regression: its score is the prediction, not a probability")
    if loss.calibration is not None:
        return _calibrated(loss, loss.calibration, scores)
    q = loss.link(scores)
    if may_read(q):
        broken = torch.isfinite(scores).all(-1, keepdim=True) & ~torch.isfinite(q)
        if broken.any():
            at = tuple(broken.nonzero()[0].tolist())
            raise ValueError(
                f"{type(loss).__module__}.{type(loss).__qualname__}.link must give finite values for finite "
                f"scores: it gave {q[at].item()} for the score {scores[at].item():g}"
            )
    info = torch.finfo(q.dtype)
    p = q.clamp_min(info.tiny)
    if loss.multi_label:
        return _largest_on_top(p, scores)
    if loss.class_weights is not None:
        p = p / loss.weights_on(p.device, p.dtype, num_classes)
    p = p / p.sum(-1, keepdim=True)
    if loss.label_smoothing:
        # What is below the share of a wrong class keeps its order in the last digits.
        p = ((p - loss.label_smoothing / num_classes) / (1.0 - loss.label_smoothing)).clamp_min(0.0) + info.eps * p
    p = p.clamp_min(info.tiny)
    p = p / p.sum(-1, keepdim=True)
    return p if loss.class_weights is not None else _largest_on_top(p, scores)


def _calibrated(loss: Loss, calibration: Calibration, scores: Tensor) -> Tensor:
    z = scores.float() if scores.dtype.itemsize < 4 else scores
    # Beyond half of what the type holds, differences of scores would not be finite; T is applied to differences.
    half = torch.finfo(z.dtype).max / 2.0
    z, T = z.clamp(-half, half), 1.0 if calibration.folded_into is not None else calibration.T
    if loss.multi_label:
        shift = 0.0 if calibration.folded_into is not None else calibration.shift
        tiny = torch.finfo(z.dtype).tiny
        return _largest_on_top((T * z + shift).sigmoid().clamp_min(tiny), scores)
    z = T * (z - z.amax(-1, keepdim=True))
    weighted = loss.class_weights is not None and calibration.folded_into is None and calibration.weights_undone
    if weighted:
        z = z - loss.weights_on(z.device, z.dtype, z.shape[-1]).log()
    p = z.softmax(-1).clamp_min(torch.finfo(z.dtype).tiny)
    p = p / p.sum(-1, keepdim=True)
    return p if weighted else _largest_on_top(p, scores)


def _largest_on_top(p: Tensor, scores: Tensor) -> Tensor:
    """`p` (..., C) largest where the scores are, and less elsewhere: rounding can tie two, or swap them."""
    peak = p.amax(-1, keepdim=True)
    below = torch.nextafter(peak.detach(), torch.zeros_like(peak))
    return torch.where(scores == scores.amax(-1, keepdim=True), peak, torch.minimum(p, below))
