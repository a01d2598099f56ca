"""Arguments of token classification, and the data and the model that they name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForTokenClassification, AutoTokenizer

from hf_squareloss.config import load_config
from hf_squareloss.recipes.arguments import SplitNameArguments, require_positive
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.hub_splits import load_splits
from hf_squareloss.recipes.model_classes import fit_classes
from hf_squareloss.recipes.pretrained import load_pretrained
from hf_squareloss.recipes.text_arguments import TrainedModelArguments
from hf_squareloss.recipes.token_data import encode_sentences, load_sentences, token_data

if TYPE_CHECKING:
    from datasets import Dataset

# Their tokenizers need to be told that tokens are words of their own, as in the official script.
_PREFIX_SPACE = {"bloom", "deberta", "gpt2", "roberta"}


@dataclass
class ModelArguments(TrainedModelArguments):
    """A trained model to be a token classifier, for `HfArgumentParser`."""


@dataclass
class DataArguments(SplitNameArguments):
    """A data set of the Hub or files with a sentence a row, for `HfArgumentParser`."""

    train_file: str | None = field(
        default=None, metadata={"help": "Training data: .conll, .iob or .txt, csv, tsv, json or parquet."}
    )
    task_name: str = field(default="ner", metadata={"help": "Tags are in the column <task_name>_tags: ner, pos, ..."})
    text_column_name: str | None = field(
        default=None, metadata={"help": "Column of the tokens; default: tokens, or else the first one."}
    )
    label_column_name: str | None = field(
        default=None, metadata={"help": "Column of the tags; default: <task_name>_tags, tags, or else the second one."}
    )
    label_all_tokens: bool = field(
        default=False, metadata={"help": "All pieces of a token have its tag, not only the first."}
    )
    return_entity_level_metrics: bool = field(
        default=False, metadata={"help": "Also the metrics of each type of entity."}
    )
    max_seq_length: int = field(default=128, metadata={"help": "Longer sentences are cut to so many word pieces."})
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad to max_seq_length instead of to the longest sentence of the batch."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "max_seq_length")

    def load(self, model_args: ModelArguments) -> ClassificationData:
        """The data that these arguments name."""
        columns = (self.text_column_name, self.label_column_name, self.task_name)
        if self.files:
            return token_data(load_sentences(self.files), *columns)
        options = self.hub_options(model_args.cache_dir, model_args.token)
        splits = load_splits(self.dataset_name or "", self.dataset_config_name, self.split_names, **options)
        return token_data(splits, *columns)

    def encode(self, data: ClassificationData, tokenizer: Any, model_args: ModelArguments) -> dict[str, Dataset]:
        """The splits as ids of word pieces, as `encode_sentences` makes them."""
        return encode_sentences(
            data,
            tokenizer,
            max_length=min(self.max_seq_length, tokenizer.model_max_length),
            pad=self.pad_to_max_length,
            label_all_tokens=self.label_all_tokens,
            num_proc=self.preprocessing_num_workers,
            overwrite=self.overwrite_cache,
            cache_dir=model_args.cache_dir,
        )


def load_tagger(
    model_args: ModelArguments, data: ClassificationData, *, train: bool, verbose: bool
) -> tuple[Any, Any, Any, ClassificationData]:
    """The model with a head for these tags, what its files held, its tokenizer, and the data with the model's names.

    Args:
        train: whether it is about to be trained: otherwise its tags must be the data's.
        verbose: print what differs.
    """
    name = model_args.model_name_or_path or ""
    config = load_config(model_args.config_name or name, **model_args.hub)
    data = fit_classes(data, config, train=train, verbose=verbose)
    options = {"add_prefix_space": True} if config.model_type in _PREFIX_SPACE else {}
    tokenizer = AutoTokenizer.from_pretrained(model_args.tokenizer_name or name, **options, **model_args.hub)
    own = {"ignore_mismatched_sizes": model_args.ignore_mismatched_sizes, **model_args.weights}
    model, loading_info = load_pretrained(AutoModelForTokenClassification, name, config, **own)
    return model, loading_info, tokenizer, data
