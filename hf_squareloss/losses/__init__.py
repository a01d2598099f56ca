"""Losses: torch only. A loss knows scores and labels and never sees a model, a trainer or a tokenizer."""

from hf_squareloss.losses._base import Loss, scale
from hf_squareloss.losses._cross_entropy import CrossEntropy
from hf_squareloss.losses._ctc import ctc_loss
from hf_squareloss.losses._gram import in_float16_on_accelerator
from hf_squareloss.losses._registry import LOSSES, make_loss
from hf_squareloss.losses._square import SquareLoss, linear_square_loss, square_costs, square_loss
from hf_squareloss.losses._squentropy import Squentropy

__all__ = [
    "LOSSES",
    "CrossEntropy",
    "Loss",
    "SquareLoss",
    "Squentropy",
    "ctc_loss",
    "in_float16_on_accelerator",
    "linear_square_loss",
    "make_loss",
    "scale",
    "square_costs",
    "square_loss",
]
