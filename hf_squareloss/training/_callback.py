"""What a trainer of ours does at the events of training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_squareloss.training._checkpoints import refuse_other_loss

if TYPE_CHECKING:
    from hf_squareloss.training._trainer import LossSelectionMixin


class LossCallback(TrainerCallback):
    """At the start of training, after a hyper-parameter trial has changed the arguments and the model; and at ends."""

    def __init__(self, trainer: LossSelectionMixin) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer._select_loss(to_train=True)
        folder = self.trainer._get_output_dir(None)
        refuse_other_loss(folder, self.trainer.selected_loss, resumed_from=self.trainer._resumed_from)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer._drop_open_step()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer._calibrate()
