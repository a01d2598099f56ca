"""One number that makes a trained model's probabilities right: fitted to scores and labels that were held out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedModel

from hf_squareloss.config import load_loss
from hf_squareloss.heads import Head
from hf_squareloss.losses import Calibration, Loss

_ENOUGH = 2**22  # scores: fewer are fitted in float64


def calibrate(
    model_or_loss: PreTrainedModel | Loss,
    scores: Tensor,
    labels: Tensor,
    *,
    frames: Tensor | None = None,
    blank: int | None = None,
    source: str = "given",
) -> Loss:
    """The loss with the `Calibration` that is likeliest for these scores, for its `probabilities` from now on.

    T, and for `multi_label` losses the shift, minimise the negative log-likelihood

        -sum_n log p_n(y_n) - (1 / C) sum_c log p(c),    p = softmax(T f - log w), or sigmoid(T f + shift),

    whose second term is one more item with every class in equal parts, the mean over the items (Platt's prior): without
    it T would be infinite where every prediction is right. For CTC models p_n(y_n) is the sum over the alignments of
    the labels. A loss whose scores are logits (cross-entropy) gets its T in the same way.

    Class weights w are undone, but for CTC: the probabilities are of the data as it is, and their largest need not be
    the class with the largest score.

    Args:
        model_or_loss: a model whose config names a loss, into which the calibration is written, or the loss itself.
        scores: raw scores (N, C) or (..., C) that the model was not trained on; or (N, frames, C) with `frames`.
        labels: (...) integers in [0, C) or the loss's ignore_index, or a distribution (..., C); (..., C) of 0 and 1 if
            the loss is `multi_label`; or, with `frames`, (N, S) with the ignore_index behind each row's labels.
        frames: (N,) how many of its frames each utterance has: the scores are of a CTC model.
        blank: CTC's blank; None takes the model's.
        source: what the scores are of, for the model's card: "validation" or "given".

    Returns:
        The loss with its calibration. A model is not changed beside its config: see `fold_calibration`.

    Raises:
        ValueError: no item that counts, scores that are not finite, shapes that do not fit, one real-valued score, or a
            model whose weights have been multiplied by T already.

    Source: Guo et al., ICML 2017 (arXiv 1706.04599), section 4.2. Platt, Probabilistic Outputs for Support Vector
    Machines, 1999, for shift and prior.

    Example:
        >>> from hf_squareloss import SquareLoss
        >>> scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
        >>> loss = calibrate(SquareLoss(k=1.0, M=1.0), scores, torch.tensor([0, 0, 1, 1]))
        >>> round(loss.calibration.T, 2)
        2.68
    """
    model = None if isinstance(model_or_loss, Loss) else model_or_loss
    loss = load_loss(model) if model is not None else model_or_loss
    assert isinstance(loss, Loss)
    if loss.calibration is not None and loss.calibration.folded_into is not None:
        raise ValueError("this model's weights have been multiplied by T already: unfold_calibration(model) first")
    if model is not None and blank is None:
        blank = Head.of(model).blank
    found = _fit_frames(loss, scores, labels, frames, blank) if frames is not None else _fit(loss, scores, labels)
    calibrated = replace(loss, calibration=replace(found, source=source))  # type: ignore[arg-type]
    if model is not None:
        Head.of(model).write(calibrated, model)
    return calibrated


def _fit(loss: Loss, scores: Tensor, labels: Tensor) -> Calibration:
    num_classes = scores.shape[-1]
    if num_classes == 1 and not loss.multi_label:
        raise ValueError("num_labels = 1 is a regression: its score is the prediction, and has no probability")
    soft = labels.is_floating_point() or loss.multi_label
    if labels.shape != (scores.shape if soft else scores.shape[:-1]):
        raise ValueError(f"labels {tuple(labels.shape)} do not fit scores {tuple(scores.shape)}")
    scores, labels = scores.reshape(-1, num_classes), labels.reshape(-1, *labels.shape[scores.dim() - 1 :])
    if not soft and loss.wrong_labels(labels, num_classes).any():
        raise ValueError(f"labels must be in [0, {num_classes}) or {loss.ignore_index}, which is ignored")
    kept = (labels != loss.ignore_index).any(-1) if soft else labels != loss.ignore_index
    scores, labels = _exact(scores[kept]), labels[kept]
    _require(scores)
    weights = _log_weights(loss, scores)
    if loss.multi_label:
        T, shift = _fit_line(scores, labels.to(scores.dtype))
        return Calibration(T=T, shift=shift, items=len(scores))
    target = labels.to(scores.dtype) if soft else labels.long().unsqueeze(-1)

    def surprise(T: float) -> float:
        log_p = (T * scores - weights).log_softmax(-1)
        true = (target * log_p).sum() if soft else log_p.gather(-1, target).sum()
        return -(true + log_p.mean()).item()

    return Calibration(T=_least(surprise, scores), items=len(scores))


def _fit_frames(loss: Loss, scores: Tensor, labels: Tensor, frames: Tensor, blank: int | None) -> Calibration:
    if blank is None:
        raise ValueError("frames are of a CTC model: say its blank")
    if scores.dim() != 3 or labels.dim() != 2 or len(labels) != len(scores) or frames.shape != scores.shape[:1]:
        raise ValueError(f"scores {tuple(scores.shape)}, labels {tuple(labels.shape)} and frames do not fit together")
    kept = labels != loss.ignore_index
    lengths, order = kept.sum(-1), (~kept).int().argsort(dim=1, stable=True)
    targets = labels.gather(1, order).clamp_min(0)  # padding to the right
    inside = torch.arange(scores.shape[1], device=scores.device) < frames.unsqueeze(-1)
    scores = _exact(scores)
    _require(scores[inside])

    def surprise(T: float) -> float:
        log_p = (T * scores).log_softmax(-1)
        values = F.ctc_loss(
            log_p.transpose(0, 1), targets, frames, lengths, blank=blank, reduction="none", zero_infinity=True
        )
        return (values.sum() - log_p[inside].mean()).item()

    return Calibration(T=_least(surprise, scores[inside]), items=len(scores), weights_undone=False)


def _exact(scores: Tensor) -> Tensor:
    double = scores.numel() <= _ENOUGH and scores.device.type != "mps"  # Apple's GPUs have no float64
    return scores.double() if double else scores.float()


def _require(scores: Tensor) -> None:
    if not scores.numel():
        raise ValueError("there is no item to calibrate with: every label is ignored, or there are none")
    if not scores.isfinite().all():
        raise ValueError("the scores must be finite")


def _log_weights(loss: Loss, scores: Tensor) -> Tensor:
    if loss.class_weights is None or loss.multi_label:
        return scores.new_zeros(())
    return loss.weights_on(scores.device, scores.dtype, scores.shape[-1]).log()


def _least(surprise: Callable[[float], float], scores: Tensor) -> float:
    """The T at which a convex function of it is least; T times the spread of an item's scores is in [1e-3, 1e3]."""
    from scipy.optimize import minimize_scalar

    spread = (scores - scores.mean(-1, keepdim=True)).square().mean().sqrt().item()
    if not spread:  # any T does, since all classes have the same score
        return 1.0
    low, high = (math.log(min(max(bound / spread, 1e-8), 1e8)) for bound in (1e-3, 1e3))
    found: Any = minimize_scalar(
        lambda log_T: surprise(math.exp(log_T)), bounds=(low, high), method="bounded", options={"xatol": 1e-4}
    )
    return math.exp(found.x)


def _fit_line(scores: Tensor, answers: Tensor) -> tuple[float, float]:
    """T and shift of sigmoid(T f + shift) over all questions; a T below zero would turn the order round."""
    from scipy.optimize import minimize

    spread = scores.square().mean().sqrt().clamp_min(1e-8)
    z = scores / spread

    def surprise(x: Any) -> tuple[float, Any]:
        T, shift = (torch.tensor(value, dtype=z.dtype, device=z.device, requires_grad=True) for value in x)
        with torch.enable_grad():
            logits = T * z + shift
            value = F.binary_cross_entropy_with_logits(logits, answers, reduction="sum")
            value = value + F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, 0.5))
            slopes = torch.autograd.grad(value, [T, shift])
        return value.item() / len(z), [slope.item() / len(z) for slope in slopes]

    found: Any = minimize(surprise, [1.0, 0.0], jac=True, bounds=[(1e-3, 1e3), (-1e3, 1e3)])
    T, shift = found.x
    return float(min(max(T / spread.item(), 1e-8), 1e8)), float(shift)
