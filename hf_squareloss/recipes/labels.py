"""What labels mean: classes, several classes at once, or real values; by one rule, wherever they come from."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.tables import literal

if TYPE_CHECKING:
    from datasets import Dataset

LABEL_TYPES = ("auto", "classes", "values")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NO, _YES = frozenset({"0", "0.0", "false"}), frozenset({"1", "1.0", "true"})
_HIDDEN = ("-1", "-1.0", "", None)  # GLUE's test sets have -1, other people's nothing


@dataclass(frozen=True)
class LabelMeaning:
    """How labels as text become numbers.

    Attributes:
        names: one name per class in the order of the indices; None for real values.
        multi_label: a label is a list of classes.
        indicators: the entry c of such a list is 0 or 1, whether class c belongs to it, and not a name.
    """

    names: list[str] | None
    multi_label: bool = False
    indicators: bool = False

    def encode(self, labels: Sequence[Any], name: str) -> list[Any]:
        """Labels of the split `name`: class indices (N,), 0.0 or 1.0 (N, C) if `multi_label`, or real values (N,).

        Raises:
            ValueError: a label that is empty, no number, or no class of `names`; with the split and the row.
        """
        if self.names is None:
            return [self._value(label, row, name) for row, label in enumerate(labels, 1)]
        if self.multi_label != any(isinstance(label, list) for label in labels):
            one, several = "one class", "a list of classes"
            there, here = (several, one) if self.multi_label else (one, several)
            raise ValueError(f"the training labels are {there} each, but those of the {name} split {here}")
        if self.indicators:
            return [self._from_indicators(label, row, name) for row, label in enumerate(labels, 1)]
        index = {known: i for i, known in enumerate(self.names)}
        unknown = sorted(
            {entry for label in labels for entry in (label if self.multi_label else [label])} - index.keys()
        )
        if unknown:
            raise ValueError(
                f"the {name} split has labels that the training labels do not have: {', '.join(unknown[:5])}; "
                f"known are {', '.join(self.names[:10])}"
            )
        if not self.multi_label:
            return [index[label] for label in labels]
        chosen = [{index[entry] for entry in label} for label in labels]
        return [[float(c in classes) for c in range(len(index))] for classes in chosen]

    def _value(self, label: Any, row: int, name: str) -> float:
        if isinstance(label, list) or not _is_number(label):
            raise ValueError(f"the labels are real values, but the {name} split has {label} in row {row}")
        return float(label)

    def _from_indicators(self, label: list[str], row: int, name: str) -> list[float]:
        if len(label) != len(self.names or ()) or not set(label) <= _NO | _YES:
            raise ValueError(
                f"the training labels are lists of {len(self.names or ())} times 0 or 1, but the {name} split has "
                f"{label} in row {row}"
            )
        return [float(entry in _YES) for entry in label]


def label_columns(column: str, available: Iterable[str]) -> list[str]:
    """The columns that `column` names: itself, or those between its commas."""
    return [column] if column in set(available) else column.split(",")


def label_texts(rows: Dataset, columns: Sequence[str], name: str, separator: str | None = None) -> list[Any] | None:
    """The labels of the split `name` as text, or lists of texts; None where a test split hides them.

    Args:
        columns: the column of the label, or several columns of 0 or 1, one per class.
        separator: what stands between the classes of one label.

    Raises:
        ValueError: an empty label, or one outside the classes of the features; with its row.
    """
    if len(columns) > 1:
        found = {column: _literals(rows, column, name) for column in columns}
        if name.startswith("test") and all(_hidden(values) for values in found.values()):
            return None
        return [_chosen(dict(zip(columns, row, strict=True)), number, name)
                for number, row in enumerate(zip(*found.values(), strict=True), 1)]  # fmt: skip
    labels = _literals(rows, columns[0], name)
    if name.startswith("test") and _hidden(labels):
        return None
    several = separator is not None or any(isinstance(label, list) for label in labels)
    for row, label in enumerate(labels, 1):
        empty = label is None or (label == "" and separator is None)
        if empty or (isinstance(label, list) and None in label):
            raise ValueError(f"the {name} split has an empty label in row {row}")
        if isinstance(label, dict | bytes) or (several and separator is None and not isinstance(label, list)):
            raise ValueError(f"the {name} split, row {row}: expected {'a list' if several else 'a label'}, got {label}")
    if separator is None:
        return labels
    return [label if isinstance(label, list) else _split(label, separator) for label in labels]


def meaning_of(labels: Sequence[Any], names: Sequence[str] | None = None, label_type: str = "auto") -> LabelMeaning:
    """What the training labels mean.

    - Lists are several classes at once: of names, or, where all have one length above 1 and only 0 and 1 in them, of
      one 0 or 1 per class.
    - Where every label is a decimal number and one is written with a point or an exponent, they are real values.
    - All others are classes: 1 and 01 are two. Whole numbers come in their order, words after them.

    Args:
        labels: as `label_texts` gives them.
        names: the classes, where they are known.
        label_type: "classes" or "values" instead of the second rule, or "auto".

    Raises:
        ValueError: labels that could be either: numbers with a fraction beside words, or at most two different whole
            numbers that are written with a point.
    """
    if any(isinstance(label, list) for label in labels):
        if label_type == "values":
            raise ValueError("label_type=values, but the labels are lists of classes")
        length = len(labels[0])
        entries = {entry for label in labels for entry in label}
        if names is None and length > 1 and entries <= _NO | _YES and all(len(label) == length for label in labels):
            return LabelMeaning([str(c) for c in range(length)], multi_label=True, indicators=True)
        return LabelMeaning(list(names or sorted(entries, key=_order)), multi_label=True)
    if label_type == "values" or (label_type == "auto" and names is None and _are_values(labels)):
        return LabelMeaning(None)
    return LabelMeaning(list(names or sorted(set(labels), key=_order)))


def feature_names(rows: Dataset, columns: Sequence[str]) -> list[str] | None:
    """The names of the classes where the data set knows them: several columns, or features of `ClassLabel`."""
    if len(columns) > 1:
        return list(columns)
    feature = _class_label(rows, columns[0])
    return None if feature is None else list(feature.names)


# ---- inside ---------------------------------------------------------------------------------------------------------
def _are_values(labels: Sequence[str]) -> bool:
    different = set(labels)
    numbers = {label for label in different if _is_number(label)}
    if numbers != different:
        fraction = next((label for label in numbers if not float(label).is_integer()), None)
        if fraction is not None:
            row = next(row for row, label in enumerate(labels, 1) if label not in numbers)
            raise ValueError(
                f"the label {fraction} is a real value, but {labels[row - 1]!r} in row {row} is no number: correct it, "
                "or make every label a class by label_type=classes"
            )
        odd = {label for label in different - numbers if _is_not_finite(label)}
        if numbers and odd == different - numbers:
            row = next(row for row, label in enumerate(labels, 1) if label in odd)
            raise ValueError(
                f"the label {labels[row - 1]!r} in row {row} is no finite number, all others are numbers: correct it, "
                "or make every label a class by label_type=classes"
            )
        return False
    if not any(set(label) & set(".eE") for label in numbers):
        return False
    if len(numbers) <= 2 and all(float(label).is_integer() for label in numbers):
        raise ValueError(
            f"the labels {sorted(numbers)} are floating: write classes as integers or words, or say "
            "label_type=classes or label_type=values"
        )
    return True


def _is_number(label: str) -> bool:
    return _NUMBER.fullmatch(label.strip()) is not None and math.isfinite(float(label))


def _is_not_finite(label: str) -> bool:
    try:
        return not math.isfinite(float(label))
    except ValueError:
        return False


def _order(label: str) -> tuple[bool, int, str]:
    whole = re.fullmatch(r"-?\d+", label) is not None
    return not whole, int(label) if whole else 0, label


def _class_label(rows: Dataset, column: str) -> Any:
    from datasets import ClassLabel, LargeList, List

    feature: Any = rows.features[column]
    inner = feature.feature if isinstance(feature, List | LargeList) else feature
    return inner if isinstance(inner, ClassLabel) else None


def _literals(rows: Dataset, column: str, name: str) -> list[Any]:
    feature, values = _class_label(rows, column), rows[column][:]
    if feature is None or (name.startswith("test") and _hidden([literal(value) for value in values])):
        return [literal(value) for value in values]

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(entry) for entry in value]
        if value is not None and not 0 <= value < len(feature.names):
            raise ValueError(f"the {name} split has labels outside 0 to {len(feature.names) - 1}: {value}")
        return None if value is None else feature.names[value]

    return [named(value) for value in values]


def _hidden(labels: Sequence[Any]) -> bool:
    return labels[0] in _HIDDEN and all(label == labels[0] for label in labels)


def _chosen(row: dict[str, Any], number: int, name: str) -> list[str]:
    """The columns of a row that say yes."""
    for column, value in row.items():
        if value not in _NO | _YES:
            raise ValueError(f"the {name} split, row {number}: {column} must be 0 or 1, got {value!r}")
    return [column for column, value in row.items() if value in _YES]


def _split(label: str, separator: str) -> list[str]:
    return [part for part in (part.strip() for part in label.split(separator)) if part]
