"""A callback that calls what it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class AtEvents(TrainerCallback):
    """Calls a function at each of these events of training, after a hyper-parameter trial has changed the arguments.

    Args:
        train_begin, epoch_end, train_end: called without arguments.
    """

    def __init__(
        self, train_begin: Callable[[], None], *, epoch_end: Callable[[], None], train_end: Callable[[], None]
    ) -> None:
        self._train_begin, self._epoch_end, self._train_end = train_begin, epoch_end, train_end

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._train_begin()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._epoch_end()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._train_end()
