"""Arguments that the example scripts share: which model, and which data; a script adds its own by a subclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

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
    train_file: str | None = field(default=None, metadata={"help": "Training data: csv, tsv or json."})
    validation_file: str | None = field(default=None, metadata={"help": "Validation data."})
    test_file: str | None = field(default=None, metadata={"help": "Test data; its labels are optional."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training examples."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many validation examples."})
    max_predict_samples: int | None = field(default=None, metadata={"help": "Use only so many test examples."})
    overwrite_cache: bool = field(default=False, metadata={"help": "Prepare the data again, not from the cache."})

    def __post_init__(self) -> None:
        if self.dataset_name and self.files:
            raise ValueError("dataset_name and files exclude each other: give one")

    @property
    def files(self) -> dict[str, str]:
        """Split name -> path of the files given."""
        named = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        return {split: file for split, file in named.items() if file is not None}

    @property
    def title(self) -> str:
        """What tables and model cards call the data."""
        return self.dataset_name or "local files"

    def limited(self, splits: Mapping[str, Dataset]) -> dict[str, Dataset]:
        """The first max_*_samples of each split; validation_mm counts as validation, test_mm as test."""
        most = {
            "train": self.max_train_samples,
            "validation": self.max_eval_samples,
            "test": self.max_predict_samples,
        }
        return {
            name: rows
            if (count := most[name.removesuffix("_mm")]) is None
            else rows.select(range(min(count, len(rows))))
            for name, rows in splits.items()
        }
