"""One optimizer step: what may have gone wrong in its micro-batches, looked at once, behind its last backward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Step:
    """The step under way. Every value read from an accelerator stalls it, so that all checks of a step share one read.

    Attributes:
        batches: of each micro-batch its inputs and the step's number of items, as `training_step` got them.
        values: of each micro-batch its loss.
        checks: booleans on the device, and what is to be done where one is false, in this order.
        changed: of each micro-batch without scores, whether its values meant nothing: a boolean on the device.
        under_way: whether a micro-batch of it is being computed; between them, evaluation is none of its business.
        computed: whether the loss was computed by us in the micro-batch under way.
        num_items: the step's number of items, which a `compute_loss` of another class may not hand on.
    """

    batches: list[tuple[dict[str, Any], Any]] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)
    checks: list[tuple[Tensor, Callable[[], Tensor | None]]] = field(default_factory=list)
    changed: list[Tensor] = field(default_factory=list)
    under_way: bool = False
    computed: bool = False
    num_items: Any = None

    def require(self, fine: Tensor, act: Callable[[], Tensor | None]) -> None:
        """At the end of the step, `act` where `fine`, a boolean scalar, is false."""
        self.checks.append((fine, act))

    def look(self) -> Tensor | None:
        """Read all checks at once and act on those that fail, until one gives the step another value."""
        checks, self.checks = self.checks, []
        if not checks:
            return None
        first = checks[0][0]
        found = torch.stack([fine.to(first.device) for fine, _ in checks]) if len(checks) > 1 else first.reshape(1)
        for fine, (_, act) in zip(found.tolist(), checks, strict=True):
            if not fine and (value := act()) is not None:
                return value
        return None
