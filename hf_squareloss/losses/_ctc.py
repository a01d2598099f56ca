"""Connectionist temporal classification with any loss: its costs over all alignments of labels and frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_squareloss.losses._base import Loss
from hf_squareloss.losses._parameters import require_flag, require_integer
from hf_squareloss.losses._targets import outside, refuse, require_integers, widened

_LEAST_PROBABILITY = 1e-2


def ctc_loss(
    scores: Tensor,
    labels: Tensor,
    logit_lengths: Tensor,
    *,
    loss: Loss,
    blank: int = 0,
    tau: float | Literal["posterior"] | None = None,
    zero_infinity: bool = False,
) -> Tensor:
    """The frames' costs over all alignments of labels and frames; one value per utterance.

    An alignment pi has one class per frame and becomes the labels once repeats are merged and blanks dropped (Graves et
    al., ICML 2006, equation 3). With a number for tau the value is the soft minimum of their costs,

        L = -tau log sum_pi exp(-sum_t costs(f_t)[pi_t] / tau),

    which is ordinary CTC for cross-entropy and tau = 1; its gradient in the costs is a probability of each class at
    each frame given the labels, so that every frame is trained on a soft label. With tau = "posterior" these soft
    labels are the model's own posterior, held fixed as in the EM algorithm,

        L = sum_t sum_c gamma_t(c) w_c costs(f_t)[c],   gamma_t(c) = P(pi_t = c | labels),   P(pi) ~ prod_t p_t(pi_t),

    where p_t(c) is the loss's link, at most 1, over the class weight w_c, and at least 1e-2: scores start around zero,
    where the square loss gives half of the classes no probability. For cross-entropy this has the gradient of ordinary
    CTC. Label smoothing eps makes it (1 - eps) times that and eps / C sum_t sum_c w_c costs(f_t)[c].

    Only the costs of the blank and of the utterance's own labels are needed, so the dynamic programme, which is torch's
    own, does not grow with C. Sums over classes and frames run in float32 or better.

    Args:
        scores: raw scores (B, T, C), any floating type; T in frames.
        labels: (B, U) integers in [0, C) without the blank, padded with `loss.ignore_index`.
        logit_lengths: (B,) integers in [0, T]: the frames of each utterance. Frames beyond get a gradient of zero.
        loss: the cost of a frame. Its label_smoothing spreads each frame's label over all classes.
        blank: the class of the blank.
        tau: temperature in units of the cost, from 1e-8 to 1e8, or "posterior"; None takes `loss.ctc_tau`.
        zero_infinity: an utterance with more labels than its frames can hold (equal neighbours need a blank between
            them) has no alignment: its value is 0 if True and infinite if not, its gradient is zero either way.

    Returns:
        (B,) in float32 or float64: sums over the frames, not divided by any length.

    Raises:
        ValueError: shapes, types or values that do not fit, a blank among the labels, tau not positive, multi-label
            targets, or class weights with a number for tau (the soft minimum would seek the classes that cost less).

    Example:
        >>> from hf_squareloss.losses import CrossEntropy
        >>> ctc_loss(torch.zeros(1, 2, 3), torch.tensor([[1]]), torch.tensor([2]), loss=CrossEntropy())
        tensor([1.0986])
    """
    require_flag("zero_infinity", zero_infinity)
    check_ctc(scores, labels, logit_lengths, loss=loss, blank=blank)
    loss = loss if tau is None else replace(loss, ctc_tau=tau)
    unaligned = 0.0 if zero_infinity else torch.inf
    return ctc_values(scores, labels, logit_lengths, loss=loss, blank=blank, unaligned=unaligned)


def ctc_values(
    scores: Tensor, labels: Tensor, logit_lengths: Tensor, *, loss: Loss, blank: int, unaligned: float
) -> Tensor:
    """`ctc_loss` for labels and lengths that are known to be right: it reads no value from the device by itself.

    Args:
        unaligned: the value of an utterance without an alignment; its gradient is zero.
    """
    num_frames, num_classes = scores.shape[1:]
    fitted = loss.for_ctc(num_classes, blank)
    loss = loss if fitted == loss else fitted  # the same object keeps its constants
    if loss.ctc_tau != "posterior" and loss.class_weights is not None:
        raise ValueError('class_weights have no meaning for a soft minimum over alignments: use tau="posterior"')

    labels = widened(labels)
    kept = labels != loss.ignore_index
    labels = labels.gather(1, (~kept).int().argsort(dim=1, stable=True))  # padding to the right
    lengths = (logit_lengths, kept.sum(1))
    classes, columns = _own_classes(torch.where(labels == loss.ignore_index, blank, labels), blank, num_classes)
    classes = classes.unsqueeze(1).expand(-1, num_frames, -1)
    costs = loss.costs_at(scores, classes)
    frames = torch.arange(num_frames, device=scores.device) < logit_lengths.unsqueeze(1)
    if loss.ctc_tau == "posterior":
        values = _expected_costs(loss, scores, costs, classes, columns, lengths, frames)
    else:
        if loss.label_smoothing:
            costs = (1.0 - loss.label_smoothing) * costs + _smoothed(loss, scores).unsqueeze(-1)
        values = _soft_minimum(costs, columns, lengths, frames, float(loss.ctc_tau))

    repeats = (labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != loss.ignore_index)
    possible = lengths[1] + repeats.sum(1) <= logit_lengths
    return torch.where(possible, values, unaligned)


def _soft_minimum(costs: Tensor, columns: Tensor, lengths: tuple[Tensor, Tensor], frames: Tensor, tau: float) -> Tensor:
    """Costs (B, T, S) -> (B,): torch's dynamic programme wants each frame's exp(-cost / tau) to sum to one."""
    exponents = -costs / tau
    total = exponents.logsumexp(-1)
    nll = _nll(exponents - total.unsqueeze(-1), columns, lengths)
    return tau * (nll - torch.where(frames, total, 0.0).sum(1))


def _expected_costs(
    loss: Loss,
    scores: Tensor,
    costs: Tensor,
    classes: Tensor,
    columns: Tensor,
    lengths: tuple[Tensor, Tensor],
    frames: Tensor,
) -> Tensor:
    """Costs (B, T, S) -> (B,) by the posterior of each class, which gets no gradient."""
    p, weights = loss.link_at(scores.detach(), classes).clamp_max(1.0), None
    if loss.class_weights is not None:
        weights = loss.weights_on(p.device, p.dtype)[classes[:, :1]]
        p = p / weights
    p = p.clamp_min_(_LEAST_PROBABILITY)
    with _gradients():  # this one is of the programme alone, also where nobody wants any
        log_p = _plain(p).log().requires_grad_()
        parts = _plain(columns), (_plain(lengths[0]), _plain(lengths[1]))
        (gradient,) = torch.autograd.grad(_nll(log_p, *parts).sum(), log_p)
    posterior = p.sub_(gradient).clamp_min_(0.0)  # torch's gradient is that of normalised log_p
    posterior = posterior.mul_(frames.unsqueeze(-1))
    values = ((posterior if weights is None else posterior * weights) * costs).sum((1, 2))
    if not loss.label_smoothing:
        return values
    return (1.0 - loss.label_smoothing) * values + (posterior.sum(-1) * _smoothed(loss, scores)).sum(1)


@contextmanager
def _gradients() -> Iterator[None]:
    """Within, gradients are to be had, whatever stands around it."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def _plain(values: Tensor) -> Tensor:
    """What torch.inference_mode made, as a tensor that a gradient's computation may keep."""
    return values.clone() if values.is_inference() else values


def _nll(log_p: Tensor, columns: Tensor, lengths: tuple[Tensor, Tensor]) -> Tensor:
    return F.ctc_loss(log_p.transpose(0, 1), columns, *lengths, reduction="none", zero_infinity=True)


def _own_classes(labels: Tensor, blank: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """The distinct classes of each utterance and where its labels are among them.

    Args:
        labels: (B, U), padded with `blank`.

    Returns:
        classes (B, S), the blank first, padded with it; columns (B, U) with classes[b, columns[b, u]] = labels[b, u].
        S is as large as it might have to be, min(U + 1, C): the number needed would have to be read from the device.
    """
    with_blank = F.pad(labels, (1, 0), value=blank)
    ordered, order = torch.where(with_blank == blank, -1, with_blank).sort(dim=1)
    ranks = F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0)).cumsum(1)
    size = min(with_blank.shape[1], num_classes)
    classes = ordered.new_full((len(labels), size), -1).scatter_(1, ranks, ordered)
    columns = torch.empty_like(ranks).scatter_(1, order, ranks)
    return torch.where(classes < 0, blank, classes), columns[:, 1:]


def _smoothed(loss: Loss, scores: Tensor) -> Tensor:
    """Scores (B, T, C) -> eps / C sum_c w_c costs(f_t)[c] (B, T), the share of all classes whatever the label is."""
    costs = loss.costs(scores)
    return loss.label_smoothing * (costs * loss.weights_on(costs.device, costs.dtype, costs.shape[-1])).mean(-1)


def check_ctc(scores: Tensor, labels: Tensor, logit_lengths: Tensor, *, loss: Loss, blank: int) -> None:
    """ValueError for what `ctc_loss` cannot take. A compiled graph checks no values."""
    if not scores.is_floating_point() or scores.dim() != 3:
        raise ValueError(f"scores must be floating with shape (B, T, C), got {scores.dtype} {tuple(scores.shape)}")
    batch, _, num_classes = scores.shape
    require_integers(labels, (batch, "U"))
    require_integers(logit_lengths, (batch,), name="logit_lengths")
    if not isinstance(loss, Loss):
        raise ValueError(f"loss must be a Loss object, got {type(loss).__name__}")
    if not 0 <= require_integer("blank", blank) < num_classes:
        raise ValueError(f"blank must be a class in [0, {num_classes}), got {blank}")
    if loss.class_weights is not None and len(loss.class_weights) != num_classes:
        raise ValueError(f"{len(loss.class_weights)} class_weights for scores of {num_classes} classes")
    if loss.multi_label:
        raise ValueError("multi_label has no meaning for CTC: each frame has one class")
    if not torch.compiler.is_compiling():
        _check_values(scores, labels, logit_lengths, loss, blank)


def _check_values(scores: Tensor, labels: Tensor, logit_lengths: Tensor, loss: Loss, blank: int) -> None:
    (num_frames, num_classes), labels = scores.shape[1:], widened(labels)
    utterance = {"row": "utterance"}
    refuse(labels, outside(labels, num_classes, loss.ignore_index), f"[0, {num_classes})", **utterance)
    blanks = (labels == blank) & (blank != loss.ignore_index)
    refuse(labels, blanks, f"[0, {num_classes}) without the blank ({blank})", **utterance)
    wrong = (logit_lengths < 0) | (logit_lengths > num_frames)
    refuse(logit_lengths, wrong, f"[0, {num_frames}]", name="logit_lengths", **utterance)
