"""Texts become tokens once, with the labels that belong to them."""

from pathlib import Path
from typing import Any

import pytest
from tiny_tokenizer import make_tokenizer
from transformers import GPT2Config

from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.text_data import load_files
from hf_squareloss.recipes.text_encoding import pad_with_end, tokenize

COLUMNS = {"text": "text", "label": "label"}


def load(folder: Path, train: str, test: str | None = None, **options: Any) -> ClassificationData:
    """Data in csv files of these contents."""
    files = {"train": train} | ({} if test is None else {"test": test})
    for split, content in files.items():
        (folder / f"{split}.csv").write_text(content, encoding="utf8")
    return load_files({split: str(folder / f"{split}.csv") for split in files}, COLUMNS, **options)


# ---- tokens ----------------------------------------------------------------------------------------------------------
def test_tokens_of_pairs(tmp_path: Path) -> None:
    data = load(tmp_path, "text,text_pair,label\none two,three,x\nfour,five,y\n", "text,text_pair\nsix,seven\n")
    encoded = tokenize(data, make_tokenizer(), max_length=16)
    cls, sep = 1, 2
    assert [list(ids) for ids in encoded["train"]["input_ids"]] == [[cls, 4, 5, sep, 6, sep], [cls, 7, sep, 8, sep]]
    assert list(encoded["train"]["labels"]) == [0, 1]
    assert {"text", "text_pair", "label"}.isdisjoint(encoded["train"].column_names)
    assert "labels" not in encoded["test"].column_names
    single = ClassificationData({"train": data.splits["train"].remove_columns("text_pair")}, data.label_names)
    assert list(tokenize(single, make_tokenizer(), max_length=16)["train"]["input_ids"][0]) == [cls, 4, 5, sep]


def test_texts_are_tokenized_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files loaded and tokenized again, as by another run, come from the cache; with `overwrite` they do not."""
    calls: list[int] = []
    tokenizer_class = type(make_tokenizer())
    call = tokenizer_class.__call__

    def counted(self: Any, texts: Any, *rest: Any, **options: Any) -> Any:
        calls.append(len(texts))
        return call(self, texts, *rest, **options)

    monkeypatch.setattr(tokenizer_class, "__call__", counted)
    file = tmp_path / "train.csv"
    file.write_text("text,label\none two,x\nthree,y\n", encoding="utf8")
    for overwrite, expected in ((False, [2]), (False, [2]), (True, [2, 2])):
        data = load_files({"train": str(file)}, COLUMNS)
        encoded = tokenize(data, make_tokenizer(), max_length=16, overwrite=overwrite)["train"]
        assert [len(ids) for ids in encoded["input_ids"]] == [4, 3] and calls == expected


def test_tokens_are_cut_and_padded(tmp_path: Path) -> None:
    data = load(tmp_path, "text,label\none two three four five,x\nsix,y\n")
    lengths = {
        pad: [len(ids) for ids in tokenize(data, make_tokenizer(), max_length=6, pad=pad)["train"]["input_ids"]]
        for pad in (False, True)
    }
    assert lengths == {False: [6, 3], True: [6, 6]}
    cut = tokenize(data, make_tokenizer(), max_length=4, pad=True, overwrite=True)["train"]
    assert [list(ids) for ids in cut["input_ids"]] == [[1, 4, 5, 2], [1, 9, 2, 0]]
    assert [list(mask) for mask in cut["attention_mask"]] == [[1, 1, 1, 1], [1, 1, 1, 0]]


def test_a_decoder_pads_with_its_end() -> None:
    for pad, expected in ((None, "[SEP]"), ("[PAD]", "[PAD]")):
        tokenizer = make_tokenizer()
        tokenizer.eos_token, tokenizer.pad_token = "[SEP]", pad
        config: Any = GPT2Config()
        pad_with_end(tokenizer, config)
        assert tokenizer.pad_token == expected
        assert config.pad_token_id == tokenizer.convert_tokens_to_ids(expected)
    given: Any = GPT2Config(pad_token_id=7)
    pad_with_end(make_tokenizer(), given)
    assert given.pad_token_id == 7


def test_several_labels_are_lists(tmp_path: Path) -> None:
    data = load(tmp_path, "text,label\none,x y\ntwo,\n", label_separator=" ")
    assert tokenize(data, make_tokenizer(), max_length=16)["train"]["labels"][:] == [[1.0, 1.0], [0.0, 0.0]]
