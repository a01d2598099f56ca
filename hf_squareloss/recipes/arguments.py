"""Arguments that the example scripts share: which model, and which data; a script adds its own by a subclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_squareloss.recipes.label_noise import with_label_noise

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass
class ModelSourceArguments:
    """A model of the Hub or in a folder, for `HfArgumentParser`."""

    model_name_or_path: str | None = field(default=None, metadata={"help": "A model of the Hub, or a folder."})
    config_name: str | None = field(default=None, metadata={"help": "Configuration, if not the model's."})
    cache_dir: str | None = field(default=None, metadata={"help": "Where downloads are kept."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model."})
    token: str | None = field(default=None, metadata={"help": "Hub token for downloads; default: the stored one."})
    trust_remote_code: bool = field(default=False, metadata={"help": "Run model code from the Hub."})

    @property
    def hub(self) -> dict[str, Any]:
        """Keyword arguments for from_pretrained of anything."""
        return {
            "cache_dir": self.cache_dir,
            "revision": self.model_revision,
            "token": self.token,
            "trust_remote_code": self.trust_remote_code,
        }

    @property
    def weights(self) -> dict[str, Any]:
        """Keyword arguments for a model's from_pretrained: its weights as float32.

        transformers 5 keeps a checkpoint's float16; mixed precision is --bf16 or --fp16.
        """
        return self.hub | {"dtype": torch.float32}


@dataclass
class DataSourceArguments:
    """A data set of the Hub or files, and how much of them, for `HfArgumentParser`."""

    dataset_name: str | None = field(default=None, metadata={"help": "A data set of the Hub."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    dataset_revision: str | None = field(
        default=None, metadata={"help": "Its branch, tag or commit; refs/convert/parquet for one that is a script."}
    )
    train_file: str | None = field(default=None, metadata={"help": "Training data: csv, tsv, json or parquet."})
    validation_file: str | None = field(default=None, metadata={"help": "Validation data."})
    test_file: str | None = field(default=None, metadata={"help": "Test data; its labels are optional."})
    train_val_split: float | None = field(
        default=None,
        metadata={"help": "Where there is no validation split: this share of the training examples, by the seed."},
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Use only so many training examples, chosen by the seed."}
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Use only so many validation examples, chosen at random, the same each time."}
    )
    max_predict_samples: int | None = field(
        default=None, metadata={"help": "Use only the first so many test examples."}
    )
    overwrite_cache: bool = field(default=False, metadata={"help": "Prepare the data again, not from the cache."})
    label_noise: float = field(
        default=0.0,
        metadata={
            "help": "Give this share of the training examples another class, by the seed, to see what a loss bears."
        },
    )
    record_epochs: bool = field(
        default=False,
        metadata={"help": "Write into epochs.json what validation and test measure at every evaluation, and evaluate "
                          "no more after training: what a comparison of losses reads."},
    )  # fmt: skip
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that prepare the data."})

    def __post_init__(self) -> None:
        if self.dataset_name and self.files:
            raise ValueError("dataset_name and files exclude each other: give one")
        if self.dataset_config_name is not None and self.dataset_name is None:
            raise ValueError("dataset_config_name would be ignored: it is for dataset_name")
        if self.dataset_revision is not None and self.hub_name is None:
            raise ValueError("dataset_revision would be ignored: it is for dataset_name")
        if self.train_val_split is not None and not 0 < self.train_val_split < 1:
            raise ValueError(f"train_val_split must be between 0 and 1, got {self.train_val_split}")
        require_positive(self, "max_train_samples", "max_eval_samples", "max_predict_samples")
        require_positive(self, "preprocessing_num_workers")
        if not 0 <= self.label_noise <= 1:
            raise ValueError(f"label_noise must be between 0 and 1, got {self.label_noise}")

    @property
    def files(self) -> dict[str, str]:
        """Split name -> path of the files given."""
        named = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        return {split: file for split, file in named.items() if file is not None}

    @property
    def is_demo(self) -> bool:
        """Whether no data are named: a script that has a built-in demo runs it then."""
        return not (self.dataset_name or self.files)

    @property
    def title(self) -> str:
        """What tables and model cards call the data."""
        return self.dataset_name or "local files"

    @property
    def hub_name(self) -> str | None:
        """The data set's name on the Hub; None for files."""
        return self.dataset_name

    @property
    def has_own_test(self) -> bool:
        """Whether a test part is named, which is predicted without being asked for."""
        return self.test_file is not None

    def hub_options(self, cache_dir: str | None, token: str | None) -> dict[str, Any]:
        """Keyword arguments for `datasets.load_dataset`."""
        return {"cache_dir": cache_dir, "token": token, "revision": self.dataset_revision}

    def chosen(self, splits: Mapping[str, Dataset], seed: int) -> dict[str, Dataset]:
        """What is to be used of the splits: as `divided`, then as `limited`, with `label_noise` in training labels."""
        chosen = self.limited(self.divided(splits, seed), seed)
        if "train" in chosen:
            chosen["train"] = with_label_noise(chosen["train"], self.label_noise, seed)
        return chosen

    def divided(self, splits: Mapping[str, Dataset], seed: int) -> dict[str, Dataset]:
        """The splits with a validation split cut from the training split, where `train_val_split` says so.

        Raises:
            ValueError: there is a validation split, or no training split of at least two examples.
        """
        if self.train_val_split is None:
            return dict(splits)
        if "validation" in splits or len(splits.get("train", ())) < 2:
            reason = "there is a validation split" if "validation" in splits else "there are no two training examples"
            raise ValueError(f"train_val_split would be ignored: {reason}")
        train = splits["train"]
        count = min(max(round(self.train_val_split * len(train)), 1), len(train) - 1)
        order = self.drawn(len(train), seed)
        cut = {"train": train.select(np.sort(order[count:])), "validation": train.select(np.sort(order[:count]))}
        return {**splits, **cut}

    def limited(self, splits: Mapping[str, Dataset], seed: int) -> dict[str, Dataset]:
        """max_*_samples of each split, in their order; validation_mm counts as validation, test_mm as test.

        Training rows are chosen by the seed, since a file may be sorted by label; validation rows at random but always
        the same, so that runs can be compared; of the test rows the first, whose predictions stand in their order.
        """
        chosen = {}
        for name, rows in splits.items():
            if name == "train":
                count, order = self.max_train_samples, self.drawn(len(rows), seed)
            elif name.startswith("validation"):
                count, order = self.max_eval_samples, self.drawn(len(rows), 0)
            else:
                count, order = self.max_predict_samples, np.arange(len(rows))
            whole = count is None or count >= len(rows)
            chosen[name] = rows if whole else rows.select(np.sort(order[:count]))
        return chosen

    def drawn(self, count: int, seed: int) -> np.ndarray:
        """The places of `count` examples, in the order in which they are drawn for a part of them."""
        return np.random.default_rng(seed).permutation(count)


@dataclass
class SplitNameArguments(DataSourceArguments):
    """The same, with what the splits of `dataset_name` are called there."""

    train_split_name: str | None = field(default=None, metadata={"help": "Split of dataset_name to train on."})
    eval_split_name: str | None = field(default=None, metadata={"help": "Split of dataset_name to evaluate on."})
    test_split_name: str | None = field(default=None, metadata={"help": "Split of dataset_name to predict."})

    def __post_init__(self) -> None:
        super().__post_init__()
        for split, name in self.split_names.items():
            if name is not None and self.dataset_name is None:
                option = f"{'eval' if split == 'validation' else split}_split_name"
                raise ValueError(f"{option} would be ignored: it is for dataset_name")

    @property
    def has_own_test(self) -> bool:
        return bool(self.test_file or self.test_split_name)

    @property
    def split_names(self) -> dict[str, str | None]:
        """Our split name -> its name there, such as "dev" or "train[90%:]"; None: ours, where there is one."""
        return {"train": self.train_split_name, "validation": self.eval_split_name, "test": self.test_split_name}


def require_positive(arguments: object, *names: str) -> None:
    """ValueError for an option that is given and below 1."""
    for name in names:
        value = vars(arguments)[name]
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def require_lists(arguments: DataSourceArguments, name: str) -> None:
    """ValueError for an option on the paths of lists that is given where there are no lists."""
    if vars(arguments)[name] is not None and not arguments.files:
        raise ValueError(f"{name} would be ignored: it is for the paths in lists, which --train_file and so on name")
