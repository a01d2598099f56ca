"""Classes and real values, whatever the inputs are: labels, the model's head, metrics with calibration, answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_squareloss.config import KEY
from hf_squareloss.inference import calibration_metrics, multi_label_calibration_metrics
from hf_squareloss.losses import Loss
from hf_squareloss.recipes.labels import feature_names, label_columns, label_texts, meaning_of
from hf_squareloss.recipes.metrics import ClassificationMetric

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import EvalPrediction

    from hf_squareloss.training import SquareLossTrainer


_METRICS = {
    "classes": ("accuracy", "f1"),
    "several": ("f1_micro", "f1_macro", "subset_accuracy"),
    "values": ("pearson", "spearmanr", "mse"),
}


@dataclass(frozen=True)
class ClassificationData:
    """Splits of one task with a column label beside the inputs, and what the labels mean.

    Attributes:
        splits: train, validation, test; MNLI's second validation and test sets are validation_mm and test_mm. Without
            a label column where the labels are hidden.
        label_names: one name per class in the order of the indices; None for real values (regression); empty where no
            split has labels.
        metrics: names for `ClassificationMetric`.
        multi_label: an item has any number of the classes: its label is (num_labels,) of 0.0 or 1.0.
        label_separator: stands between the classes of one item in answers.
    """

    splits: dict[str, Dataset]
    label_names: list[str] | None
    metrics: tuple[str, ...] = ("accuracy", "f1")
    multi_label: bool = False
    label_separator: str = ","

    @property
    def num_labels(self) -> int:
        return 1 if self.label_names is None else len(self.label_names)


# ---- labels ---------------------------------------------------------------------------------------------------------
def classification_data(
    splits: Mapping[str, Dataset],
    columns: Mapping[str, str],
    metrics: tuple[str, ...] | None = None,
    *,
    label_type: str = "auto",
    label_separator: str | None = None,
) -> ClassificationData:
    """Splits with the columns renamed and the labels as class indices, lists of 0 and 1, or float32 real values.

    Args:
        columns: our column name -> its name there, for the inputs and `label`; other columns are dropped. `label` may
            name several columns of 0 or 1, with commas between: one per class.
        metrics: default: accuracy and F1 for classes; micro and macro F1 and subset accuracy for several classes at
            once; both correlations and the mean squared error for real values.
        label_type: "auto" for the rule of `meaning_of`, or "classes" or "values".
        label_separator: what stands between the classes of one label; every label is a list then.

    Classes are those of the features or else of the training labels. The labels of a test split may be missing or
    hidden: all of them -1 or empty.

    Raises:
        ValueError: no split, an empty one, a missing column, an empty label, a label that training does not have,
            labels that could be classes or values.
    """
    if not splits:
        raise ValueError("the data has none of the splits train, validation and test")
    inputs = {name: _renamed(name, split, columns) for name, split in splits.items()}
    texts, known = {}, {}
    for name, split in splits.items():
        there = label_columns(columns["label"], split.column_names)
        if set(there) <= set(split.column_names):
            labels = label_texts(split, there, name, label_separator)
            if labels is not None:
                texts[name], known[name] = labels, feature_names(split, there)
    if not texts:
        return ClassificationData(inputs, [], metrics or ("accuracy", "f1"))
    first = "train" if "train" in texts else next(iter(texts))
    meaning = meaning_of(texts[first], known[first], label_type)
    default = _METRICS["values" if meaning.names is None else "several" if meaning.multi_label else "classes"]
    return ClassificationData(
        {
            name: _with_labels(split, meaning.encode(texts[name], name)) if name in texts else split
            for name, split in inputs.items()
        },
        meaning.names,
        metrics or default,
        meaning.multi_label,
        label_separator or ",",
    )


def _renamed(name: str, split: Dataset, columns: Mapping[str, str]) -> Dataset:
    """The inputs under our names."""
    if len(split) == 0:
        raise ValueError(f"the {name} split is empty")
    for ours, theirs in columns.items():
        wanted = label_columns(theirs, split.column_names) if ours == "label" else [theirs]
        missing = [column for column in wanted if column not in split.column_names]
        if missing and not (ours == "label" and name.startswith("test")):
            raise ValueError(f"the {name} split has no column {missing[0]!r}; it has {', '.join(split.column_names)}")
    to_ours = {theirs: ours for ours, theirs in columns.items() if ours != "label"}
    split = split.select_columns(list(to_ours))
    return split.rename_columns({theirs: ours for theirs, ours in to_ours.items() if ours != theirs})


def _with_labels(split: Dataset, labels: list[Any]) -> Dataset:
    from datasets import List, Value

    first, feature = labels[0], Value("int64")
    if isinstance(first, list):
        feature = List(Value("float32"))
    elif isinstance(first, float):
        feature = Value("float32")
    if "label" in split.column_names:
        split = split.remove_columns("label")
    return split.add_column("label", labels, feature=feature)  # type: ignore[call-arg,arg-type]


# ---- classes of data and model --------------------------------------------------------------------------------------
def with_label_order(data: ClassificationData, names: list[str]) -> ClassificationData:
    """`data` with class indices in the order of `names` where all its labels are among these.

    A model that was trained elsewhere may count its classes differently, and a small file may lack some of them.
    """
    if data.label_names is None or data.label_names == names:
        return data
    folded = [name.casefold() for name in names]  # "ENTAILMENT" is "entailment"
    if len(set(folded)) < len(names) or not {label.casefold() for label in data.label_names} <= set(folded):
        return data
    if len({label.casefold() for label in data.label_names}) < data.num_labels:  # "Yes" and "yes" would become one
        return data
    to_index = [folded.index(label.casefold()) for label in data.label_names]

    def moved(label: Any) -> Any:
        if not data.multi_label:
            return to_index[label]
        values = dict(zip(to_index, label, strict=True))
        return [values.get(i, 0.0) for i in range(len(names))]

    splits = {
        name: _with_labels(split, [moved(label) for label in split["label"][:]])
        if "label" in split.column_names
        else split
        for name, split in data.splits.items()
    }
    return replace(data, splits=splits, label_names=names)


def fit_to_model(data: ClassificationData, config: Any, *, train: bool = False) -> ClassificationData:
    """`data` with class indices in the order of the model's classes; the model's, where no split has labels.

    Args:
        train: whether the model is about to be trained, for one class an item where it gave several before.

    Raises:
        ValueError: all labels are the same, or a model of several classes at once gets labels of one.
    """
    classes = list((config.id2label or {}).values())
    several = config.problem_type == "multi_label_classification" or bool(
        (config.to_dict().get(KEY) or {}).get("multi_label")
    )
    if data.label_names == []:
        names = classes if len(classes) > 1 or several else None
        data = replace(data, label_names=names, multi_label=several)
        if several:
            data = replace(data, metrics=_METRICS["several"])
    if several and not data.multi_label:
        if not train:
            raise ValueError("the model gives an item several classes, the data one: say --label_separator")
        config.problem_type = "single_label_classification"
    data = with_label_order(data, classes)
    if data.label_names is not None and data.num_labels == 1:
        raise ValueError(f"all labels are {data.label_names[0]!r}: there is nothing to tell apart")
    return data


def name_classes(config: Any, data: ClassificationData) -> None:
    """Give a config the number of the classes and their names, and that an item may have several of them."""
    config.num_labels = data.num_labels
    if data.multi_label:
        config.problem_type = "multi_label_classification"
    if data.label_names is not None:
        config.id2label = dict(enumerate(data.label_names))
        config.label2id = {label: i for i, label in enumerate(data.label_names)}


def class_counts(data: ClassificationData) -> list[int]:
    """How many training examples each class has."""
    labels = data.splits["train"]["label"][:]
    if data.multi_label:
        return np.asarray(labels).sum(0).astype(int).tolist()
    return np.bincount(labels, minlength=data.num_labels).tolist()


def classes_without_examples(data: ClassificationData) -> list[str]:
    """The names of the classes that no training example has: they cannot be learnt."""
    if data.label_names is None:
        return []
    return [name for name, count in zip(data.label_names, class_counts(data), strict=True) if not count]


def show_labels(data: ClassificationData) -> None:
    """Print what a reader of the training labels should know: that they are values, or the classes without any."""
    if data.label_names is None:
        print("The labels are real values: a regression")  # noqa: T201
    missing = classes_without_examples(data)
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        print(  # noqa: T201
            f"{len(missing)} of {data.num_labels} classes have no training example, so they cannot be learnt: "
            f"{', '.join(missing[:10])}{more}"
        )


def balanced_class_weights(counts: Sequence[int]) -> list[float]:
    """w_c = n / (C n_c): every class weighs the same in all, and the mean weight of a label is 1.

    Args:
        counts: (C,) labels of each class, as `class_counts` gives them; n is their sum.

    Raises:
        ValueError: a class without examples.
    """
    missing = [c for c, count in enumerate(counts) if not count]
    if missing:
        raise ValueError(f"balanced class weights need an example of every class; class {missing[0]} has none")
    return [sum(counts) / (len(counts) * count) for count in counts]


# ---- results --------------------------------------------------------------------------------------------------------
def classification_metrics(scores: Any, labels: Any, data: ClassificationData, loss: Loss) -> dict[str, float]:
    """The metrics of `data`, and for classes the calibration of the loss's own probabilities.

    Args:
        scores: (N, num_labels).
        labels: (N,), class indices or real values, or (N, num_labels) of 0 or 1.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    metric = ClassificationMetric(data.metrics, data.num_labels)
    if data.multi_label:
        found = metric.compute(predictions=_chosen_classes(scores, loss), references=labels.astype(int))
        probabilities = loss.probabilities(torch.from_numpy(scores))
        return dict(found or {}) | multi_label_calibration_metrics(probabilities, torch.from_numpy(labels))
    if data.label_names is None:
        return dict(metric.compute(predictions=np.squeeze(scores, -1), references=labels) or {})
    found = metric.compute(predictions=scores.argmax(-1), references=labels)
    probabilities = loss.probabilities(torch.from_numpy(scores))
    return dict(found or {}) | calibration_metrics(probabilities, torch.from_numpy(labels))


def compute_metrics(
    prediction: EvalPrediction, *, data: ClassificationData, trainer: SquareLossTrainer
) -> dict[str, float]:
    """`classification_metrics` as a Trainer calls it, with the loss that it uses."""
    scores = first_scores(prediction.predictions)
    return classification_metrics(scores, prediction.label_ids, data, trainer.loss)


def class_answers(predictions: Any, *, data: ClassificationData, trainer: SquareLossTrainer) -> list[str]:
    """One class name, or value, or names with the data's separator between, per row of a Trainer's predictions."""
    return answers_of(first_scores(predictions), data, trainer.loss)


def class_columns(
    predictions: Any, *, data: ClassificationData, trainer: SquareLossTrainer
) -> dict[str, Sequence[object]]:
    """`columns_of` a Trainer's predictions."""
    return columns_of(first_scores(predictions), data, trainer.loss)


def answers_of(scores: np.ndarray, data: ClassificationData, loss: Loss) -> list[str]:
    """One class name, or value, or names with the data's separator between, per row of scores (N, num_labels)."""
    if data.multi_label:
        names = np.asarray(data.label_names)
        return [data.label_separator.join(names[row]) for row in _chosen_classes(scores, loss).astype(bool)]
    if data.label_names is None:
        return [f"{value:.6g}" for value in np.squeeze(scores, -1)]
    return [data.label_names[i] for i in scores.argmax(-1)]


def columns_of(scores: np.ndarray, data: ClassificationData, loss: Loss) -> dict[str, Sequence[object]]:
    """Columns of a predictions file: `answers_of`, and p(NAME), the loss's own probability of each class."""
    columns: dict[str, Sequence[object]] = {"prediction": answers_of(scores, data, loss)}
    if data.label_names is None:
        return columns
    p = loss.probabilities(torch.from_numpy(scores).float())
    rounded = ([f"{value:.6f}" for value in column] for column in p.T.tolist())
    return columns | {f"p({name})": values for name, values in zip(data.label_names, rounded, strict=True)}


def first_scores(predictions: Any) -> np.ndarray:
    """The scores among a Trainer's predictions: the first, where a model returns more."""
    return predictions[0] if isinstance(predictions, tuple) else predictions


def _chosen_classes(scores: np.ndarray, loss: Loss) -> np.ndarray:
    """(N, C) of 0 or 1: the classes with a probability of at least one half."""
    return (loss.probabilities(torch.from_numpy(scores)) >= 0.5).int().numpy()
