"""Classes and real values, whatever the inputs are: labels, the model's head, metrics with calibration, answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_squareloss.inference import calibration_metrics
from hf_squareloss.losses import Loss
from hf_squareloss.recipes.metrics import ClassificationMetric

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import EvalPrediction

    from hf_squareloss.training import SquareLossTrainer


@dataclass(frozen=True)
class ClassificationData:
    """Splits of one task with a column label beside the inputs, and what the labels mean.

    Attributes:
        splits: train, validation, test; MNLI's second validation and test sets are validation_mm and test_mm. Without
            a label column where the labels are hidden.
        label_names: one name per class in the order of the indices; None for real values (regression); empty where no
            split has labels.
        metrics: names for `ClassificationMetric`.
    """

    splits: dict[str, Dataset]
    label_names: list[str] | None
    metrics: tuple[str, ...] = ("accuracy", "f1")

    @property
    def num_labels(self) -> int:
        return 1 if self.label_names is None else len(self.label_names)


# ---- labels ---------------------------------------------------------------------------------------------------------
def classification_data(
    splits: Mapping[str, Dataset], columns: Mapping[str, str], metrics: tuple[str, ...] | None = None
) -> ClassificationData:
    """Splits with the columns renamed and the labels as class indices, or float32 for real values.

    Args:
        columns: our column name -> its name there, for the inputs and `label`; other columns are dropped.
        metrics: default: accuracy and F1 for classes; both correlations and the mean squared error for real values.

    Classes are those of the features or else of the training labels, in their order. The labels of a test split may be
    missing or hidden: all of them -1 or empty.

    Raises:
        ValueError: no split, an empty one, a missing column, an empty label, a label that training does not have,
            floating labels that look like classes.
    """
    if not splits:
        raise ValueError("the data has none of the splits train, validation and test")
    renamed = {name: _renamed(name, split, columns) for name, split in splits.items()}
    names, regression = _label_names(renamed)
    made = {name: _with_labels(name, split, names, regression) for name, split in renamed.items()}
    default = ("pearson", "spearmanr", "mse") if regression else ("accuracy", "f1")
    return ClassificationData(made, None if regression else names, metrics or default)


def _renamed(name: str, split: Dataset, columns: Mapping[str, str]) -> Dataset:
    if len(split) == 0:
        raise ValueError(f"the {name} split is empty")
    present = {ours: theirs for ours, theirs in columns.items() if theirs in split.column_names}
    for ours, theirs in columns.items():
        if ours not in present and not (ours == "label" and name.startswith("test")):
            raise ValueError(f"the {name} split has no column {theirs!r}; it has {', '.join(split.column_names)}")
    split = split.select_columns(list(present.values())).rename_columns(
        {theirs: ours for ours, theirs in present.items() if ours != theirs}
    )
    if "label" in present:
        labels = split["label"][:]
        # A hidden label is -1 in GLUE's test sets, and nothing in other people's.
        if name.startswith("test") and set(labels) in ({-1}, {""}, {None}):
            return split.remove_columns("label")
        if any(label is None or label == "" for label in labels):
            raise ValueError(f"the {name} split has an empty label")
    return split


def _label_names(splits: Mapping[str, Dataset]) -> tuple[list[str], bool]:
    """The classes, from the features or else from the training (or the first known) labels, and: are they values?"""
    from datasets import ClassLabel

    labelled = [split for split in splits.values() if "label" in split.column_names]
    if not labelled:
        return [], False
    first = splits["train"] if "train" in splits else labelled[0]
    feature = first.features["label"]
    if isinstance(feature, ClassLabel):
        return list(feature.names), False
    values = set(first["label"][:])
    if all(isinstance(v, float) for v in values):
        if all(v.is_integer() for v in values) and len(values) <= 2:
            raise ValueError(f"the labels {sorted(values)} are floating: write classes as integers or words")
        return [], True
    # Numbers in their order, 10 after 9.
    return [str(v) for v in sorted(values, key=lambda v: (isinstance(v, str), v))], False


def _with_labels(name: str, split: Dataset, label_names: list[str], regression: bool) -> Dataset:
    from datasets import ClassLabel, Value

    if "label" not in split.column_names:
        return split
    labels = set(split["label"][:])
    if regression:
        words = sorted(v for v in labels if isinstance(v, str))
        if words:
            raise ValueError(f"the training labels are real values, but the {name} split has {', '.join(words[:5])}")
        return split.cast_column("label", Value("float32"))
    if isinstance(split.features["label"], ClassLabel):
        if not labels <= set(range(len(label_names))):
            raise ValueError(f"the {name} split has labels outside 0 to {len(label_names) - 1}: {min(labels)}")
        return split
    index = {label: i for i, label in enumerate(label_names)}
    unknown = sorted({str(v) for v in labels} - index.keys())
    if unknown:
        raise ValueError(
            f"the {name} split has labels that the training labels do not have: {', '.join(unknown[:5])}; "
            f"known are {', '.join(label_names[:10])}"
        )
    return _replace_labels(split, [index[str(v)] for v in split["label"][:]])


def _replace_labels(split: Dataset, labels: list[int]) -> Dataset:
    return split.remove_columns("label").add_column("label", labels)  # type: ignore[call-arg]


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
    to_index = [folded.index(label.casefold()) for label in data.label_names]
    splits = {
        name: _replace_labels(split, [to_index[i] for i in split["label"][:]])
        if "label" in split.column_names
        else split
        for name, split in data.splits.items()
    }
    return ClassificationData(splits, names, data.metrics)


def fit_to_model(data: ClassificationData, config: Any) -> ClassificationData:
    """`data` with class indices in the order of the model's classes; the model's, where no split has labels.

    Raises:
        ValueError: all labels are the same.
    """
    classes = list((config.id2label or {}).values())
    if data.label_names == []:
        names = classes if len(classes) > 1 else None
        data = ClassificationData(data.splits, names, data.metrics)
    data = with_label_order(data, classes)
    if data.label_names is not None and data.num_labels == 1:
        raise ValueError(f"all labels are {data.label_names[0]!r}: there is nothing to tell apart")
    return data


def name_classes(config: Any, data: ClassificationData) -> None:
    """Give a config the number of the classes and their names."""
    config.num_labels = data.num_labels
    if data.label_names is not None:
        config.id2label = dict(enumerate(data.label_names))
        config.label2id = {label: i for i, label in enumerate(data.label_names)}


def balanced_class_weights(labels: list[int], num_classes: int) -> list[float]:
    """w_c = n / (C n_c): every class weighs the same in all, and the mean weight of an item is 1.

    Raises:
        ValueError: a class without examples.
    """
    counts = Counter(labels)
    missing = [c for c in range(num_classes) if not counts[c]]
    if missing:
        raise ValueError(f"balanced class weights need an example of every class; class {missing[0]} has none")
    return [len(labels) / (num_classes * counts[c]) for c in range(num_classes)]


# ---- results --------------------------------------------------------------------------------------------------------
def classification_metrics(scores: Any, labels: Any, data: ClassificationData, loss: Loss) -> dict[str, float]:
    """The metrics of `data`, and for classes the calibration of the loss's own probabilities.

    Args:
        scores: (N, num_labels).
        labels: (N,), class indices or real values.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    metric = ClassificationMetric(data.metrics, data.num_labels)
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


def class_answers(predictions: Any, *, data: ClassificationData) -> list[str]:
    """One class name or value per row of a Trainer's predictions."""
    scores = first_scores(predictions)
    if data.label_names is None:
        return [f"{value:.6g}" for value in np.squeeze(scores, -1)]
    return [data.label_names[i] for i in scores.argmax(-1)]


def class_columns(
    predictions: Any, *, data: ClassificationData, trainer: SquareLossTrainer
) -> dict[str, Sequence[object]]:
    """Columns of a predictions file: `class_answers`, and p(NAME), the loss's own probability of each class."""
    columns: dict[str, Sequence[object]] = {"prediction": class_answers(predictions, data=data)}
    if data.label_names is None:
        return columns
    p = trainer.loss.probabilities(torch.from_numpy(first_scores(predictions)).float())
    rounded = ([f"{value:.6f}" for value in column] for column in p.T.tolist())
    return columns | {f"p({name})": values for name, values in zip(data.label_names, rounded, strict=True)}


def first_scores(predictions: Any) -> np.ndarray:
    """The scores among a Trainer's predictions: the first, where a model returns more."""
    return predictions[0] if isinstance(predictions, tuple) else predictions
