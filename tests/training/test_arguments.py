"""The command line's loss."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import arguments
from transformers import HfArgumentParser, TrainingArguments

from hf_squareloss import CrossEntropy, Loss, SquareLoss, SquareLossTrainingArguments, Squentropy
from hf_squareloss.inference import calibration_metrics
from hf_squareloss.metric_order import greater_is_better
from hf_squareloss.recipes.metrics import _CLASSIFICATION, _REGRESSION
from hf_squareloss.training import parse_loss_parameters


def parse(folder: Path, *words: str) -> SquareLossTrainingArguments:
    parser = HfArgumentParser(SquareLossTrainingArguments)  # type: ignore[arg-type]
    return parser.parse_args_into_dataclasses(["--output_dir", str(folder), "--use_cpu", *words])[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", SquareLoss(k="auto", M="auto")),
        ("--loss square --loss_k 2 --loss_M 4.5", SquareLoss(k=2.0, M=4.5)),
        ("--loss_k paper --loss_M paper", SquareLoss(k="paper", M="paper")),
        ("--loss_M 3", SquareLoss(M=3.0)),
        ("--loss cross_entropy --label_smoothing_factor 0.1", CrossEntropy(label_smoothing=0.1)),
        ("--loss squentropy --class_weights 1,2,0.5", Squentropy(class_weights=(1.0, 2.0, 0.5))),
        ("--class_weights 3", SquareLoss(class_weights=(3.0,))),
        ("--loss_parameters k=2 M=4.5", SquareLoss(k=2.0, M=4.5)),
        ("--loss_k 2 --loss_parameters M=paper ignore_index=-1", SquareLoss(k=2.0, M="paper", ignore_index=-1)),
        ("--loss_parameters multi_label=true class_weights=1,2", SquareLoss(multi_label=True, class_weights=(1, 2))),
        ("--loss cross_entropy --loss_parameters class_weights=none", CrossEntropy()),
    ],
)
def test_command_line(words: str, expected: Loss, tmp_path: Path) -> None:
    assert parse(tmp_path, *words.split()).make_loss() == expected


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("--loss sqare", "did you mean 'square'"),
        ("--loss_k two", "k must be a positive number"),
        ("--loss_k -1", "k must be"),
        ("--loss_M nan", "M must be"),
        ("--loss cross_entropy --loss_k 2", "no parameter 'k'"),
        ("--loss squentropy --loss_M 2", "no parameter 'M'"),
        ("--class_weights 1,x", "class_weights"),
        ("--class_weights 1,paper", "class_weights"),
        ("--class_weights 1,-2", "class_weights"),
        ("--label_smoothing_factor 1.5", "smoothing"),
        ("--loss_parameters k", "NAME=VALUE.*got 'k'"),
        ("--loss_parameters k=", "NAME=VALUE"),
        ("--loss_parameters =2", "NAME=VALUE"),
        ("--loss_parameters k=2 k=2", "'k' is given twice"),
        ("--loss_k 2 --loss_parameters k=2", "'k' is given twice"),
        ("--loss_M 2 --loss_parameters k=2 M=2", "'M' is given twice"),
        ("--class_weights 1,2 --loss_parameters class_weights=1,2", "'class_weights' is given twice"),
        ("--label_smoothing_factor 0.1 --loss_parameters label_smoothing=0.1", "'label_smoothing' is given twice"),
        ("--loss_parameters k=true", "k must be a positive number"),
        ("--loss_parameters M=none", "M must be a positive number"),
        ("--loss_parameters multi_label=1", "multi_label must be True or False"),
        ("--loss squentropy --loss_parameters label_smooting=0.1", "did you mean 'label_smoothing'"),
    ],
)
def test_refused_before_anything_is_loaded(words: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=word):
        parse(tmp_path, *words.split())


def test_balanced_weights_need_labels(tmp_path: Path) -> None:
    args = arguments(tmp_path, class_weights="balanced")
    with pytest.raises(ValueError, match="balanced"):
        args.make_loss()
    args.class_weights = "1,2"
    assert args.make_loss() == SquareLoss(class_weights=(1.0, 2.0))


def test_numbers_as_numbers(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"loss_k": 2.0, "loss_M": 3}
    assert arguments(tmp_path, **changes).make_loss() == SquareLoss(k=2.0, M=3.0)


def test_help_and_dictionary() -> None:
    shown = io.StringIO()
    with redirect_stdout(shown):
        HfArgumentParser(SquareLossTrainingArguments).print_help()  # type: ignore[arg-type]
    names = {"loss", "loss_k", "loss_M", "loss_parameters", "ctc_tau", "class_weights", "calibrate", "fold_calibration"}
    assert all(f"--{name}" in shown.getvalue() for name in names)
    ours, stock = SquareLossTrainingArguments(use_cpu=True), TrainingArguments(use_cpu=True)
    assert ours.to_dict().keys() - stock.to_dict().keys() == names


@pytest.mark.parametrize("name", ["wer", "cer", "nll", "brier", "ece", "mse", "loss", "rmse", "error_rate", "bpc"])
def test_the_best_of_an_error_is_the_lowest(name: str) -> None:
    for metric in (name, f"eval_{name}", f"eval_clean_{name}"):
        assert SquareLossTrainingArguments(use_cpu=True, metric_for_best_model=metric).greater_is_better is False
    own = SquareLossTrainingArguments(use_cpu=True, metric_for_best_model=name, greater_is_better=True)
    assert own.greater_is_better is True


@pytest.mark.parametrize(
    "name", [*_CLASSIFICATION, "pearson", "spearmanr", "exact_match", "reversed_answer", "my_power"]
)
def test_the_best_of_a_score_is_the_highest(name: str) -> None:
    for metric in (name, f"eval_{name}"):
        assert SquareLossTrainingArguments(use_cpu=True, metric_for_best_model=metric).greater_is_better is True


def test_without_a_metric_nothing_is_set() -> None:
    assert SquareLossTrainingArguments(use_cpu=True).greater_is_better is None
    assert SquareLossTrainingArguments(use_cpu=True, metric_for_best_model="eval_my_loss").greater_is_better is False
    assert SquareLossTrainingArguments(use_cpu=True, metric_for_best_model="hinge_loss").greater_is_better is False


def test_every_metric_of_the_recipes_has_a_better_side() -> None:
    """A metric that is added must be an error in the list, or a score named here."""
    names = {*_CLASSIFICATION, *_REGRESSION, *calibration_metrics(torch.tensor([[0.5, 0.5]]), torch.tensor([0]))}
    names |= {"wer", "cer"}
    scores = {"accuracy", "f1", "matthews_correlation", "precision", "recall", "pearson", "spearmanr"}
    assert {name for name in names if greater_is_better(name)} == scores


def test_ctc_tau() -> None:
    def tau(text: str) -> Any:
        return SquareLossTrainingArguments(use_cpu=True, ctc_tau=text).make_loss().ctc_tau

    assert (tau("auto"), tau("posterior"), tau("0.5")) == ("auto", "posterior", 0.5)
    with pytest.raises(ValueError, match='ctc_tau must be a positive number from 1e-8 to 1e8, "posterior"'):
        tau("cold")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=2", 2), ("a=-1", -1), ("a=2.5", 2.5), ("a=1e-3", 1e-3), ("a=true", True), ("a=False", False),
        ("a=none", None), ("a=paper", "paper"), ("a=b=c", "b=c"), ("a=1,2.5", (1, 2.5)), ("a=1,", (1,)),
    ],
)  # fmt: skip
def test_values_of_loss_parameters(word: str, value: Any) -> None:
    parsed = parse_loss_parameters([word])["a"]
    assert parsed == value and type(parsed) is type(value)


def test_loss_parameters_in_a_json_file(tmp_path: Path) -> None:
    for given in ("k=2 M=3", ["k=2", "M=3"]):
        values: dict[str, Any] = {"output_dir": str(tmp_path), "use_cpu": True, "loss_parameters": given}
        [args] = HfArgumentParser(SquareLossTrainingArguments).parse_dict(values)  # type: ignore[arg-type]
        assert args.make_loss() == SquareLoss(k=2.0, M=3.0)
        assert json.loads(args.to_json_string())["loss_parameters"] == ["k=2", "M=3"]


def test_class_weights_may_be_a_json_list(tmp_path: Path) -> None:
    args = SquareLossTrainingArguments(output_dir=str(tmp_path), use_cpu=True, class_weights=[1, 3])  # type: ignore
    assert args.make_loss().class_weights == (1.0, 3.0)
