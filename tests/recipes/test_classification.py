"""Labels, metrics and answers are the same whatever the inputs are, and follow the model's classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from tiny_models import arguments
from transformers import BertConfig, EvalPrediction

from hf_squareloss import SquareLossTrainer, attach_loss, detach_loss, make_loss
from hf_squareloss.recipes.classification import (
    ClassificationData,
    balanced_class_weights,
    class_answers,
    class_columns,
    class_counts,
    classes_without_examples,
    classification_data,
    classification_metrics,
    compute_metrics,
    fit_to_model,
    name_classes,
    show_labels,
    with_label_order,
)

COLUMNS = {"image": "picture", "label": "kind"}


def pictures(labels: list[Any], **more: list[Any]) -> Dataset:
    """Rows with an input that is no text."""
    return Dataset.from_dict({"picture": [[0, i] for i in range(len(labels))], "kind": labels, **more})


def letters(labels: str = "xyz", **hidden: int) -> ClassificationData:
    splits = {"train": pictures(list(labels))}
    splits |= {name: pictures([0] * count).remove_columns("kind") for name, count in hidden.items()}
    return classification_data(splits, COLUMNS)


def labels_of(data: ClassificationData, split: str = "train") -> list[Any]:
    return list(data.splits[split]["label"])


# ---- labels ---------------------------------------------------------------------------------------------------------
def test_inputs_of_any_kind_are_renamed_and_kept() -> None:
    data = classification_data({"train": pictures(["b", "a"], other=[1, 2])}, COLUMNS)
    assert data.splits["train"].to_dict() == {"image": [[0, 0], [0, 1]], "label": [1, 0]}
    assert (data.label_names, data.num_labels, data.metrics) == (["a", "b"], 2, ("accuracy", "f1"))
    assert classification_data({"train": pictures(["b", "a"])}, COLUMNS, ("accuracy",)).metrics == ("accuracy",)


def test_classes_of_the_features_and_real_values() -> None:
    features = Features({"picture": Value("string"), "kind": ClassLabel(names=["z", "a"])})
    named = Dataset.from_dict({"picture": ["p", "q"], "kind": [0, 1]}, features=features)
    assert classification_data({"train": named}, COLUMNS).label_names == ["z", "a"]
    values = classification_data({"train": pictures([0.5, 1.5, -2.0])}, COLUMNS)
    assert (values.label_names, values.num_labels, values.metrics) == (None, 1, ("pearson", "spearmanr", "mse"))


@pytest.mark.parametrize("hidden", [[-1, -1], [None, None], ["", ""]])
def test_hidden_labels_are_those_of_a_test_split(hidden: list[Any]) -> None:
    train = pictures(["a", "b"])
    data = classification_data({"train": train, "test": pictures(hidden)}, COLUMNS)
    assert data.splits["test"].column_names == ["image"]
    with pytest.raises(ValueError, match="validation split has"):
        classification_data({"train": train, "validation": pictures(hidden)}, COLUMNS)


def test_what_does_not_fit_is_refused() -> None:
    train = pictures(["a", "b"])
    for splits, message in (
        ({}, "none of the splits"),
        ({"train": train.select([])}, "train split is empty"),
        ({"train": train.remove_columns("picture")}, "train split has no column 'picture'; it has kind"),
        ({"train": train, "validation": pictures(["c"])}, "validation split has labels .* c; known are a, b"),
        ({"train": pictures([0.0, 1.0])}, "integers or words"),
    ):
        with pytest.raises(ValueError, match=message):
            classification_data(splits, COLUMNS)


# ---- classes of data and model --------------------------------------------------------------------------------------
def test_label_order_follows_a_model() -> None:
    data = letters("xyz", test=1)
    there = with_label_order(data, ["z", "x", "y"])
    assert there.label_names == ["z", "x", "y"]
    assert labels_of(data) == [0, 1, 2] and labels_of(there) == [1, 2, 0]
    assert there.splits["train"]["image"][:] == data.splits["train"]["image"][:]
    assert there.splits["test"].column_names == ["image"]
    assert with_label_order(data, ["z", "x", "other", "y"]).num_labels == 4  # a small file may lack a class
    for unrelated in (["x", "y", "z"], ["LABEL_0", "LABEL_1", "LABEL_2"], ["x", "y"]):
        assert with_label_order(data, unrelated) is data


def test_label_order_leaves_real_values_alone() -> None:
    data = classification_data({"train": pictures([1.5, 2.5])}, COLUMNS)
    assert with_label_order(data, ["LABEL_0"]) is data


def test_data_without_labels_take_the_model_s_classes() -> None:
    hidden = classification_data({"test": pictures([0]).remove_columns("kind")}, COLUMNS)
    config = BertConfig(id2label={0: "no", 1: "yes", 2: "maybe"})
    assert fit_to_model(hidden, config).label_names == ["no", "yes", "maybe"]
    one = BertConfig()
    one.num_labels = 1
    assert fit_to_model(hidden, one).label_names is None
    assert labels_of(fit_to_model(letters("xY"), BertConfig(id2label={0: "y", 1: "X"}))) == [1, 0]
    with pytest.raises(ValueError, match="all labels are 'x'"):
        fit_to_model(letters("xx"), config)


def test_the_classes_are_in_the_config() -> None:
    config = BertConfig()
    name_classes(config, letters("xyz"))
    assert (config.num_labels, config.id2label) == (3, {0: "x", 1: "y", 2: "z"})
    assert config.label2id == {"x": 0, "y": 1, "z": 2}
    name_classes(config, classification_data({"train": pictures([1.5, 2.5])}, COLUMNS))
    assert config.num_labels == 1


def test_balanced_class_weights() -> None:
    labels = [0, 0, 0, 1, 2, 2]
    weights = balanced_class_weights([3, 1, 2])
    assert weights == pytest.approx([6 / 9, 6 / 3, 6 / 6])
    assert sum(weights[label] for label in labels) / len(labels) == pytest.approx(1.0)
    assert len({round(weights[c] * labels.count(c), 9) for c in range(3)}) == 1
    with pytest.raises(ValueError, match="class 3 has none"):
        balanced_class_weights([3, 1, 2, 0])


# ---- results --------------------------------------------------------------------------------------------------------
SCORES = np.array([[0.5, 0.25, 0.25], [0.5, 0.0, 0.5 + 1e-3], [0.0, 1.0, 0.0]], dtype=np.float32)


def test_metrics_and_calibration_of_classes() -> None:
    found = classification_metrics(torch.from_numpy(SCORES), [0, 1, 1], letters(), make_loss("cross_entropy"))
    assert found["accuracy"] == pytest.approx(2 / 3)
    shares = np.exp(SCORES) / np.exp(SCORES).sum(1, keepdims=True)
    assert found["nll"] == pytest.approx(-np.log([shares[0, 0], shares[1, 1], shares[2, 1]]).mean(), rel=1e-5)
    assert found["brier"] == pytest.approx(((shares - np.eye(3)[[0, 1, 1]]) ** 2).sum(1).mean(), rel=1e-5)


def test_metrics_of_real_values_have_no_calibration() -> None:
    data = ClassificationData({}, None, ("mse",))
    found = classification_metrics(np.array([[1.0], [3.0]]), [1.0, 1.0], data, make_loss("square"))
    assert found == {"mse": 2.0}


@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_a_trainer_s_metrics_go_through_its_loss(loss: str, tmp_path: Path) -> None:
    trainer = SquareLossTrainer(attached(loss), arguments(tmp_path))
    expected = classification_metrics(SCORES, [0, 1, 1], letters(), make_loss(loss))
    every: tuple[Any, ...] = (SCORES, (SCORES, np.zeros(3)))  # a model may return more than its scores
    for predictions in every:
        prediction = EvalPrediction(predictions, np.array([0, 1, 1]))
        assert compute_metrics(prediction, data=letters(), trainer=trainer) == expected


def attached(loss: str) -> Any:
    from transformers import BertForSequenceClassification

    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}
    model = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=8, id2label=dict(enumerate("xyz"))))
    attach_loss(model, make_loss(loss))
    return model


def test_a_predictions_file_has_the_probability_of_every_class(tmp_path: Path) -> None:
    trainer = SquareLossTrainer(attached("square"), arguments(tmp_path))
    found = class_columns(SCORES, data=letters(), trainer=trainer)
    assert list(found) == ["prediction", "p(x)", "p(y)", "p(z)"] and found["prediction"] == ["x", "z", "y"]
    p = trainer.loss.probabilities(torch.from_numpy(np.asarray(SCORES)).float())
    for column, name in enumerate("xyz"):
        assert found[f"p({name})"] == [f"{value:.6f}" for value in p[:, column].tolist()]
    values = class_columns(np.array([[0.5]]), data=ClassificationData({}, None), trainer=trainer)
    assert values == {"prediction": ["0.5"]}


def test_answers_are_class_names_or_values(tmp_path: Path) -> None:
    trainer = SquareLossTrainer(attached("square"), arguments(tmp_path))
    assert class_answers(SCORES, data=letters(), trainer=trainer) == ["x", "z", "y"]
    assert class_answers((SCORES, np.zeros(3)), data=letters(), trainer=trainer) == ["x", "z", "y"]
    values = ClassificationData({}, None)
    assert class_answers(np.array([[1 / 3], [2.0]]), data=values, trainer=trainer) == ["0.333333", "2"]


# ---- several classes at once ----------------------------------------------------------------------------------------
def several(*rows: str, **options: Any) -> ClassificationData:
    return classification_data({"train": pictures(list(rows))}, COLUMNS, label_separator="|", **options)


def test_several_classes_at_once() -> None:
    data = several("b|a", "", "c")
    assert (data.label_names, data.multi_label, data.label_separator) == (["a", "b", "c"], True, "|")
    assert labels_of(data) == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert data.splits["train"].features["label"] == List(Value("float32"))
    assert data.metrics == ("f1_micro", "f1_macro", "subset_accuracy")
    columns = {"image": "picture", "label": "x,y"}
    rows = pictures([0, 0], x=["0", "1"], y=["1", "1"])
    two = classification_data({"train": rows, "test": rows.remove_columns(["x", "y"])}, columns)
    assert two.label_names == ["x", "y"] and labels_of(two) == [[0, 1], [1, 1]]
    assert two.splits["test"].column_names == ["image"]
    with pytest.raises(ValueError, match="train split has no column 'z'"):
        classification_data({"train": rows}, {"image": "picture", "label": "x,z"})


def test_several_classes_follow_a_model() -> None:
    turned = with_label_order(several("b|a", "c"), ["C", "d", "B", "A"])
    assert labels_of(turned) == [[0, 0, 1, 1], [1, 0, 0, 0]] and turned.multi_label
    config = BertConfig()
    name_classes(config, turned)
    assert (config.num_labels, config.problem_type) == (4, "multi_label_classification")
    hidden = classification_data({"test": pictures([0]).remove_columns("kind")}, COLUMNS)
    found = fit_to_model(hidden, config)
    assert (found.multi_label, found.label_names, found.metrics[0]) == (True, ["C", "d", "B", "A"], "f1_micro")
    with pytest.raises(ValueError, match="--label_separator"):
        fit_to_model(letters("xy"), config)
    assert not fit_to_model(letters("xy"), config, train=True).multi_label  # it learns one class an item now
    assert config.problem_type == "single_label_classification"


def test_metrics_and_answers_of_several_classes(tmp_path: Path) -> None:
    """A class is chosen where the loss's own probability is at least one half: for the square loss, above M / 2."""
    data = several("a|b", "c", "a")
    loss = make_loss("square", k=1.0, M=4.0, multi_label=True)
    scores = np.array([[2.1, 3.0, 0.0], [1.9, 0.0, 5.0], [0.0, 0.0, -1.0]], dtype=np.float32)
    truth = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    found = classification_metrics(scores, truth, data, loss)
    chosen = {name: found[name] for name in ("f1_micro", "f1_macro", "subset_accuracy")}
    assert chosen == pytest.approx({"f1_micro": 6 / 7, "f1_macro": (2 / 3 + 1 + 1) / 3, "subset_accuracy": 2 / 3})
    p = loss.probabilities(torch.from_numpy(scores)).numpy()
    assert found["brier"] == pytest.approx(2 * ((p - truth) ** 2).mean(), rel=1e-5)
    assert found["nll"] == pytest.approx(-np.log(np.where(truth == 1, p, 1 - p)).mean(), rel=1e-5)
    assert 0 < found["ece"] < 1
    model = attached("square")
    model.config.problem_type = "multi_label_classification"
    detach_loss(model)
    trainer = SquareLossTrainer(model, arguments(tmp_path), loss=loss)
    assert class_answers(scores, data=data, trainer=trainer) == ["a|b", "c", ""]


def test_examples_of_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    data = with_label_order(letters("xxz"), ["x", "y", "z"])
    assert class_counts(data) == [2, 0, 1] and classes_without_examples(data) == ["y"]
    assert class_counts(several("a|b", "b", "")) == [1, 2]
    show_labels(data)
    assert capsys.readouterr().out == "1 of 3 classes have no training example, so they cannot be learnt: y\n"
    show_labels(letters("xyz"))
    assert capsys.readouterr().out == ""
    show_labels(classification_data({"train": pictures([1.5, 2.5])}, COLUMNS))
    assert "a regression" in capsys.readouterr().out
