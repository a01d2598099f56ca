"""Training with a loss of one's choice: trainers, their arguments, a loss on a bare model, checkpoints, the Hub."""

from typing import TYPE_CHECKING

from hf_squareloss._lazy import lazy_names

if TYPE_CHECKING:
    from hf_squareloss.training._arguments import LossArguments, SquareLossTrainingArguments, parse_loss_parameters
    from hf_squareloss.training._attach import attach_loss, detach_loss
    from hf_squareloss.training._checkpoints import (
        last_complete_checkpoint,
        missing_parts,
        newest_weights,
        refuse_other_loss,
        require_resumable,
    )
    from hf_squareloss.training._hub import PushError, push_errors, require_no_tokens, require_push_rights
    from hf_squareloss.training._model_card import model_card, registering_module
    from hf_squareloss.training._trainer import LossSelectionMixin, SquareLossSeq2SeqTrainer, SquareLossTrainer
    from hf_squareloss.training._upstream import EpochSeededLengthSampler

__all__ = [
    "EpochSeededLengthSampler",
    "LossArguments",
    "LossSelectionMixin",
    "PushError",
    "SquareLossSeq2SeqTrainer",
    "SquareLossTrainer",
    "SquareLossTrainingArguments",
    "attach_loss",
    "detach_loss",
    "last_complete_checkpoint",
    "missing_parts",
    "model_card",
    "newest_weights",
    "parse_loss_parameters",
    "push_errors",
    "refuse_other_loss",
    "registering_module",
    "require_no_tokens",
    "require_push_rights",
    "require_resumable",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "_arguments": ("LossArguments", "SquareLossTrainingArguments", "parse_loss_parameters"),
        "_attach": ("attach_loss", "detach_loss"),
        "_checkpoints": (
            "last_complete_checkpoint",
            "missing_parts",
            "newest_weights",
            "refuse_other_loss",
            "require_resumable",
        ),
        "_hub": ("PushError", "push_errors", "require_no_tokens", "require_push_rights"),
        "_model_card": ("model_card", "registering_module"),
        "_trainer": ("LossSelectionMixin", "SquareLossSeq2SeqTrainer", "SquareLossTrainer"),
        "_upstream": ("EpochSeededLengthSampler",),
    },
    __all__,
)
