"""Multiple choice in one shape: splits with columns `context`, `choices` and `label`, the place of the right one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from hf_squareloss.recipes.cache import tokenized_splits
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.tables import literal, read_table, to_dataset

if TYPE_CHECKING:
    from datasets import Dataset

_HIDDEN = (None, "", "-1")


@dataclass(frozen=True)
class ChoiceColumns:
    """What the columns of a data set are called; the defaults are SWAG's.

    Attributes:
        context: what comes before every choice.
        start: how each choice begins, such as "The man"; None: `sent2`, where there is such a column.
        choices: one column with a list of the choices, or several with commas between, one for each; None: `choices`,
            or `endings`, or all of ending0, ending1, ... in their order.
        label: the place of the right choice, from 0.
    """

    context: str = "sent1"
    start: str | None = None
    choices: str | None = None
    label: str = "label"

    def of(self, available: Sequence[str]) -> tuple[str | None, list[str]]:
        """The column of the start, or None, and those of the choices."""
        start = self.start or ("sent2" if "sent2" in available else None)
        if self.choices is not None:
            return start, self.choices.split(",")
        listed = [name for name in ("choices", "endings") if name in available]
        endings = [name for name in available if re.fullmatch(r"ending\d+", name)]
        return start, listed[:1] or sorted(endings, key=lambda name: int(name[6:])) or ["ending0"]


def load_choices(files: Mapping[str, str]) -> dict[str, Dataset]:
    """Local files, one per split, as `read_table` reads them."""
    return {split: to_dataset(read_table(file, split), split) for split, file in files.items()}


def choice_data(splits: Mapping[Any, Dataset], columns: ChoiceColumns | None = None) -> ClassificationData:
    """Splits with our columns alone: `context`, `choices` (a list of texts, of one length in all rows), `label`.

    The class names are the places of the choices, "0" to "C - 1". The labels of a test split may be missing, empty or
    -1.

    Raises:
        ValueError: no split, an empty one, a missing column, an empty text, a row with another number of choices, or a
            label that is no place of a choice; with its row. A start may be empty, as it often is in HellaSwag.
    """
    from datasets import Dataset

    if not splits:
        raise ValueError("the data has none of the splits train, validation and test")
    ours, count = {}, None
    for split, rows in splits.items():
        if len(rows) == 0:
            raise ValueError(f"the {split} split is empty")
        named = columns or ChoiceColumns()
        start, choices = named.of(rows.column_names)
        needed = [named.context, *([start] if start else []), *choices]
        for column in needed if split.startswith("test") else [*needed, named.label]:
            if column not in rows.column_names:
                raise ValueError(f"the {split} split has no column {column!r}; it has {', '.join(rows.column_names)}")
        found: dict[str, list[Any]] = {"context": _texts(rows, named.context, split), "choices": []}
        starts = _texts(rows, start, split, empty=True) if start else [""] * len(rows)
        for row, (begin, texts) in enumerate(zip(starts, _choices(rows, choices), strict=True), 1):
            count = count or len(texts)
            missing = next((place for place, text in enumerate(texts) if not isinstance(text, str) or not text), None)
            if missing is not None:
                raise ValueError(f"the {split} split, row {row}: choice {missing} is missing")
            if len(texts) != count or count < 2:
                expected = f"{count}, as in the first row" if count > 1 else "at least 2"
                raise ValueError(f"the {split} split, row {row}: {len(texts)} choices, expected {expected}")
            found["choices"].append([f"{begin} {text}".strip() for text in texts])
        labels = _labels(rows, named.label, split, count or 0)
        ours[split] = Dataset.from_dict(found if labels is None else {**found, "label": labels})
    return ClassificationData(ours, [str(place) for place in range(count or 0)], metrics=("accuracy",))


def _texts(rows: Dataset, column: str, split: str, *, empty: bool = False) -> list[str]:
    texts = [literal(value) for value in rows[column]]
    missing = (row for row, text in enumerate(texts, 1) if not isinstance(text, str) or not (text or empty))
    if (row := next(missing, None)) is not None:
        raise ValueError(f"the {split} split has an empty {column} in row {row}")
    return texts


def _choices(rows: Dataset, columns: Sequence[str]) -> list[list[Any]]:
    """The choices of each row."""
    values = [[literal(value) for value in rows[column]] for column in columns]
    if len(columns) == 1:
        return [value if isinstance(value, list) else [value] for value in values[0]]
    return [list(row) for row in zip(*values, strict=True)]


def _labels(rows: Dataset, column: str, split: str, count: int) -> list[int] | None:
    """The places of the right choices; None where a test split hides them."""
    if column not in rows.column_names:
        return None
    labels = [literal(value) for value in rows[column]]
    if split.startswith("test") and all(label in _HIDDEN for label in labels):
        return None
    for row, label in enumerate(labels, 1):
        if label not in map(str, range(count)):
            raise ValueError(
                f"the {split} split, row {row}: the label must be a place from 0 to {count - 1}, got {label}"
            )
    return [int(label) for label in labels]


# ---- the model's inputs ---------------------------------------------------------------------------------------------
def encode_choices(
    data: ClassificationData,
    tokenizer: Any,
    *,
    max_length: int,
    pad: bool = False,
    num_proc: int | None = None,
    overwrite: bool = False,
    cache_dir: str | None = None,
) -> dict[str, Dataset]:
    """Every split as token ids, a list for each choice with the context before it; `labels` where they are known."""
    from datasets.fingerprint import Hasher

    key = Hasher.hash((tokenizer, max_length, pad, "choices"))  # before the first call, which sets how it truncates

    def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
        count = len(rows["choices"][0])
        contexts = [context for context in rows["context"] for _ in range(count)]
        choices = [choice for row in rows["choices"] for choice in row]
        padding = "max_length" if pad else False
        flat = tokenizer(contexts, choices, truncation=True, max_length=max_length, padding=padding)
        nested = {name: [ids[i : i + count] for i in range(0, len(ids), count)] for name, ids in flat.items()}
        return nested | ({"labels": rows["label"]} if "label" in rows else {})

    return tokenized_splits(data.splits, encode, key, num_proc=num_proc, overwrite=overwrite, cache_dir=cache_dir)


def cut_choices(encoded: Mapping[str, Dataset]) -> str:
    """One line about questions of which two choices are one to the model, mostly for being cut; empty without such."""
    told = []
    for name, rows in encoded.items():
        alike = sum(len(set(map(tuple, choices))) < len(choices) for choices in rows["input_ids"])
        told += [f"{alike} of {len(rows)} in {name}"] if alike else []
    if not told:
        return ""
    return f"Questions of which two choices are alike within max_seq_length tokens: {', '.join(told)}"


class ChoiceCollator:
    """Pads the choices of a batch to one length: each input is (B, choices, L).

    Unlike transformers' `DataCollatorForMultipleChoice` (5.24) it takes examples without labels, for prediction.
    """

    def __init__(self, tokenizer: Any, pad_to_multiple_of: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._multiple = pad_to_multiple_of

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        count = len(examples[0]["input_ids"])
        inputs = [name for name in examples[0] if name != "labels"]
        flat = [{name: example[name][i] for name in inputs} for example in examples for i in range(count)]
        padded = self._tokenizer.pad(flat, pad_to_multiple_of=self._multiple, return_tensors="pt")
        batch = {name: values.view(len(examples), count, -1) for name, values in padded.items()}
        if "labels" in examples[0]:
            batch["labels"] = torch.tensor([example["labels"] for example in examples])
        return batch
