"""Command-line arguments: TrainingArguments with a loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments

from hf_squareloss.losses import LOSSES, Loss, make_loss


@dataclass
class SquareLossTrainingArguments(TrainingArguments):
    """`TrainingArguments` with `--loss`, its parameters and class weights.

    Example:
        >>> SquareLossTrainingArguments(loss="square", loss_k="2", loss_M="4").make_loss().to_dict()
        {'loss': 'square', 'k': 2.0, 'M': 4.0}
    """

    loss: str = field(default="square", metadata={"help": f"The loss to train with: {', '.join(LOSSES)}."})
    loss_k: str = field(
        default="auto",
        metadata={"help": "Square loss: weight of the true class. A number, 'auto' (a rule from the number of classes) "
                          "or 'paper' (Hui & Belkin's values)."},
    )  # fmt: skip
    loss_M: str = field(
        default="auto",
        metadata={"help": "Square loss: target of the true class. A number, 'auto' or 'paper'."},
    )
    ctc_tau: str = field(
        default="auto",
        metadata={"help": "CTC models: temperature of the soft minimum over alignments, 'posterior' for the costs "
                          "expected by the model's own probabilities, or 'auto' for the loss's own choice."},
    )  # fmt: skip
    class_weights: str | None = field(
        default=None,
        metadata={"help": "One positive weight per class, separated by commas, or 'balanced' (each class weighs the "
                          "same in all; resolved by the example scripts from the training labels)."},
    )  # fmt: skip

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.class_weights, list):  # as a JSON file of arguments has it
            self.class_weights = ",".join(map(str, self.class_weights))
        if self.class_weights != "balanced":
            self.make_loss()  # wrong names and values are refused before anything is loaded

    def make_loss(self, loss: str | None = None) -> Loss:
        """The loss these arguments describe, or the one called `loss` with their parameters.

        `label_smoothing_factor` is its smoothing.

        Raises:
            ValueError: unknown loss or parameter (with the nearest valid one), or a value out of range.
        """
        parameters: dict[str, Any] = {}
        for name, value in (("k", self.loss_k), ("M", self.loss_M)):
            if value != "auto":
                parameters[name] = value if value == "paper" else _number(f"loss_{name}", value, ", 'auto' or 'paper'")
        if self.ctc_tau != "auto":
            known = self.ctc_tau == "posterior"
            parameters["ctc_tau"] = (
                self.ctc_tau if known else _number("ctc_tau", self.ctc_tau, ", 'posterior' or 'auto'")
            )
        if self.class_weights == "balanced":
            raise ValueError("class_weights='balanced' needs the training labels: give the weights as numbers")
        if self.class_weights is not None:
            parameters["class_weights"] = tuple(_number("class_weights", w) for w in self.class_weights.split(","))
        return make_loss(loss or self.loss, label_smoothing=self.label_smoothing_factor, **parameters)


def _number(name: str, value: str | float, or_else: str = "") -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number{or_else}, got {value!r}") from None
