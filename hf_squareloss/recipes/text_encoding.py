"""From texts to a model's inputs: tokenized once for all runs and processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.cache import tokenized_splits
from hf_squareloss.recipes.classification import ClassificationData

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel


def tokenize(
    data: ClassificationData,
    tokenizer: Callable[..., Any],
    *,
    max_length: int,
    pad: bool = False,
    num_proc: int | None = None,
    overwrite: bool = False,
    cache_dir: str | None = None,
) -> dict[str, Dataset]:
    """Every split as token ids, with `labels` where they are known; padded to `max_length` if `pad`.

    They lie in the cache of datasets, or in `cache_dir`; what is there already is made again only if `overwrite`.
    """
    from datasets.fingerprint import Hasher

    key = Hasher.hash((tokenizer, max_length, pad))  # before the first call, which sets how the tokenizer truncates

    def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
        texts = (rows["text"], rows["text_pair"]) if "text_pair" in rows else (rows["text"],)
        encoded = dict(
            tokenizer(*texts, truncation=True, max_length=max_length, padding="max_length" if pad else False)
        )
        return encoded | ({"labels": rows["label"]} if "label" in rows else {})

    return tokenized_splits(data.splits, encode, key, num_proc=num_proc, overwrite=overwrite, cache_dir=cache_dir)


def pad_with_end(tokenizer: Any, config: Any) -> None:
    """Decoders such as GPT-2 and Llama have no padding token: the end token pads, and the model knows it."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if config.get_text_config().pad_token_id is None:
        config.get_text_config().pad_token_id = tokenizer.pad_token_id


def limit_to_positions(tokenizer: Any, model: PreTrainedModel) -> None:
    """Let a tokenizer cut texts to what the model has positions for, where it does not know that by itself."""
    positions = positions_of(model)
    if positions is not None and 0 < positions < tokenizer.model_max_length:
        tokenizer.model_max_length = positions


def positions_of(model: PreTrainedModel) -> int | None:
    """How many positions a model has for tokens; None: any number.

    RoBERTa and its kind count from behind their padding index (transformers 5.24), up to which they have none.
    """
    text, name = model.config.get_text_config(), "max_position_embeddings"
    positions = text.to_dict().get(text.attribute_map.get(name, name))
    embeddings = (vars(part) for path, part in model.named_modules() if path.endswith("position_embeddings"))
    padding = [values["padding_idx"] for values in embeddings if values.get("padding_idx") is not None]
    return positions and positions - max((index + 1 for index in padding), default=0)
