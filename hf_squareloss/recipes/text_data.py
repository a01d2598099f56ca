"""Text-classification data in one shape: splits with columns text, text_pair (where there are pairs) and label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(frozen=True)
class GlueTask:
    """One of the nine GLUE tasks on the Hub (nyu-mll/glue).

    Attributes:
        columns: the column of the text and, for pairs, of the second text.
        metrics: names for `TextClassificationMetric`.
        suffixes: what the names of its validation and test splits end in; MNLI has two of each.
    """

    columns: tuple[str, ...]
    metrics: tuple[str, ...] = ("accuracy",)
    suffixes: tuple[str, ...] = ("",)


GLUE_TASKS: dict[str, GlueTask] = {
    "cola": GlueTask(("sentence",), ("matthews_correlation", "accuracy")),
    "mnli": GlueTask(("premise", "hypothesis"), suffixes=("_matched", "_mismatched")),
    "mrpc": GlueTask(("sentence1", "sentence2"), ("accuracy", "f1")),
    "qnli": GlueTask(("question", "sentence")),
    "qqp": GlueTask(("question1", "question2"), ("accuracy", "f1")),
    "rte": GlueTask(("sentence1", "sentence2")),
    "sst2": GlueTask(("sentence",)),
    "stsb": GlueTask(("sentence1", "sentence2"), ("pearson", "spearmanr")),
    "wnli": GlueTask(("sentence1", "sentence2")),
}
_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}


@dataclass(frozen=True)
class TextData:
    """Splits of one task with columns text, text_pair and label, and what the labels mean.

    Attributes:
        splits: train, validation, test; MNLI's second validation and test sets are validation_mm and test_mm. Without
            a label column where the labels are hidden.
        label_names: one name per class in the order of the indices; None for real values (regression); empty where no
            split has labels.
        metrics: names for `TextClassificationMetric`.
    """

    splits: dict[str, Dataset]
    label_names: list[str] | None
    metrics: tuple[str, ...] = field(default=("accuracy", "f1"))

    @property
    def num_labels(self) -> int:
        return 1 if self.label_names is None else len(self.label_names)


def load_glue(task: str, **load_options: Any) -> TextData:
    """A GLUE task by name from the Hub.

    Args:
        task: one of `GLUE_TASKS`.
        load_options: passed to `datasets.load_dataset` (cache_dir, token, revision, ...).

    Raises:
        ValueError: no such task.
    """
    from datasets import load_dataset

    if task not in GLUE_TASKS:
        raise ValueError(f"no GLUE task is called {task!r}: there are {', '.join(GLUE_TASKS)}")
    spec = GLUE_TASKS[task]
    raw = load_dataset("nyu-mll/glue", task, **load_options)
    splits = {"train": raw["train"]}
    for name in ("validation", "test"):
        for suffix, ours in zip(spec.suffixes, (name, f"{name}_mm"), strict=False):
            if name + suffix in raw:
                splits[ours] = raw[name + suffix]
    columns = dict(zip(("text", "text_pair"), spec.columns, strict=False)) | {"label": "label"}
    return _make(splits, columns, spec.metrics)


def load_named(name: str, config: str | None, columns: Mapping[str, str], **load_options: Any) -> TextData:
    """Any text-classification data set of the Hub; `columns` maps text, text_pair and label to its column names."""
    from datasets import load_dataset

    raw = load_dataset(name, config, **load_options)
    return _make({split: raw[split] for split in ("train", "validation", "test") if split in raw}, columns)


def load_files(files: Mapping[str, str], columns: Mapping[str, str], **load_options: Any) -> TextData:
    """Local csv, tsv (tab-separated, unquoted) or json files, one per split.

    Args:
        files: split name -> path.
        columns: text, text_pair and label -> column names; a column called text_pair is found by itself.

    Raises:
        ValueError: unknown kind of file, a missing, empty or broken file, a missing column, an empty entry, an unknown
            label in validation or test.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetGenerationError

    splits = {}
    for split, file in files.items():
        kind = _FORMATS.get(Path(file).suffix)
        if kind is None:
            raise ValueError(f"{split} file {file}: must end in {', '.join(_FORMATS)}")
        if not Path(file).is_file():
            raise ValueError(f"{split} file {file} does not exist")
        try:
            lines = Path(file).read_text(encoding="utf8").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(f"{split} file {file} is not UTF-8: {error}") from error
        if not any(line.strip() for line in lines[kind == "csv" :]):
            raise ValueError(f"the {split} split is empty: no rows in {file}")
        # "NA" and "null" are words; and tab-separated files as GLUE ships them have stray quotes.
        options: dict[str, Any] = {"keep_default_na": False} if kind == "csv" else {}
        options |= {"sep": "\t", "quoting": 3} if file.endswith(".tsv") else {}
        try:
            splits[split] = load_dataset(kind, data_files={split: file}, split=split, **options, **load_options)
        except (DatasetGenerationError, ValueError) as error:
            raise ValueError(f"{split} file {file} cannot be read: {error.__cause__ or error}") from error
    return _make(splits, columns)


def from_dataset_dict(data: DatasetDict) -> TextData:
    """A DatasetDict that has the columns text and label already."""
    return _make({str(name): split for name, split in data.items()}, {"text": "text", "label": "label"})


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


def with_label_order(data: TextData, names: list[str]) -> TextData:
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
        name: split.remove_columns("label").add_column("label", [to_index[i] for i in split["label"][:]])  # type: ignore[call-arg]
        if "label" in split.column_names
        else split
        for name, split in data.splits.items()
    }
    return TextData(splits, names, data.metrics)


def tokenize(
    data: TextData, tokenizer: Callable[..., Any], *, max_length: int, pad: bool = False, overwrite: bool = False
) -> dict[str, Dataset]:
    """Every split as token ids, with `labels` where they are known; padded to `max_length` if `pad`."""

    def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
        texts = (rows["text"], rows["text_pair"]) if "text_pair" in rows else (rows["text"],)
        encoded = dict(
            tokenizer(*texts, truncation=True, max_length=max_length, padding="max_length" if pad else False)
        )
        return encoded | ({"labels": rows["label"]} if "label" in rows else {})

    return {
        name: split.map(
            encode,
            batched=True,
            remove_columns=split.column_names,
            load_from_cache_file=not overwrite,
            desc=f"Tokenizing {name}",
        )
        for name, split in data.splits.items()
    }


def _make(splits: dict[str, Dataset], columns: Mapping[str, str], metrics: tuple[str, ...] | None = None) -> TextData:
    """Rename, drop what is not needed, turn labels into indices or floats, and refuse what does not fit."""
    from datasets import Value

    if not splits:
        raise ValueError("the data has none of the splits train, validation and test")
    if "text_pair" not in columns and any("text_pair" in split.column_names for split in splits.values()):
        columns = {**columns, "text_pair": "text_pair"}
    renamed = {}
    for name, split in splits.items():
        if len(split) == 0:
            raise ValueError(f"the {name} split is empty")
        present = {ours: theirs for ours, theirs in columns.items() if theirs in split.column_names}
        for ours, theirs in columns.items():
            if ours not in present and not (ours == "label" and name.startswith("test")):
                raise ValueError(f"the {name} split has no column {theirs!r}; it has {', '.join(split.column_names)}")
        split = split.select_columns(list(present.values())).rename_columns(
            {theirs: ours for ours, theirs in present.items() if ours != theirs}
        )
        # A hidden label is -1 in GLUE's test sets, and nothing in other people's.
        if "label" in present and name.startswith("test") and set(split["label"][:]) in ({-1}, {""}, {None}):
            split = split.remove_columns("label")
        for column in split.column_names:
            if any(entry is None or (column == "label" and entry == "") for entry in split[column][:]):
                raise ValueError(f"the {name} split has an empty {column}")
            if column != "label" and split.features[column] != Value("string"):
                split = split.cast_column(column, Value("string"))  # a csv column of nothing but numbers
        renamed[name] = split
    names, regression = _label_names(renamed)
    made = {name: _with_labels(name, split, names, regression) for name, split in renamed.items()}
    default = ("pearson", "spearmanr", "mse") if regression else ("accuracy", "f1")
    return TextData(made, None if regression else names, metrics or default)


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
    encoded = [index[str(v)] for v in split["label"][:]]
    return split.remove_columns("label").add_column("label", encoded)  # type: ignore[call-arg]
