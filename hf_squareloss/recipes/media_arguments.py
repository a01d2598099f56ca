"""Arguments that image and audio classification share: which model, also from scratch, and where the files are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hf_squareloss.config import load_config
from hf_squareloss.recipes.arguments import ModelSourceArguments, SplitNameArguments
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.config_overrides import override_config
from hf_squareloss.recipes.from_scratch import FromScratchArguments
from hf_squareloss.recipes.media_files import load_class_folders, load_listed, load_named_media
from hf_squareloss.recipes.pretrained import load_pretrained


@dataclass
class ScratchModelArguments(FromScratchArguments, ModelSourceArguments):
    """A model of the Hub, in a folder, or from scratch, for `HfArgumentParser`."""

    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head that has another number of classes."}
    )

    def __post_init__(self) -> None:
        if self.config_name and self.model_type:
            raise ValueError("model_type would be ignored: config_name says it")
        if self.config_overrides and self.model_name_or_path is None and self.model_type is None:
            if self.config_name is None:
                raise ValueError("config_overrides would be ignored: give --model_type or --config_name")

    @property
    def is_named(self) -> bool:
        """Whether a model is named in one of the three ways."""
        return bool(self.model_name_or_path or self.config_name or self.model_type)

    def require_one(self, *, training: bool) -> None:
        """ValueError where no model is named, or training is to begin from weights and from scratch at once.

        Without training weights alone count: a comparison of losses gives all options of the training again.
        """
        if not self.is_named:
            raise ValueError("give a model: --model_name_or_path, or --model_type for a model from scratch")
        scratch = {"model_type": self.model_type, "config_overrides": self.config_overrides}
        given = [name for name, value in scratch.items() if value]
        if training and self.model_name_or_path and given:
            raise ValueError(f"{given[0]} would be ignored: it is for a model from scratch")

    def load_config(self) -> Any:
        """The config of the model, with `config_overrides` where that is from scratch.

        Raises:
            ValueError: a model type that transformers does not know.
        """
        source = self.config_name or self.model_name_or_path
        if source is None:
            return self.make_config()
        config: Any = load_config(source, **self.hub)
        if self.model_name_or_path is None:
            override_config(config, self.config_overrides)
        return config

    def load_model(self, auto_class: Any, config: Any) -> tuple[Any, Any]:
        """The model, and what its files held; None from scratch."""
        if self.model_name_or_path is None:
            return auto_class.from_config(config), None
        own = {"ignore_mismatched_sizes": self.ignore_mismatched_sizes, **self.weights}
        return load_pretrained(auto_class, self.model_name_or_path, config, **own)


@dataclass
class MediaDataArguments(SplitNameArguments):
    """Images or sounds by class: of the Hub, in folders, or in lists, for `HfArgumentParser`."""

    train_file: str | None = field(
        default=None, metadata={"help": "A list of the training files: csv, tsv, json or parquet."}
    )
    train_dir: str | None = field(default=None, metadata={"help": "Training files, in a folder for each class."})
    validation_dir: str | None = field(default=None, metadata={"help": "Validation files, in a folder for each class."})
    test_dir: str | None = field(default=None, metadata={"help": "Test files, by class or all in the folder itself."})
    label_column_name: str = field(
        default="label", metadata={"help": "Column of the class; or several columns of 0 or 1, one per class: cat,dog."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.folders and (self.files or self.dataset_name):
            raise ValueError("dataset_name, files and folders exclude each other: give one")

    @property
    def folders(self) -> dict[str, str]:
        """Split name -> path of the folders given."""
        named = {"train": self.train_dir, "validation": self.validation_dir, "test": self.test_dir}
        return {split: folder for split, folder in named.items() if folder is not None}

    @property
    def is_demo(self) -> bool:
        return not (self.dataset_name or self.files or self.folders)

    @property
    def has_own_test(self) -> bool:
        return bool(super().has_own_test or self.test_dir)

    def load(self, kind: str, column: str, root: str | None, model_args: ModelSourceArguments) -> ClassificationData:
        """The data as `media_files` reads them: `kind` is "image" or "audio", `column` its column there."""
        if self.folders:
            return load_class_folders(self.folders, kind)
        columns: dict[str, Any] = {"column": column, "label_column": self.label_column_name}
        if self.files:
            return load_listed(self.files, kind, **columns, root=root)
        hub = self.hub_options(model_args.cache_dir, model_args.token)
        name = self.dataset_name or ""
        return load_named_media(name, self.dataset_config_name, kind, **columns, split_names=self.split_names, **hub)
