"""A Trainer that goes on from a checkpoint: from a whole one alone, with the times and losses of the whole run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import TrainOutput

from hf_squareloss.training._checkpoints import last_complete_checkpoint, require_resumable

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class RunTotals(TrainerCallback, ExportableState):
    """Seconds and summed losses of a run up to its last checkpoint, whose trainer_state.json keeps them.

    Attributes:
        best_checkpoint: of the run that goes on, where it is now; None: as trainer_state.json says.
    """

    def __init__(self) -> None:
        self.seconds, self.loss = 0.0, 0.0
        self.earlier: dict[str, float] | None = None
        self.start = time.monotonic()
        self.best_checkpoint: str | None = None

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"seconds": self.seconds, "loss": self.loss}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        saved: Any = state.stateful_callbacks or {}
        at_start = {"seconds": 0.0, "loss": 0.0}
        self.earlier = saved.get(type(self).__name__, {}).get("attributes") if state.global_step else at_start
        self.start = time.monotonic()
        if self.best_checkpoint is not None:
            state.best_model_checkpoint = self.best_checkpoint


class ResumedTraining(_Trainer):
    """What transformers 5.24 leaves to luck when a run goes on: which checkpoint, and what the run took in all."""

    _resumed_from: str | None = None

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """As the parent's. True takes the newest checkpoint that can be read; train_runtime and train_loss are those
        of the whole run, from its first step.

        Raises:
            ValueError: there is no such checkpoint, or it lacks the optimizer or the scheduler.
        """
        if resume_from_checkpoint is True:
            folder = self.args.output_dir or "."
            resume_from_checkpoint = last_complete_checkpoint(folder, self.args.world_size)
            if resume_from_checkpoint is None:
                raise ValueError(f"{folder} has no checkpoint that a run could go on from")
        if resume_from_checkpoint:
            require_resumable(resume_from_checkpoint)
        self._totals.best_checkpoint = best_beside(resume_from_checkpoint) if resume_from_checkpoint else None
        self._resumed_from = resume_from_checkpoint or None
        return super().train(resume_from_checkpoint, *args, **kwargs)

    @property
    def _totals(self) -> RunTotals:
        return next(callback for callback in self.callback_handler.callbacks if isinstance(callback, RunTotals))

    # The sums of the losses are private fields of the Trainer (transformers 5.24).
    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        totals = self._totals
        earlier = totals.earlier or {"seconds": 0.0, "loss": 0.0}
        totals.seconds = earlier["seconds"] + time.monotonic() - totals.start
        totals.loss = earlier["loss"] + self._total_loss_scalar + self._tr_loss.item()
        super()._save_checkpoint(*args, **kwargs)

    def _finalize_training(self, trial: Any, num_train_samples: int, start_time: float) -> TrainOutput:
        earlier = self._totals.earlier
        if earlier is not None:  # else an older release wrote the checkpoint, and the last part is all that is known
            self._total_loss_scalar += earlier["loss"]
            self._initial_global_step = 0
            start_time -= earlier["seconds"]
        return super()._finalize_training(trial, num_train_samples, start_time)


def best_beside(checkpoint: str) -> str | None:
    """The best checkpoint of a run, where it lies beside another one of it.

    trainer_state.json has its path at that time: of a folder that was moved since it is no folder, or another run's.
    """
    file = Path(checkpoint, TRAINER_STATE_NAME)
    named = TrainerState.load_from_json(str(file)).best_model_checkpoint if file.exists() else None
    beside = Path(checkpoint).parent / Path(named).name if named else None
    return str(beside) if beside is not None and beside.is_dir() else None
