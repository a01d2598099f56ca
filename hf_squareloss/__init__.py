"""Square loss and its relatives for Hugging Face classifiers. The public names, loaded when first used."""

from typing import TYPE_CHECKING

from hf_squareloss._lazy import lazy_names

if TYPE_CHECKING:
    from hf_squareloss.config import load_config, load_loss
    from hf_squareloss.inference import (
        calibrate,
        ctc_beam_search,
        fold_calibration,
        log_probabilities,
        probability_generation,
        probability_pipeline,
        transcribe,
        unfold_calibration,
    )
    from hf_squareloss.losses import (
        CrossEntropy,
        Loss,
        SquareLoss,
        Squentropy,
        ctc_loss,
        linear_square_loss,
        make_loss,
        register_loss,
        square_loss,
    )
    from hf_squareloss.training import (
        LossSelectionMixin,
        SquareLossSeq2SeqTrainer,
        SquareLossTrainer,
        SquareLossTrainingArguments,
        attach_loss,
        detach_loss,
    )

__version__ = "0.1.0"

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
    "calibrate",
    "ctc_beam_search",
    "ctc_loss",
    "detach_loss",
    "fold_calibration",
    "linear_square_loss",
    "load_config",
    "load_loss",
    "log_probabilities",
    "make_loss",
    "probability_generation",
    "probability_pipeline",
    "register_loss",
    "square_loss",
    "transcribe",
    "unfold_calibration",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "config": ("load_config", "load_loss"),
        "inference": (
            *("calibrate", "ctc_beam_search", "fold_calibration", "log_probabilities", "probability_generation"),
            *("probability_pipeline", "transcribe", "unfold_calibration"),
        ),
        "losses": (
            *("CrossEntropy", "Loss", "SquareLoss", "Squentropy", "ctc_loss", "linear_square_loss", "make_loss"),
            *("register_loss", "square_loss"),
        ),
        "training": (
            *("LossSelectionMixin", "SquareLossSeq2SeqTrainer", "SquareLossTrainer", "SquareLossTrainingArguments"),
            *("attach_loss", "detach_loss"),
        ),
    },
    [*__all__, "__version__"],
)
