"""From texts to what a language model is trained on: blocks of equal length, or lines."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.cache import cache_file
from hf_squareloss.recipes.text_encoding import positions_of

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

_LONGEST = 1024  # tokens of a block where nobody says more


def choose_block_size(given: int | None, tokenizer: Any, model: PreTrainedModel) -> int:
    """Tokens of a block: what is given, or as many as tokenizer and model take, 1,024 at most.

    Raises:
        ValueError: fewer than two tokens, or more than the model has positions for.
    """
    most = min(tokenizer.model_max_length, positions_of(model) or tokenizer.model_max_length)
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
    fills no block is dropped. With `line_by_line` each text is a row of its own, cut to `block_size`, and keeps the
    column `row` where there is one; left out are lines of fewer than two tokens, or of none but those that the
    tokenizer adds.

    Raises:
        ValueError: a split has no block, or no such line.
    """
    from datasets.fingerprint import Hasher

    key = Hasher.hash((tokenizer, block_size, line_by_line, labels))

    def tokens_of(rows: dict[str, list[Any]]) -> dict[str, Any]:
        return {"input_ids": tokenizer(rows["text"], return_attention_mask=False, verbose=False)["input_ids"]}

    def cut(rows: dict[str, list[Any]]) -> dict[str, Any]:
        return labelled({"input_ids": _cut(rows["input_ids"], block_size)})

    def labelled(found: dict[str, Any]) -> dict[str, Any]:
        return found | ({"labels": [list(ids) for ids in found["input_ids"]]} if labels else {})

    def encode(rows: dict[str, list[Any]]) -> dict[str, Any]:
        return labelled(_lines(rows, tokenizer, block_size)) if line_by_line else cut(tokens_of(rows))

    encoded = {}
    for name, rows in splits.items():
        if _is_stream(rows):
            encoded[name] = rows.map(encode, batched=True, remove_columns=["text"])
            if not list(encoded[name].take(1)):
                raise ValueError(
                    f"the texts of the {name} split fill no block of {block_size}, or no line of at least two tokens: "
                    "give more text, a smaller --block_size, or --line_by_line"
                )
            continue
        options: dict[str, Any] = {"batched": True, "load_from_cache_file": not overwrite}
        file = cache_file(rows, key, cache_dir=cache_dir)
        at_work: dict[str, Any] = {"num_proc": num_proc, "desc": f"Tokenizing {name}"}
        if line_by_line:
            made = rows.map(encode, remove_columns=rows.column_names, cache_file_name=file, **at_work, **options)
        else:  # processes share the texts, but what a block is must not depend on their number
            at_work["cache_file_name"] = cache_file(rows, (key, "tokens"), cache_dir=cache_dir)
            made = rows.map(tokens_of, remove_columns=rows.column_names, **at_work, **options)
            made = made.map(cut, remove_columns="input_ids", cache_file_name=file, desc=f"Cutting {name}", **options)
        encoded[name] = made
        if not len(encoded[name]):
            _refuse_short(name, rows, tokenizer, block_size, line_by_line)
    return encoded


def _lines(rows: dict[str, list[Any]], tokenizer: Callable[..., Any], size: int) -> dict[str, list[Any]]:
    limits: dict[str, Any] = {"truncation": True, "max_length": size, "return_special_tokens_mask": True}
    tokens = tokenizer(rows["text"], return_attention_mask=False, verbose=False, **limits)
    lines = zip(tokens["input_ids"], tokens["special_tokens_mask"], strict=True)
    kept = [place for place, (ids, added) in enumerate(lines) if len(ids) > 1 and not all(added)]
    columns = {"input_ids": tokens["input_ids"], **({"row": rows["row"]} if "row" in rows else {})}
    return {name: [values[place] for place in kept] for name, values in columns.items()}


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
