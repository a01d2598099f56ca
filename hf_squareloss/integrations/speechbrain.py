"""SpeechBrain: our losses with the signatures of its recipes, usable from their YAML alone.

    seq_cost: !name:hf_squareloss.integrations.speechbrain.sequence_loss
        loss: square
    ctc_cost: !name:hf_squareloss.integrations.speechbrain.ctc_loss
        loss: cross_entropy
        blank_index: !ref <blank_index>
    log_softmax: !new:torch.nn.Identity

These take raw scores, so the recipe's log_softmax goes; its searcher gets log probabilities from `LogProbabilities`.
Lengths are SpeechBrain's: relative to the padded length, in [0, 1]. Nothing here imports SpeechBrain.
"""

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hf_squareloss import losses
from hf_squareloss.losses import Loss, make_loss, scale

Reduction = Literal["mean", "batchmean", "batch", "sum"]


def sequence_loss(
    predictions: Tensor,
    targets: Tensor,
    length: Tensor | None = None,
    label_smoothing: float = 0.0,
    allowed_len_diff: int = 3,
    reduction: Reduction = "mean",
    *,
    loss: str | Loss = "square",
    **parameters: Any,
) -> Tensor:
    """A loss on raw scores in the place of SpeechBrain's `nll_loss`, which wants log probabilities.

    With l(b, t) the loss of position t of utterance b, over the positions inside the utterances:

        mean       sum l / number of positions       batch   one value per utterance: its sum / its positions
        batchmean  sum l / B                         sum     sum l

    l is itself a mean over the C classes for the square loss, so that k = M = 1 gives SpeechBrain's `mse_loss` on
    one-hot targets for mean and batch, and 1 / C of it for batchmean. Its `reduction="sum"` does not sum; this does.

    Args:
        predictions: raw scores (B, T, C); or (B, C) without `length`.
        targets: (B, T) integers in [0, C), anything beyond the lengths; or (B,).
        length: (B,) relative lengths in [0, 1]; None counts every position.
        label_smoothing: eps, the share of the label spread evenly over the C classes.
        allowed_len_diff: up to so many positions more in predictions than in targets, or fewer, are cut off.
        reduction: as above.
        loss: a loss object or the name of one.
        parameters: of the loss, as k and M of "square".

    Returns:
        Scalar, or (B,) for batch; float32 or float64.

    Raises:
        ValueError: shapes, lengths or targets do not fit, or label_smoothing is given here and by the loss.

    Example:
        >>> sequence_loss(torch.zeros(1, 2, 4), torch.tensor([[3, 1]]), k=1.0, M=2.0)
        tensor(1.)
    """
    loss = _smoothed(_as_loss(loss, parameters), label_smoothing)
    if predictions.dim() == 3 and targets.dim() == 2:
        predictions, targets = _truncate(predictions, targets, allowed_len_diff)
    if length is not None:
        if targets.dim() != 2:
            raise ValueError(f"length needs targets of shape (B, T), got {tuple(targets.shape)}")
        inside = torch.arange(targets.shape[1], device=targets.device) < positions(length, targets).unsqueeze(1)
        targets = torch.where(inside, targets, loss.ignore_index)
    values, weights = loss(predictions, targets), loss.item_weights(targets)
    if reduction == "mean":
        return scale(values.sum(), weights.sum())
    if reduction == "batchmean":
        return values.sum() / len(values)
    if reduction == "batch":
        return values.reshape(len(values), -1).sum(1) / weights.reshape(len(values), -1).sum(1).clamp_min(1e-12)
    if reduction == "sum":
        return values.sum()
    raise _unknown(reduction)


def ctc_loss(
    predictions: Tensor,
    targets: Tensor,
    input_lens: Tensor,
    target_lens: Tensor,
    blank_index: int,
    reduction: Reduction = "mean",
    *,
    loss: str | Loss = "square",
    **parameters: Any,
) -> Tensor:
    """Any loss lifted to CTC (`hf_squareloss.ctc_loss`), on raw scores in the place of SpeechBrain's `ctc_loss`.

    With l(b) the value of utterance b and U(b) its number of targets (1 for none):

        mean       mean over b of l(b) / U(b)        batch   l(b) / U(b), one value per utterance
        batchmean  sum l / B                         sum     sum l

    Args:
        predictions: raw scores (B, T, C).
        targets: (B, U) integers without blanks, anything beyond the lengths.
        input_lens: (B,) relative lengths of the scores, in [0, 1].
        target_lens: (B,) relative lengths of the targets, in [0, 1].
        blank_index: the class that stands for no label.
        reduction: as above.
        loss: a loss object or the name of one; "cross_entropy" is SpeechBrain's own loss.
        parameters: of the loss, as k, M and ctc_tau of "square".

    Returns:
        Scalar, or (B,) for batch. An utterance too short for its targets counts 0, without gradient, as upstream.

    Raises:
        ValueError: shapes, lengths or targets do not fit.
    """
    input_lengths = positions(input_lens, predictions, partial=False)
    target_lengths = positions(target_lens, targets, partial=False)
    inside = torch.arange(targets.shape[1], device=targets.device) < target_lengths.unsqueeze(1)
    loss = _as_loss(loss, parameters)
    values = losses.ctc_loss(
        predictions,
        torch.where(inside, targets, loss.ignore_index),
        input_lengths,
        loss=loss,
        blank=blank_index,
        zero_infinity=True,
    )
    if reduction == "mean":
        return (values / target_lengths.clamp_min(1)).mean()
    if reduction == "batchmean":
        return values.sum() / len(values)
    if reduction == "batch":
        return values / target_lengths.clamp_min(1)
    if reduction == "sum":
        return values.sum()
    raise _unknown(reduction)


def positions(relative: Tensor, padded: Tensor, *, partial: bool = True) -> Tensor:
    """How many positions of `padded` belong to each utterance.

    u = relative * T, rounded up if `partial`, as SpeechBrain's masks count, and to the nearest otherwise, as its CTC
    does. A u that was a whole number before it was divided by T in floating point is that number again.

    Args:
        relative: (B,) lengths in [0, 1].
        padded: (B, T, ...).
        partial: whether a position that is covered in part counts.

    Returns:
        (B,) integers in [0, T].

    Raises:
        ValueError: a shape or lengths that do not fit.

    Example:
        >>> positions(torch.tensor([1.0, 36 / 70]), torch.zeros(2, 70))
        tensor([70, 36])
    """
    if relative.shape != padded.shape[:1]:
        raise ValueError(f"relative lengths must have shape {tuple(padded.shape[:1])}, got {tuple(relative.shape)}")
    # A float32 ratio may end a little above one. Reading values would wait for an accelerator.
    if relative.device.type == "cpu" and ((relative < 0) | (relative > 1 + 1e-4)).any():
        raise ValueError(f"lengths are relative to the padded length, in [0, 1], got {relative.tolist()}")
    u = relative * padded.shape[1]
    # Two roundings, and a third by this product: less than 2 eps of u together.
    u = (u * (1.0 - 2.0 * torch.finfo(u.dtype).eps)).ceil() if partial else u.round()
    return u.long().clamp_max(padded.shape[1])


class LogProbabilities(nn.Module):
    """A linear head followed by the logarithm of its loss's probabilities.

    SpeechBrain's searchers and scorers apply log_softmax to what their `linear` returns, which leaves these unchanged
    (at temperature 1), whereas the softmax of scores trained with the square loss is no probability.

    Args:
        linear: the head, SpeechBrain's Linear: raw scores (..., C) from states (..., D); shared, not copied.
        loss: the loss it is trained with, an object or the name of one.
        parameters: of the loss.

    Example:
        >>> LogProbabilities(nn.Linear(2, 3), "square", k=1.0, M=1.0)(torch.zeros(1, 2)).exp().sum().round()
        tensor(1., grad_fn=<RoundBackward0>)
    """

    def __init__(self, linear: nn.Module, loss: str | Loss = "square", **parameters: Any) -> None:
        super().__init__()
        self.linear = linear
        self.loss = _as_loss(loss, parameters)

    @property
    def w(self) -> nn.Linear:
        """Where searchers read the number of classes from: `w` of SpeechBrain's Linear."""
        return self.linear.w  # type: ignore[return-value]

    def forward(self, states: Tensor) -> Tensor:
        """States (..., D) -> log probabilities (..., C), float32 or better."""
        return self.loss.probabilities(self.linear(states)).log()


def _as_loss(loss: str | Loss, parameters: dict[str, Any]) -> Loss:
    if isinstance(loss, str):
        return make_loss(loss, **parameters)
    return replace(loss, **parameters)


def _smoothed(loss: Loss, label_smoothing: float) -> Loss:
    if not label_smoothing:
        return loss
    if loss.label_smoothing:
        raise ValueError(f"label_smoothing is given twice: {label_smoothing} here, {loss.label_smoothing} by the loss")
    return replace(loss, label_smoothing=label_smoothing)


def _truncate(predictions: Tensor, targets: Tensor, allowed_len_diff: int) -> tuple[Tensor, Tensor]:
    shorter = min(predictions.shape[1], targets.shape[1])
    if max(predictions.shape[1], targets.shape[1]) - shorter > allowed_len_diff:
        raise ValueError(
            f"predictions of {predictions.shape[1]} positions and targets of {targets.shape[1]} differ by more than "
            f"allowed_len_diff={allowed_len_diff}"
        )
    return predictions[:, :shorter], targets[:, :shorter]


def _unknown(reduction: str) -> ValueError:
    return ValueError(f"reduction must be mean, batchmean, batch or sum, got {reduction!r}")
