"""Blocks and lines of tokens, masks for evaluation that never change, and texts that are too short."""

from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny_tokenizer import make_tokenizer
from transformers import GPT2Config

from hf_squareloss.recipes.language_blocks import LanguageCollator, choose_block_size, encode_texts, mask_once
from hf_squareloss.recipes.vocabulary import build_tokenizer

TEXTS = ["one two three", "four five", "six", "seven eight nine ten one"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer(TEXTS, "words")


def encode(tokenizer: Any, **options: Any) -> Any:
    return encode_texts({"train": Dataset.from_dict({"text": TEXTS})}, tokenizer, overwrite=True, **options)["train"]


def test_blocks_are_the_text_cut(tokenizer: Any) -> None:
    rows = encode(tokenizer, block_size=4)
    words = " ".join(TEXTS).split()
    assert [tokenizer.convert_ids_to_tokens(block) for block in rows["input_ids"]] == [words[:4], words[4:8]]
    assert rows["labels"][:] == rows["input_ids"][:] and set(rows.column_names) == {"input_ids", "labels"}
    assert encode(tokenizer, block_size=4, labels=False).column_names == ["input_ids"]


def test_a_stream_has_the_same_blocks(tokenizer: Any) -> None:
    stream = Dataset.from_dict({"text": TEXTS}).to_iterable_dataset()
    rows = list(encode_texts({"train": stream}, tokenizer, block_size=4)["train"])
    assert [row["input_ids"] for row in rows] == encode(tokenizer, block_size=4)["input_ids"][:]


def test_lines_are_padded_without_labels(tokenizer: Any) -> None:
    rows = encode(tokenizer, block_size=4, line_by_line=True)
    assert [len(line) for line in rows["input_ids"]] == [3, 2, 4]  # a line of one token predicts nothing
    batch = LanguageCollator(tokenizer, pad=True)([rows[i] for i in range(3)])
    assert batch["labels"][1].tolist() == [*rows["input_ids"][1], -100, -100]
    assert batch["input_ids"][1, 2:].tolist() == [tokenizer.pad_token_id] * 2
    assert batch["attention_mask"].sum(-1).tolist() == [3, 2, 4]


def test_texts_that_fill_no_block_are_refused_with_what_to_do(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="train split has 11 tokens in 4 texts.*block of 12.*smaller --block_size"):
        encode(tokenizer, block_size=12)
    one = {"train": Dataset.from_dict({"text": ["one", ""]})}
    with pytest.raises(ValueError, match="no line of at least two tokens in 2"):
        encode_texts(one, tokenizer, block_size=4, line_by_line=True)


def test_masks_for_evaluation_are_the_same_each_time(tokenizer: Any) -> None:
    rows = Dataset.from_dict({"input_ids": [[3, 4, 5, 6, 7, 8]] * 20})
    state = torch.random.get_rng_state()
    first, second = (mask_once(rows, tokenizer, 0.3)[:] for _ in range(2))
    assert first == second and torch.equal(torch.random.get_rng_state(), state)
    flat = [label for labels in first["labels"] for label in labels]
    assert 15 < sum(label != -100 for label in flat) < 60
    assert any(tokenizer.mask_token_id in ids for ids in first["input_ids"])
    collate = LanguageCollator(tokenizer, mlm_probability=0.3)
    batch = collate([{"input_ids": first["input_ids"][0], "labels": first["labels"][0]}])
    assert batch["labels"][0].tolist() == first["labels"][0]  # not masked again
    drawn = [collate([{"input_ids": [3, 4, 5, 6, 7, 8]}] * 20)["labels"] for _ in range(2)]
    assert not torch.equal(*drawn)  # in training, anew
    with pytest.raises(ValueError, match="masks none"):
        mask_once(Dataset.from_dict({"input_ids": [[3]]}), tokenizer, 1e-6)


def test_the_size_of_a_block() -> None:
    tokenizer, config = make_tokenizer(), GPT2Config(n_positions=12)
    assert tokenizer.model_max_length == 16 and choose_block_size(None, tokenizer, config) == 12
    assert choose_block_size(5, tokenizer, config) == 5
    with pytest.raises(ValueError, match="13 is more than the 12 tokens"):
        choose_block_size(13, tokenizer, config)
    with pytest.raises(ValueError, match="at least 2"):
        choose_block_size(1, tokenizer, config)
    tokenizer.model_max_length = 10**30
    assert choose_block_size(None, tokenizer, GPT2Config(n_positions=4096)) == 1024
