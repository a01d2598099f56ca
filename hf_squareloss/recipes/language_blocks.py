"""From texts to what a language model is trained on: blocks of equal length, or lines, with labels or to be masked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from transformers import DataCollatorForLanguageModeling, DataCollatorForTokenClassification, default_data_collator

from hf_squareloss.recipes.cache import cache_file

if TYPE_CHECKING:
    from datasets import Dataset

_LONGEST = 1024  # tokens of a block where nobody says more


def choose_block_size(given: int | None, tokenizer: Any, config: Any) -> int:
    """Tokens of a block: what is given, or as many as tokenizer and model take, 1,024 at most.

    Raises:
        ValueError: fewer than two tokens, or more than the model has positions for.
    """
    text, name = config.get_text_config(), "max_position_embeddings"
    positions = text.to_dict().get(text.attribute_map.get(name, name))
    most = min(tokenizer.model_max_length, positions or tokenizer.model_max_length)
    if given is None:
        return min(most, _LONGEST)
    if given < 2:
        raise ValueError(f"block_size must be at least 2, got {given}")
    if given > most:
        raise ValueError(f"block_size {given} is more than the {most} tokens that the model takes")
    return given


def encode_texts(
    splits: dict[str, Any],
    tokenizer: Callable[..., Any],
    *,
    block_size: int,
    line_by_line: bool = False,
    labels: bool = True,
    num_proc: int | None = None,
    overwrite: bool = False,
    cache_dir: str | None = None,
) -> dict[str, Any]:
    """Every split as `input_ids`, with `labels` equal to them if `labels`.

    Texts are put one behind the other and cut into blocks of `block_size` tokens; of every thousand texts the rest that
    fills no block is dropped. With `line_by_line` each text is a row of its own, cut to `block_size`.

    Raises:
        ValueError: a split has no block, or no line of at least two tokens.
    """
    from datasets.fingerprint import Hasher

    key = Hasher.hash((tokenizer, block_size, line_by_line, labels))

    def encode(rows: dict[str, list[str]]) -> dict[str, Any]:
        limits: dict[str, Any] = {"truncation": True, "max_length": block_size} if line_by_line else {}
        tokens = tokenizer(rows["text"], return_attention_mask=False, verbose=False, **limits)["input_ids"]
        ids = [line for line in tokens if len(line) > 1] if line_by_line else _cut(tokens, block_size)
        return {"input_ids": ids} | ({"labels": [list(block) for block in ids]} if labels else {})

    encoded = {}
    for name, rows in splits.items():
        options: dict[str, Any] = {"batched": True, "remove_columns": ["text"]}
        if _is_stream(rows):
            encoded[name] = rows.map(encode, **options)
            if not list(encoded[name].take(1)):
                raise ValueError(
                    f"the texts of the {name} split fill no block of {block_size}, or no line of at least two tokens: "
                    "give more text, a smaller --block_size, or --line_by_line"
                )
            continue
        options |= {"num_proc": num_proc, "load_from_cache_file": not overwrite, "desc": f"Tokenizing {name}"}
        encoded[name] = rows.map(encode, cache_file_name=cache_file(rows, key, cache_dir=cache_dir), **options)
        if not len(encoded[name]):
            _refuse_short(name, rows, tokenizer, block_size, line_by_line)
    return encoded


def _cut(tokens: list[list[int]], size: int) -> list[list[int]]:
    together = list(chain.from_iterable(tokens))
    return [together[i : i + size] for i in range(0, len(together) - size + 1, size)]


def _refuse_short(name: str, rows: Dataset, tokenizer: Any, block_size: int, line_by_line: bool) -> None:
    count = sum(map(len, tokenizer(list(rows["text"]), verbose=False)["input_ids"]))
    if line_by_line:
        raise ValueError(
            f"the {name} split has no line of at least two tokens in {len(rows)}: leave --line_by_line out"
        )
    raise ValueError(
        f"the {name} split has {count} tokens in {len(rows)} texts, which fill no block of {block_size}: give more "
        "text, a smaller --block_size, or --line_by_line"
    )


def _is_stream(rows: Any) -> bool:
    from datasets import IterableDataset

    return isinstance(rows, IterableDataset)


class LanguageCollator:
    """Rows of `encode_texts` as a batch: those without labels are masked anew each time they are seen.

    Args:
        tokenizer: pads lines to the longest one of the batch, and says what a mask is.
        mlm_probability: share of the tokens that are masked; None: no row is without labels.
        pad: rows have different lengths.
    """

    def __init__(self, tokenizer: Any, *, mlm_probability: float | None = None, pad: bool = False) -> None:
        self._mask: Any = None
        if mlm_probability is not None:
            self._mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=mlm_probability)
        self._collate: Any = DataCollatorForTokenClassification(tokenizer) if pad else default_data_collator

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return (self._collate if "labels" in rows[0] else self._mask)(list(rows))


def mask_once(rows: Dataset, tokenizer: Any, mlm_probability: float) -> Dataset:
    """Rows of an evaluation split with masks that are the same in every run and at every evaluation.

    Raises:
        ValueError: not one token is masked.
    """
    from datasets import Dataset

    mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=mlm_probability)
    masked: dict[str, list[Any]] = {"input_ids": [], "labels": []}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for row in rows:
            batch = mask([{"input_ids": row["input_ids"]}])  # type: ignore[index]
            for name, values in masked.items():
                values.append(batch[name][0].tolist())
    if all(label == -100 for labels in masked["labels"] for label in labels):
        raise ValueError(
            f"mlm_probability {mlm_probability} masks none of the tokens that are evaluated: give more text or a "
            "larger --mlm_probability"
        )
    return Dataset.from_dict(masked)
