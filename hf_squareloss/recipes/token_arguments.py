"""Arguments of token classification, and the data and the model that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from transformers import AutoModelForTokenClassification, AutoTokenizer

from hf_squareloss.config import load_config
from hf_squareloss.recipes.arguments import SplitNameArguments, require_positive
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.hub_splits import load_splits
from hf_squareloss.recipes.model_classes import fit_classes
from hf_squareloss.recipes.notices import say
from hf_squareloss.recipes.pretrained import load_pretrained
from hf_squareloss.recipes.text_arguments import TrainedModelArguments
from hf_squareloss.recipes.text_encoding import limit_to_positions, pad_with_end
from hf_squareloss.recipes.token_data import encode_sentences, load_sentences, token_data

if TYPE_CHECKING:
    from datasets import Dataset


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
    tokenizer = load_word_tokenizer(model_args.tokenizer_name or name, model_args.hub)
    pad_with_end(tokenizer, config)
    own = {"ignore_mismatched_sizes": model_args.ignore_mismatched_sizes, **model_args.weights}
    model, loading_info = load_pretrained(AutoModelForTokenClassification, name, config, **own)
    limit_to_positions(tokenizer, model)
    return model, loading_info, tokenizer, data


def load_word_tokenizer(source: str, hub: Mapping[str, Any]) -> Any:
    """A tokenizer that makes the same pieces of a list of words as of their text, and pads on the right.

    Byte-level ones need to be told that each word has a space before it; those that cannot be told are named on the
    screen, since a pipeline will cut its texts otherwise. Places of tokens are counted from the left.

    Args:
        hub: keyword arguments for from_pretrained.
    """
    tokenizer = AutoTokenizer.from_pretrained(source, **hub)
    if not _reads_words(tokenizer):
        tokenizer = AutoTokenizer.from_pretrained(source, add_prefix_space=True, **hub)
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if not _reads_words(tokenizer) and hasattr(getattr(backend, "pre_tokenizer", None), "add_prefix_space"):
            backend.pre_tokenizer.add_prefix_space = True  # ModernBERT's heeds no option (transformers 5.24)
        if not _reads_words(tokenizer):
            say(f"The tokenizer of {source} cuts a list of words otherwise than their text, which a pipeline gets")
    tokenizer.padding_side = "right"
    return tokenizer


def _reads_words(tokenizer: Any) -> bool:
    return tokenizer(["a", "a"], is_split_into_words=True).input_ids == tokenizer("a a").input_ids
