"""Square loss and its relatives for Hugging Face classifiers. The public names, loaded when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hf_squareloss.losses import CrossEntropy, Loss, SquareLoss, Squentropy, make_loss, square_loss

if TYPE_CHECKING:
    from hf_squareloss.arguments import SquareLossTrainingArguments as SquareLossTrainingArguments
    from hf_squareloss.attach import attach_loss as attach_loss
    from hf_squareloss.attach import detach_loss as detach_loss
    from hf_squareloss.pipelines import probability_pipeline as probability_pipeline
    from hf_squareloss.saved_loss import load_loss as load_loss
    from hf_squareloss.trainer import LossSelectionMixin as LossSelectionMixin
    from hf_squareloss.trainer import SquareLossSeq2SeqTrainer as SquareLossSeq2SeqTrainer
    from hf_squareloss.trainer import SquareLossTrainer as SquareLossTrainer

__version__ = "0.1.0"

# These need transformers, which takes seconds to import: the losses alone should not.
_LAZY = {
    "LossSelectionMixin": "hf_squareloss.trainer",
    "SquareLossSeq2SeqTrainer": "hf_squareloss.trainer",
    "SquareLossTrainer": "hf_squareloss.trainer",
    "SquareLossTrainingArguments": "hf_squareloss.arguments",
    "attach_loss": "hf_squareloss.attach",
    "detach_loss": "hf_squareloss.attach",
    "load_loss": "hf_squareloss.saved_loss",
    "probability_pipeline": "hf_squareloss.pipelines",
}

__all__ = [
    "CrossEntropy",
    "Loss",
    "LossSelectionMixin",
    "SquareLoss",
    "SquareLossSeq2SeqTrainer",
    "SquareLossTrainer",
    "SquareLossTrainingArguments",
    "Squentropy",
    "attach_loss",
    "detach_loss",
    "load_loss",
    "make_loss",
    "probability_pipeline",
    "square_loss",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
