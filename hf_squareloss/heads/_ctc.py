"""The loss of a CTC model: in the place where every family hands over frames and labels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from hf_squareloss.losses import Loss, check_ctc, ctc_values

UNALIGNED = -math.inf


@contextmanager
def utterance_loss(model: PreTrainedModel, loss: Loss, *, checked: bool = False) -> Iterator[None]:
    """Within, a CTC model's forward with labels gives `loss` per utterance, (B,), as its own loss.

    Each family finds the frames of an utterance in its own way and hands them to `loss_function` (transformers 5.23,
    all *ForCTC), so that is where the loss must be.

    Args:
        checked: the labels are right: nothing need be read from an accelerator to see that.
    """
    with _loss_function(model, _UtteranceLoss(loss, checked)):
        yield


@dataclass(frozen=True)
class _UtteranceLoss:
    """What stands in for a CTC model's `loss_function`; equal for equal losses, so that compiled code is kept.

    One convention for every family, whatever the config's ctc_loss_reduction and ctc_zero_infinity say: a value per
    utterance, not divided by any length, and `UNALIGNED`, which no alignment gives, where there is none.
    """

    loss: Loss
    checked: bool

    def __call__(self, logits: Tensor, labels: Tensor, logit_lengths: Tensor, blank_token_id: int, **_: Any) -> Tensor:
        options: dict[str, Any] = {"loss": self.loss, "blank": blank_token_id}
        if not self.checked:
            check_ctc(logits, labels, logit_lengths, **options)
        return ctc_values(logits, labels, logit_lengths, unaligned=UNALIGNED, **options)


@contextmanager
def captured_frames(model: PreTrainedModel) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Within, a CTC model's forward with labels adds its scores (B, T, C) and each utterance's frames (B,) to a list.

    Its own loss is zero then.
    """
    captured: list[tuple[Tensor, Tensor]] = []

    def loss_function(logits: Tensor, labels: Tensor, logit_lengths: Tensor, **_: Any) -> Tensor:
        captured.append((logits, logit_lengths))
        return logits.new_zeros(len(logits))

    with _loss_function(model, loss_function):
        yield captured


@contextmanager
def _loss_function(model: PreTrainedModel, function: Any) -> Iterator[None]:
    before = model.__dict__.get("_loss_function")
    model.loss_function = function
    try:
        yield
    finally:
        if before is None:
            del model._loss_function
        else:
            model.loss_function = before
