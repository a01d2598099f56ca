"""Whether one training run does without scores: looked for at its first batch, held to at every step, said once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.utils import logging

from hf_squareloss.heads._fused import FusedHead, Reason
from hf_squareloss.heads._head import Head
from hf_squareloss.losses import Loss

logger = logging.get_logger(__name__)


class FusedSearch:
    """Finds the head without scores, checks it, agrees on it with the other processes, and warns where there is none.

    All processes must go the same way: one that ran another forward than the rest would wait in it for their buffers.

    Args:
        model: the model that is trained, without what Accelerate or torch.compile put around it.
        head: the model's head.
        loss: the loss, fitted to it.
        refusal: why this trainer cannot do without scores; None if it can.
        gather: a tensor (n,) from each of the processes -> (processes x n,); None where there is one.
    """

    def __init__(
        self,
        model: nn.Module,
        head: Head,
        loss: Loss,
        *,
        refusal: Reason | None,
        gather: Callable[[Tensor], Tensor] | None,
    ) -> None:
        self._model, self._head, self._loss, self._refusal, self._gather = model, head, loss, refusal, gather
        self._found: FusedHead | None = None
        self._looked = False
        self._outdated = False  # here, in the step under way

    def head_for(self, inputs: Mapping[str, Any], labels: Tensor) -> FusedHead | None:
        """The head to train this batch with, or None for the scores; a look at the first batch may take a forward."""
        if self._loss.needs_scores or not self._head.language_model:
            return None
        if not self._looked:
            found = self._look(inputs, labels)
            refused = self._in_any(labels.new_full((1,), isinstance(found, str), dtype=torch.bool))
            self._found = found if isinstance(found, FusedHead) and not refused else None
            self._looked = True
        if self._found is not None and not self._found.is_current():
            self._outdated = True
        return None if self._outdated else self._found

    def _look(self, inputs: Mapping[str, Any], labels: Tensor) -> FusedHead | Reason:
        found = self._refusal or FusedHead.of(self._model, self._head, self._loss)
        if isinstance(found, FusedHead):
            found = found.check(inputs, labels) or found
        if isinstance(found, str):
            self._say(found)
        return found

    @property
    def in_use(self) -> bool:
        """Whether the step under way does without scores somewhere: then `faults` must be asked, in every process."""
        return self._found is not None

    def faults(self, changed: list[Tensor], device: torch.device) -> Tensor:
        """At the end of a step, (2,) booleans on the device: a head's values meant nothing; a head is outdated.

        Args:
            changed: what `FusedHead.total` said of each micro-batch.
        """
        false = torch.zeros((), dtype=torch.bool, device=device)
        any_changed = torch.stack([false, *(flag.to(device) for flag in changed)]).any()
        return self._in_any(torch.stack([any_changed, torch.full_like(false, self._outdated)]))

    def look_again(self) -> None:
        """At the next batch: something was put on the model, or other parameters are trained."""
        self._looked = self._outdated = False
        self._found = None

    def give_up(self) -> None:
        """Scores from now on: what the look at the first batch could not see."""
        self._found = None
        self._say(
            "its forward does not always call its output layer once, for the items of the labels, and hand on the "
            "scores as they are",
        )

    def _in_any(self, flags: Tensor) -> Tensor:
        """(n,) whether each flag is set in any process."""
        if self._gather is None:
            return flags
        return self._gather(flags.int()).view(-1, len(flags)).bool().any(0)

    def _say(self, reason: Reason) -> None:
        logger.warning_once(f"{type(self._model).__name__} builds the scores of all tokens in training: {reason}")
