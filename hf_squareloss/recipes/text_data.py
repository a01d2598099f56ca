"""Data for text classification in one shape: splits with columns text, text_pair (where there are pairs) and label."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.classification import ClassificationData, classification_data

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
_FORMATS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json"}


def load_glue(task: str, **load_options: Any) -> ClassificationData:
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


def load_named(name: str, config: str | None, columns: Mapping[str, str], **load_options: Any) -> ClassificationData:
    """Any text-classification data set of the Hub; `columns` maps text, text_pair and label to its column names."""
    from datasets import load_dataset

    raw = load_dataset(name, config, **load_options)
    return _make({split: raw[split] for split in ("train", "validation", "test") if split in raw}, columns)


def load_files(files: Mapping[str, str], columns: Mapping[str, str], **load_options: Any) -> ClassificationData:
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


def from_dataset_dict(data: DatasetDict) -> ClassificationData:
    """A DatasetDict that has the columns text and label already."""
    return _make({str(name): split for name, split in data.items()}, {"text": "text", "label": "label"})


def tokenize(
    data: ClassificationData,
    tokenizer: Callable[..., Any],
    *,
    max_length: int,
    pad: bool = False,
    overwrite: bool = False,
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


def pad_with_end(tokenizer: Any, config: Any) -> None:
    """Decoders such as GPT-2 and Llama have no padding token: the end token pads, and the model knows it."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if config.get_text_config().pad_token_id is None:
        config.get_text_config().pad_token_id = tokenizer.pad_token_id


def _make(
    splits: dict[str, Dataset], columns: Mapping[str, str], metrics: tuple[str, ...] | None = None
) -> ClassificationData:
    """As `classification_data`, with a column text_pair found by itself, and texts that must be there."""
    from datasets import Value

    if "text_pair" not in columns and any("text_pair" in split.column_names for split in splits.values()):
        columns = {**columns, "text_pair": "text_pair"}
    data = classification_data(splits, columns, metrics)
    for name, split in data.splits.items():
        for column in {"text", "text_pair"} & set(split.column_names):
            if any(entry is None for entry in split[column][:]):
                raise ValueError(f"the {name} split has an empty {column}")
            if split.features[column] != Value("string"):  # a csv column of nothing but numbers
                data.splits[name] = split = split.cast_column(column, Value("string"))
    return data
