"""Arguments of text classification that the scripts share, and the data and the model that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_squareloss.config import load_config
from hf_squareloss.recipes.arguments import DataSourceArguments, ModelSourceArguments, require_positive
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.from_scratch import TextFromScratchArguments, classifier_from_scratch
from hf_squareloss.recipes.labels import LABEL_TYPES
from hf_squareloss.recipes.metrics import require_metrics
from hf_squareloss.recipes.model_classes import fit_classes
from hf_squareloss.recipes.pretrained import load_pretrained
from hf_squareloss.recipes.text_data import GLUE_TASKS, load_files, load_glue, load_named
from hf_squareloss.recipes.text_encoding import limit_to_positions, pad_with_end, tokenize

if TYPE_CHECKING:
    from datasets import Dataset

# Options of files and data sets that a GLUE task does not take.
_OF_COLUMNS = (
    *("text_column", "text_column_delimiter", "text_pair_column", "label_column", "label_separator"),
    *("do_regression", "label_type", "remove_columns"),
)


@dataclass
class TrainedModelArguments(ModelSourceArguments):
    """A trained model and its tokenizer, for `HfArgumentParser`."""

    tokenizer_name: str | None = field(default=None, metadata={"help": "Tokenizer, if not the model's."})
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head that has another number of classes."}
    )


@dataclass
class ModelArguments(TextFromScratchArguments, TrainedModelArguments):
    """A model, loaded or made, and its tokenizer, for `HfArgumentParser`."""


@dataclass
class DataArguments(DataSourceArguments):
    """A GLUE task, a data set of the Hub or files, and what their columns mean, for `HfArgumentParser`."""

    task_name: str | None = field(default=None, metadata={"help": f"GLUE task: {', '.join(GLUE_TASKS)}."})
    text_column: str = field(
        default="text",
        metadata={"help": "Column of the text, for files and dataset_name; or several with commas between.",
                  "aliases": ["--text_column_names"]},
    )  # fmt: skip
    text_column_delimiter: str = field(default=" ", metadata={"help": "Stands between the texts of several columns."})
    text_pair_column: str | None = field(
        default=None, metadata={"help": "Column of the second text of a pair; default: text_pair, where there is one."}
    )
    label_column: str = field(
        default="label",
        metadata={"help": "Column of the label; or several columns of 0 or 1, one per class: toxic,obscene,threat.",
                  "aliases": ["--label_column_name"]},
    )  # fmt: skip
    label_separator: str | None = field(
        default=None, metadata={"help": "A text has any number of classes: what stands between them in the column."}
    )
    label_type: str = field(
        default="auto",
        metadata={"help": "classes or values (a regression); auto: values where all training labels are numbers and "
                          "one is written with a point."},
    )  # fmt: skip
    do_regression: bool = field(default=False, metadata={"help": "The same as --label_type values."})
    metric_name: str | None = field(
        default=None,
        metadata={"help": "Metrics instead of the task's own, with commas between: f1,matthews_correlation."},
    )
    remove_splits: str | None = field(
        default=None, metadata={"help": "Splits of dataset_name to leave out, with commas between: test."}
    )
    remove_columns: str | None = field(
        default=None, metadata={"help": "Leave these columns out, with commas between: text_pair."}
    )
    shuffle_train_dataset: bool = field(
        default=False,
        metadata={"help": "Shuffle the training data once; the Trainer draws its own order unless told not to."},
    )
    shuffle_seed: int | None = field(default=None, metadata={"help": "Seed of that; default: 42."})
    train_split_name: str | None = field(default=None, metadata={"help": "Split of dataset_name to train on."})
    validation_split_name: str | None = field(default=None, metadata={"help": "Split of dataset_name to evaluate on."})
    test_split_name: str | None = field(default=None, metadata={"help": "Split of dataset_name to predict."})
    max_seq_length: int = field(
        default=128, metadata={"help": "Longer inputs are cut to this many tokens.", "aliases": ["--max_length"]}
    )
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad to max_seq_length instead of to the longest text of the batch."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "max_seq_length")
        if self.label_type not in LABEL_TYPES:
            raise ValueError(f"label_type must be one of {', '.join(LABEL_TYPES)}, got {self.label_type!r}")
        if self.do_regression:
            if self.label_type == "classes":
                raise ValueError("do_regression is label_type=values, but label_type=classes")
            self.label_type = "values"
        if self.shuffle_seed is not None and not self.shuffle_train_dataset:
            raise ValueError("shuffle_seed would be ignored: it is for shuffle_train_dataset")
        named = ("train_split_name", "validation_split_name", "test_split_name", "remove_splits")
        for option in named if self.dataset_name is None else ():
            if vars(self)[option] is not None:
                raise ValueError(f"{option} would be ignored: it is for dataset_name")
        if self.task_name is not None:
            self.task_name = self.task_name.lower()
            if self.task_name not in GLUE_TASKS:
                raise ValueError(f"no GLUE task is called {self.task_name!r}: there are {', '.join(GLUE_TASKS)}")
            defaults = {option.name: option.default for option in fields(self)}
            for name in _OF_COLUMNS:
                if vars(self)[name] != defaults[name]:
                    raise ValueError(f"{name} would be ignored: a GLUE task has its columns and labels")
            if self.dataset_name or self.files:
                raise ValueError("task_name, dataset_name and files exclude each other: give one")

    @property
    def is_demo(self) -> bool:
        return not (self.task_name or self.dataset_name or self.files)

    @property
    def title(self) -> str:
        return f"GLUE {self.task_name.upper()}" if self.task_name else super().title

    @property
    def has_own_test(self) -> bool:
        return bool(self.test_file or self.test_split_name)

    @property
    def hub_name(self) -> str | None:
        return "nyu-mll/glue" if self.task_name else self.dataset_name

    def chosen(self, splits: Mapping[str, Dataset], seed: int) -> dict[str, Dataset]:
        chosen = super().chosen(splits, seed)
        if self.shuffle_train_dataset and "train" in chosen:
            chosen["train"] = chosen["train"].shuffle(42 if self.shuffle_seed is None else self.shuffle_seed)
        return chosen

    def load(self, model_args: ModelArguments) -> ClassificationData:
        """The data that these arguments name, with the metrics that they name."""
        data = self._load(model_args)
        if self.metric_name is None:
            return data
        names = tuple(self.metric_name.split(","))
        require_metrics(names, instead_of=data.metrics)
        return replace(data, metrics=names)

    def _load(self, model_args: ModelArguments) -> ClassificationData:
        columns = {"text": self.text_column, "label": self.label_column}
        if self.text_pair_column:
            columns["text_pair"] = self.text_pair_column
        labels: dict[str, Any] = {
            "remove_columns": self.remove_columns.split(",") if self.remove_columns else (),
            "label_type": self.label_type,
            "label_separator": self.label_separator,
            "text_delimiter": self.text_column_delimiter,
        }
        if self.files:
            return load_files(self.files, columns, **labels)
        options = self.hub_options(model_args.cache_dir, model_args.token)
        if self.task_name:
            return load_glue(self.task_name, **options)
        names = {
            "train": self.train_split_name,
            "validation": self.validation_split_name,
            "test": self.test_split_name,
        }
        return load_named(
            self.dataset_name or "",
            self.dataset_config_name,
            columns,
            split_names=names,
            remove_splits=self.remove_splits.split(",") if self.remove_splits else (),
            **labels,
            **options,
        )

    def tokenize(self, data: ClassificationData, tokenizer: Any, model_args: ModelArguments) -> dict[str, Dataset]:
        """The splits as token ids."""
        return tokenize(
            data,
            tokenizer,
            max_length=min(self.max_seq_length, tokenizer.model_max_length),
            pad=self.pad_to_max_length,
            num_proc=self.preprocessing_num_workers,
            overwrite=self.overwrite_cache,
            cache_dir=model_args.cache_dir,
        )


def load_classifier(
    model_args: ModelArguments, data: ClassificationData, *, train: bool, verbose: bool
) -> tuple[Any, Any, Any, ClassificationData]:
    """The model with a head for these classes, what its files held, its tokenizer, and the data with class indices.

    Args:
        train: whether it is about to be trained: otherwise its classes must be the data's.
        verbose: print what differs.
    """
    name, hub = model_args.model_name_or_path, model_args.hub
    if name is None:
        given = model_args.tokenizer_name and AutoTokenizer.from_pretrained(model_args.tokenizer_name, **hub)
        read = model_args.config_name and load_config(model_args.config_name, **hub)
        model, tokenizer = classifier_from_scratch(model_args, data, given, config=read, show=verbose)
        return model, None, tokenizer, data
    config = load_config(model_args.config_name or name, **hub)
    model_args.require_loaded(config, training=train)
    data = fit_classes(data, config, train=train, verbose=verbose)
    tokenizer = AutoTokenizer.from_pretrained(model_args.tokenizer_name or name, **hub)
    pad_with_end(tokenizer, config)
    own = {"ignore_mismatched_sizes": model_args.ignore_mismatched_sizes, **model_args.weights}
    model, loading_info = load_pretrained(AutoModelForSequenceClassification, name, config, **own)
    limit_to_positions(tokenizer, model)
    return model, loading_info, tokenizer, data
