"""Labels, metrics and answers are the same whatever the inputs are, and follow the model's classes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from tiny_models import arguments
from transformers import BertConfig, EvalPrediction

from hf_squareloss import SquareLoss, SquareLossTrainer, attach_loss, make_loss
from hf_squareloss.recipes.classification import (
    ClassificationData,
    balanced_class_weights,
    class_answers,
    class_columns,
    classification_data,
    classification_metrics,
    compute_metrics,
    fit_to_model,
    name_classes,
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
    weights = balanced_class_weights(labels, 3)
    assert weights == pytest.approx([6 / 9, 6 / 3, 6 / 6])
    assert sum(weights[label] for label in labels) / len(labels) == pytest.approx(1.0)
    assert len({round(weights[c] * labels.count(c), 9) for c in range(3)}) == 1
    with pytest.raises(ValueError, match="class 3 has none"):
        balanced_class_weights(labels, 4)


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


def test_a_predictions_file_has_the_probability_of_every_class() -> None:
    trainer: Any = SimpleNamespace(loss=SquareLoss(k=1.0, M=1.0))
    found = class_columns(SCORES, data=letters(), trainer=trainer)
    assert list(found) == ["prediction", "p(x)", "p(y)", "p(z)"] and found["prediction"] == ["x", "z", "y"]
    p = trainer.loss.probabilities(torch.from_numpy(np.asarray(SCORES)).float())
    for column, name in enumerate("xyz"):
        assert found[f"p({name})"] == [f"{value:.6f}" for value in p[:, column].tolist()]
    values = class_columns(np.array([[0.5]]), data=ClassificationData({}, None), trainer=trainer)
    assert values == {"prediction": ["0.5"]}


def test_answers_are_class_names_or_values() -> None:
    assert class_answers(SCORES, data=letters()) == ["x", "z", "y"]
    assert class_answers((SCORES, np.zeros(3)), data=letters()) == ["x", "z", "y"]
    assert class_answers(np.array([[1 / 3], [2.0]]), data=ClassificationData({}, None)) == ["0.333333", "2"]
