"""Data for text classification in one shape: splits with columns text, text_pair (where there are pairs) and label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.classification import ClassificationData, classification_data
from hf_squareloss.recipes.hub_splits import load_hub, load_splits
from hf_squareloss.recipes.labels import label_columns
from hf_squareloss.recipes.tables import read_table

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(frozen=True)
class GlueTask:
    """One of the nine GLUE tasks on the Hub (nyu-mll/glue).

    Attributes:
        columns: the column of the text and, for pairs, of the second text.
        metrics: names for `ClassificationMetric`.
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


def load_glue(task: str, **load_options: Any) -> ClassificationData:
    """A GLUE task by name from the Hub.

    Args:
        task: one of `GLUE_TASKS`.
        load_options: passed to `datasets.load_dataset` (cache_dir, token, revision, ...).

    Raises:
        ValueError: no such task.
    """
    if task not in GLUE_TASKS:
        raise ValueError(f"no GLUE task is called {task!r}: there are {', '.join(GLUE_TASKS)}")
    spec = GLUE_TASKS[task]
    raw = load_hub("nyu-mll/glue", task, **load_options)
    splits = {"train": raw["train"]}
    for name in ("validation", "test"):
        for suffix, ours in zip(spec.suffixes, (name, f"{name}_mm"), strict=False):
            if name + suffix in raw:
                splits[ours] = raw[name + suffix]
    columns = dict(zip(("text", "text_pair"), spec.columns, strict=False)) | {"label": "label"}
    return _make(splits, columns, spec.metrics)


def load_named(
    name: str,
    config: str | None,
    columns: Mapping[str, str],
    *,
    split_names: Mapping[str, str | None] | None = None,
    remove_splits: Sequence[str] = (),
    remove_columns: Sequence[str] = (),
    label_type: str = "auto",
    label_separator: str | None = None,
    text_delimiter: str = " ",
    **load_options: Any,
) -> ClassificationData:
    """Any text-classification data set of the Hub.

    Args:
        columns: text, text_pair and label -> column names, as for `classification_data`, whose `label_type` and
            `label_separator` these are. `text` may name several columns with commas between, which are joined with
            `text_delimiter`.
        remove_splits, remove_columns: splits, by our names, and columns that are not looked at.
        split_names: our split name (train, validation, test) -> its name there, such as "dev" or "train[90%:]"; None
            or no entry: ours, where there is one.
        load_options: passed to `datasets.load_dataset` (cache_dir, token, revision, ...).

    Raises:
        ValueError: no split of such a name (with those that there are), or as `classification_data`.
    """
    splits = load_splits(name, config, split_names or {}, **load_options)
    for split in remove_splits:
        if split not in splits:
            raise ValueError(f"remove_splits: there is no split {split!r}; there are {', '.join(splits)}")
        del splits[split]
    for split, rows in splits.items():
        _require_columns(remove_columns, rows.column_names, split)
        splits[split] = rows.remove_columns(list(remove_columns))
    return _make(splits, columns, text_delimiter=text_delimiter, label_type=label_type, label_separator=label_separator)


def load_files(
    files: Mapping[str, str],
    columns: Mapping[str, str],
    *,
    remove_columns: Sequence[str] = (),
    label_type: str = "auto",
    label_separator: str | None = None,
    text_delimiter: str = " ",
) -> ClassificationData:
    """Local files, one per split, as `read_table` reads them.

    Args:
        files: split name -> path.
        columns: text, text_pair and label -> column names, as for `load_named`, which has the other arguments too; a
            column called text_pair is found by itself.

    Raises:
        ValueError: as `read_table` and `classification_data`, or an empty text.
    """
    from datasets import Dataset

    tables = {split: read_table(file, split) for split, file in files.items()}
    texts = {"text_pair": "text_pair", **columns}.items()
    splits = {}
    for split, table in tables.items():
        _require_columns(remove_columns, table, split)
        table = {name: values for name, values in table.items() if name not in remove_columns}
        used = set(label_columns(columns["label"], table))
        for ours, theirs in texts:
            named = [] if ours == "label" else label_columns(theirs, table)
            for column in set(named) & table.keys():
                _require_texts(table[column], ours if len(named) == 1 else column, split)
                used.add(column)
        # What nobody uses may have anything in it; its name is for the error about a missing column.
        rows = {name: values if name in used else [None] * len(values) for name, values in table.items()}
        splits[split] = Dataset.from_dict(rows)
    return _make(splits, columns, text_delimiter=text_delimiter, label_type=label_type, label_separator=label_separator)


def from_dataset_dict(data: DatasetDict) -> ClassificationData:
    """A DatasetDict that has the columns text and label already."""
    return _make({str(name): split for name, split in data.items()}, {"text": "text", "label": "label"})


def _make(
    splits: dict[str, Dataset],
    columns: Mapping[str, str],
    metrics: tuple[str, ...] | None = None,
    text_delimiter: str = " ",
    **labels: Any,
) -> ClassificationData:
    """As `classification_data`, with a column text_pair found by itself, and texts that must be there."""
    several = label_columns(columns["text"], next(iter(splits.values())).column_names if splits else ())
    if len(several) > 1:
        splits = {name: _joined(split, several, text_delimiter, name) for name, split in splits.items()}
        columns = {**columns, "text": "text"}
    if "text_pair" not in columns and any("text_pair" in split.column_names for split in splits.values()):
        columns = {**columns, "text_pair": "text_pair"}
    data = classification_data(splits, columns, metrics, **labels)
    for name, split in data.splits.items():
        for column in {"text", "text_pair"} & set(split.column_names):
            data.splits[name] = split = _with_texts(split, column, name)
    return data


def _joined(split: Dataset, columns: Sequence[str], delimiter: str, name: str) -> Dataset:
    """The split with one column, text, in place of several."""
    _require_columns(columns, split.column_names, name)
    for column in columns:
        _require_texts(split[column], column, name)
    texts = [delimiter.join(map(str, row)) for row in zip(*(split[column] for column in columns), strict=True)]
    rest = split.remove_columns([column for column in {*columns, "text"} if column in split.column_names])
    return rest.add_column("text", texts)  # type: ignore[call-arg,arg-type]


def _require_columns(columns: Iterable[str], available: Iterable[str], name: str) -> None:
    missing = next((column for column in columns if column not in set(available)), None)
    if missing is not None:
        raise ValueError(f"the {name} split has no column {missing!r}; it has {', '.join(available)}")


def _with_texts(split: Dataset, column: str, name: str) -> Dataset:
    from datasets import Value

    _require_texts(split[column], column, name)
    if split.features[column] in (Value("string"), Value("large_string")):
        return split
    return split.cast_column(column, Value("string"))  # a column of numbers


def _require_texts(values: Iterable[Any], column: str, name: str) -> None:
    for row, value in enumerate(values, 1):
        if value is None:
            raise ValueError(f"the {name} split has an empty {column} in row {row}")
        if isinstance(value, list | dict | bytes):
            raise ValueError(f"the {name} split, row {row}: {column} must be text, got {value}")
