"""Square loss and its relatives for Hugging Face classifiers. The public names, loaded when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from hf_squareloss.losses import (
    CrossEntropy,
    Loss,
    SquareLoss,
    Squentropy,
    ctc_loss,
    linear_square_loss,
    make_loss,
    square_loss,
)

if TYPE_CHECKING:
    from hf_squareloss.arguments import SquareLossTrainingArguments as SquareLossTrainingArguments
    from hf_squareloss.attach import attach_loss as attach_loss
    from hf_squareloss.attach import detach_loss as detach_loss
    from hf_squareloss.decoding import ctc_beam_search as ctc_beam_search
    from hf_squareloss.decoding import log_probabilities as log_probabilities
    from hf_squareloss.decoding import probability_generation as probability_generation
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
    "ctc_beam_search": "hf_squareloss.decoding",
    "detach_loss": "hf_squareloss.attach",
    "load_loss": "hf_squareloss.saved_loss",
    "log_probabilities": "hf_squareloss.decoding",
    "probability_generation": "hf_squareloss.decoding",
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
    "ctc_beam_search",
    "ctc_loss",
    "detach_loss",
    "linear_square_loss",
    "load_loss",
    "log_probabilities",
    "make_loss",
    "probability_generation",
    "probability_pipeline",
    "square_loss",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
