"""Losses: torch only. A loss knows scores and labels and never sees a model, a trainer or a tokenizer."""

from hf_squareloss.losses._base import Form, Loss, scale
from hf_squareloss.losses._cross_entropy import CrossEntropy
from hf_squareloss.losses._ctc import check_ctc, ctc_loss, ctc_values
from hf_squareloss.losses._gram import gram_pays, in_float16_on_accelerator
from hf_squareloss.losses._probabilities import Calibration
from hf_squareloss.losses._registry import LOSSES, loss_from_dict, make_loss, register_loss
from hf_squareloss.losses._square import SquareLoss, linear_square_loss, square_costs, square_loss
from hf_squareloss.losses._squentropy import Squentropy
from hf_squareloss.losses._targets import may_read, refuse, refuse_distributions, widened

__all__ = [
    "LOSSES",
    "Calibration",
    "CrossEntropy",
    "Form",
    "Loss",
    "SquareLoss",
    "Squentropy",
    "ctc_loss",
    "check_ctc",
    "ctc_values",
    "gram_pays",
    "in_float16_on_accelerator",
    "linear_square_loss",
    "loss_from_dict",
    "make_loss",
    "may_read",
    "refuse",
    "refuse_distributions",
    "register_loss",
    "scale",
    "square_costs",
    "square_loss",
    "widened",
]
