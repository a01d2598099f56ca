"""Arguments of multiple choice, and the data and the model that they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForMultipleChoice, AutoTokenizer

from hf_squareloss.config import load_config
from hf_squareloss.recipes.arguments import SplitNameArguments, require_positive
from hf_squareloss.recipes.choice_data import ChoiceColumns, choice_data, encode_choices, load_choices
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.hub_splits import load_splits
from hf_squareloss.recipes.pretrained import load_pretrained
from hf_squareloss.recipes.text_arguments import TrainedModelArguments
from hf_squareloss.recipes.text_encoding import limit_to_positions, pad_with_end

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass
class ModelArguments(TrainedModelArguments):
    """A trained model to choose, for `HfArgumentParser`."""


@dataclass
class DataArguments(SplitNameArguments):
    """A data set of the Hub or files with a question a row, for `HfArgumentParser`."""

    context_column: str = field(default="sent1", metadata={"help": "Column of what comes before every choice."})
    start_column: str | None = field(
        default=None, metadata={"help": "Column of how each choice begins; default: sent2, where there is one."}
    )
    choices_columns: str | None = field(
        default=None,
        metadata={"help": "Columns of the choices, with commas between, or one with lists; default: choices, endings, "
                          "or ending0, ending1, and so on."},
    )  # fmt: skip
    label_column: str = field(default="label", metadata={"help": "Column of the right choice's place, from 0."})
    max_seq_length: int = field(default=128, metadata={"help": "Context and choice are cut to so many tokens."})
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad to max_seq_length instead of to the longest choice of the batch."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "max_seq_length")

    def load(self, model_args: ModelArguments) -> ClassificationData:
        """The data that these arguments name."""
        columns = ChoiceColumns(self.context_column, self.start_column, self.choices_columns, self.label_column)
        if self.files:
            return choice_data(load_choices(self.files), columns)
        options = self.hub_options(model_args.cache_dir, model_args.token)
        splits = load_splits(self.dataset_name or "", self.dataset_config_name, self.split_names, **options)
        return choice_data(splits, columns)

    def encode(self, data: ClassificationData, tokenizer: Any, model_args: ModelArguments) -> dict[str, Dataset]:
        """The splits as token ids, as `encode_choices` makes them."""
        return encode_choices(
            data,
            tokenizer,
            max_length=min(self.max_seq_length, tokenizer.model_max_length),
            pad=self.pad_to_max_length,
            num_proc=self.preprocessing_num_workers,
            overwrite=self.overwrite_cache,
            cache_dir=model_args.cache_dir,
        )


def load_chooser(model_args: ModelArguments) -> tuple[Any, Any, Any]:
    """The model, what its files held, and its tokenizer."""
    name = model_args.model_name_or_path or ""
    config = load_config(model_args.config_name or name, **model_args.hub)
    tokenizer = AutoTokenizer.from_pretrained(model_args.tokenizer_name or name, **model_args.hub)
    pad_with_end(tokenizer, config)
    own = {"ignore_mismatched_sizes": model_args.ignore_mismatched_sizes, **model_args.weights}
    model, loading_info = load_pretrained(AutoModelForMultipleChoice, name, config, **own)
    limit_to_positions(tokenizer, model)
    return model, loading_info, tokenizer
