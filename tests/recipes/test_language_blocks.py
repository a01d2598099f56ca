"""Blocks and lines of tokens, their size, and texts that are too short."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tag_files import make_tokenizer as make_bert_tokenizer
from tiny_tokenizer import make_tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    DataCollatorForTokenClassification,
    GPT2Config,
    MPNetConfig,
    RobertaConfig,
)

from hf_squareloss.recipes.language_blocks import choose_block_size, encode_texts
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
    batch = DataCollatorForTokenClassification(tokenizer)([rows[i] for i in range(3)])
    assert batch["labels"][1].tolist() == [*rows["input_ids"][1], -100, -100]
    assert batch["input_ids"][1, 2:].tolist() == [tokenizer.pad_token_id] * 2
    assert batch["attention_mask"].sum(-1).tolist() == [3, 2, 4]


def test_texts_that_fill_no_block_are_refused_with_what_to_do(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="train split has 11 tokens in 4 texts.*block of 12.*smaller --block_size"):
        encode(tokenizer, block_size=12)
    one = {"train": Dataset.from_dict({"text": ["one", ""]})}
    with pytest.raises(ValueError, match="no line of at least two tokens in 2"):
        encode_texts(one, tokenizer, block_size=4, line_by_line=True)


def test_lines_of_special_tokens_alone_are_left_out() -> None:
    tokenizer = make_bert_tokenizer()
    texts = ["\n", "sea saw", "", "sea"]
    rows = Dataset.from_dict({"text": texts, "row": [3, 5, 6, 8]})
    encoded = encode_texts({"test": rows}, tokenizer, block_size=8, line_by_line=True, labels=False)["test"]
    assert encoded["row"][:] == [5, 8] and [len(line) for line in encoded["input_ids"]] == [4, 3]
    blank = {"test": Dataset.from_dict({"text": ["\n", " "]})}
    with pytest.raises(ValueError, match="no line of at least two tokens in 2"):
        encode_texts(blank, tokenizer, block_size=8, line_by_line=True)


def model_of(config: Any, auto: Any = AutoModelForMaskedLM) -> Any:
    with torch.device("meta"):
        return auto.from_config(config)


def test_the_size_of_a_block() -> None:
    tokenizer, model = make_tokenizer(), model_of(GPT2Config(n_positions=12, n_layer=1), AutoModelForCausalLM)
    assert tokenizer.model_max_length == 16 and choose_block_size(None, tokenizer, model) == 12
    assert choose_block_size(5, tokenizer, model) == 5
    with pytest.raises(ValueError, match="13 is more than the 12 tokens"):
        choose_block_size(13, tokenizer, model)
    with pytest.raises(ValueError, match="at least 2"):
        choose_block_size(1, tokenizer, model)
    tokenizer.model_max_length = 10**30
    assert choose_block_size(None, tokenizer, model_of(GPT2Config(n_layer=1), AutoModelForCausalLM)) == 1024
    longer = model_of(GPT2Config(n_positions=4096, n_layer=1), AutoModelForCausalLM)
    assert choose_block_size(None, tokenizer, longer) == 1024


@pytest.mark.parametrize("config", [RobertaConfig(pad_token_id=0), RobertaConfig(), MPNetConfig()])
def test_positions_behind_the_padding_index(config: Any) -> None:
    config.num_hidden_layers, config.max_position_embeddings, config.hidden_size = 1, 20, 24
    tokenizer = make_tokenizer()
    tokenizer.model_max_length = 10**30
    model = AutoModelForMaskedLM.from_config(config).eval()
    most = choose_block_size(None, tokenizer, model)
    assert most == 20 - config.pad_token_id - 1
    ids = torch.full((1, most), 7)
    assert model(ids).logits.shape[:2] == (1, most)
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        model(torch.full((1, most + 1), 7))


@pytest.mark.parametrize("line_by_line", [False, True])
def test_blocks_do_not_depend_on_the_number_of_processes(tokenizer: Any, line_by_line: bool, tmp_path: Path) -> None:
    splits = {"train": Dataset.from_dict({"text": TEXTS * 600})}  # more than a batch of the cut
    found = [
        encode_texts(splits, tokenizer, block_size=4, line_by_line=line_by_line, num_proc=count,
                     cache_dir=str(tmp_path / str(count)))["train"]["input_ids"][:]
        for count in (None, 2)
    ]  # fmt: skip
    assert found[0] == found[1] and len(found[0]) > 1000
