"""Command-line arguments: TrainingArguments with a loss."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

from transformers import TrainingArguments

from hf_squareloss.losses import LOSSES, Loss, loss_from_dict, make_loss
from hf_squareloss.metric_order import greater_is_better

_WORDS = {"true": True, "false": False, "none": None}


@dataclass
class LossArguments:
    """A loss and what becomes of its scores, for `HfArgumentParser`: of a Trainer's arguments or a loop's.

    Example:
        >>> LossArguments(loss="square", loss_parameters=["k=2", "M=4"]).make_loss().to_dict()
        {'loss': 'square', 'k': 2.0, 'M': 4.0}
    """

    loss: str = field(
        default="square",
        metadata={"help": f"The loss to train with: {', '.join(LOSSES)}, or one that an installed package offers."},
    )
    loss_k: str = field(
        default="auto",
        metadata={"help": "Square loss: weight of the true class. A number, 'auto' (a rule from the number of classes) "
                          "or 'paper' (Hui & Belkin's values)."},
    )  # fmt: skip
    loss_M: str = field(
        default="auto",
        metadata={"help": "Square loss: target of the true class. A number, 'auto' or 'paper'."},
    )
    loss_parameters: list[str] = field(
        default_factory=list,
        metadata={"help": "The loss's own parameters as NAME=VALUE, separated by spaces: k=2 M=paper. A VALUE is a "
                          "number, true, false, none or a text, or several of these with commas."},
    )  # fmt: skip
    ctc_tau: str = field(
        default="auto",
        metadata={"help": "CTC models: temperature of the soft minimum over alignments, 'posterior' for the costs "
                          "expected by the model's own probabilities, or 'auto' for the loss's own choice."},
    )  # fmt: skip
    class_weights: str | None = field(
        default=None,
        metadata={"help": "One positive weight per class: NAME=WEIGHT, separated by commas; or numbers alone, in the "
                          "order of the classes (the model's id2label; of a new model the labels in their order); or "
                          "'balanced' (each class weighs the same in all)."},
    )  # fmt: skip

    label_smoothing_factor: float = field(
        default=0.0, metadata={"help": "Share of a label that is spread over all classes; 0 is none."}
    )
    calibrate: bool = field(
        default=True,
        metadata={"help": "At the end of training fit one number to the scores of the evaluation set, which makes the "
                          "model's probabilities right; the square loss takes it from a rule where there is no such "
                          "set."},
    )  # fmt: skip
    fold_calibration: bool = field(
        default=True,
        metadata={"help": "Save the model as an ordinary classifier, with that number in the weights of its last "
                          "layer: a softmax (several classes at once: a sigmoid) of its scores is the probability. "
                          "False keeps the raw scores and the number beside them."},
    )  # fmt: skip

    def __post_init__(self) -> None:
        if isinstance(self.class_weights, list):  # as a JSON file of arguments has it
            self.class_weights = ",".join(map(str, self.class_weights))
        if isinstance(self.class_weights, dict):  # likewise
            self.class_weights = ",".join(f"{name}={weight}" for name, weight in self.class_weights.items())
        if isinstance(self.loss_parameters, str):  # likewise
            self.loss_parameters = self.loss_parameters.split()
        # Wrong names and values are refused before anything is loaded.
        if self.class_weights is not None and "=" in self.class_weights:
            self.named_class_weights()
        elif self.class_weights != "balanced":
            self.make_loss()

    def make_loss(self, loss: str | None = None) -> Loss:
        """The loss these arguments describe, or the one called `loss` with their parameters.

        `label_smoothing_factor` is its smoothing.

        Raises:
            ValueError: unknown loss or parameter (with the nearest valid one), or a value out of range.
        """
        if self.class_weights == "balanced":
            raise ValueError("class_weights='balanced' needs the training labels: give the weights as numbers")
        if self.class_weights is not None and "=" in self.class_weights:
            raise ValueError("class_weights by name need the names of the classes: give the weights as numbers")
        options = {"k": self.loss_k, "M": self.loss_M, "ctc_tau": self.ctc_tau}
        words = [f"{name}={value}" for name, value in options.items() if value != "auto"]
        if self.label_smoothing_factor:
            words.append(f"label_smoothing={self.label_smoothing_factor}")
        if self.class_weights is not None:
            words.append(f"class_weights={self.class_weights},")
        return loss_from_dict({**parse_loss_parameters([*words, *self.loss_parameters]), "loss": loss or self.loss})

    def of_the_loss(self) -> list[str]:
        """Which parameters of the loss these arguments give, beside its name."""
        names = ("loss_k", "loss_M", "loss_parameters", "ctc_tau", "class_weights")
        defaults = {each.name: [] if each.name == "loss_parameters" else each.default for each in fields(LossArguments)}
        return [name for name in names if getattr(self, name) != defaults[name]]

    def says_a_loss(self) -> bool:
        """Whether these arguments ask for another loss than what is used where nobody asks."""
        return self.loss != "square" or bool(self.label_smoothing_factor) or bool(self.of_the_loss())

    def named_class_weights(self) -> dict[str, float]:
        """Class name -> weight, of `class_weights` given as NAME=WEIGHT, separated by commas.

        Raises:
            ValueError: a part of another form, a weight that is no positive number, or a name given twice.
        """
        weights: dict[str, float] = {}
        for part in (self.class_weights or "").split(","):
            name, equals, text = part.strip().rpartition("=")
            weight = _value(text)
            if not (name and equals and type(weight) in (int, float) and 0 < float(weight) < math.inf):  # type: ignore[arg-type]
                raise ValueError(f"class_weights by name are NAME=WEIGHT with a positive number each, got {part!r}")
            if name in weights:
                raise ValueError(f"class_weights: {name!r} is given twice")
            weights[name] = float(weight)  # type: ignore[arg-type]
        return weights


@dataclass
class SquareLossTrainingArguments(LossArguments, TrainingArguments):
    """`TrainingArguments` with `--loss`, its parameters and class weights.

    With `metric_for_best_model`, the best is the lowest value where a metric is an error (`LOWER_IS_BETTER` of
    hf_squareloss.metric_order), of any other the highest as for a Trainer, unless `greater_is_better` says otherwise.

    Example:
        >>> SquareLossTrainingArguments(loss="square", loss_parameters=["k=2", "M=4"]).make_loss().to_dict()
        {'loss': 'square', 'k': 2.0, 'M': 4.0}
    """

    def __post_init__(self) -> None:
        # transformers 5.24 takes the largest value of any metric for the best unless its name ends in "loss".
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = greater_is_better(self.metric_for_best_model)
        super(LossArguments, self).__post_init__()  # the Trainer's, which calls no other
        LossArguments.__post_init__(self)


def requested_loss(loss: Loss | str | None, args: TrainingArguments) -> Loss:
    """What a trainer's `loss=` and its arguments ask for together. ValueError where they contradict each other."""
    ours = isinstance(args, SquareLossTrainingArguments)
    if loss is None or (isinstance(loss, str) and ours):
        return args.make_loss(loss) if ours else make_loss("square", label_smoothing=args.label_smoothing_factor)
    if isinstance(loss, str):
        loss = make_loss(loss)
    elif isinstance(loss, Loss) and isinstance(args, SquareLossTrainingArguments) and (given := args.of_the_loss()):
        raise ValueError(
            f"the loss is given as an object, and {', '.join(given)} of the arguments would be ignored: say it in one "
            "place"
        )
    if not isinstance(loss, Loss):
        raise ValueError(f"loss must be a name or a Loss object, got {type(loss).__name__}")
    if args.label_smoothing_factor:
        if loss.label_smoothing:
            raise ValueError(
                f"label smoothing is given twice: {loss.label_smoothing} by the loss and "
                f"label_smoothing_factor={args.label_smoothing_factor} by the arguments"
            )
        loss = replace(loss, label_smoothing=args.label_smoothing_factor)
    return replace(loss, calibration=None)  # which is of the scores of another model, or of this one before


def parse_loss_parameters(words: Iterable[str]) -> dict[str, Any]:
    """A loss's parameters from a command line, for `make_loss`, which knows their names.

    Args:
        words: NAME=VALUE each; a VALUE is a number, true, false, none or a text, or several of these with commas.

    Raises:
        ValueError: a word of another form, or a name given twice.

    Example:
        >>> parse_loss_parameters(["gamma=2", "alpha=none", "k=paper", "class_weights=1,2.5"])
        {'gamma': 2, 'alpha': None, 'k': 'paper', 'class_weights': (1, 2.5)}
    """
    parameters: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (name and equals and text):
            raise ValueError(f"loss_parameters must be NAME=VALUE, separated by spaces, got {word!r}")
        if name in ("loss", "module", "version"):  # what config.json says beside the parameters
            raise ValueError(f"loss_parameters are a loss's own: {name!r} is none")
        if name in parameters:
            raise ValueError(f"{name!r} is given twice, by loss_parameters or by an option of its own")
        values = tuple(_value(part) for part in text.removesuffix(",").split(","))
        parameters[name] = values if "," in text else values[0]
    return parameters


def _value(text: str) -> bool | int | float | str | None:
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
