"""Vocabularies of words, parts of words and characters: what is in them, in which order, and that they load again."""

from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from hf_squareloss.recipes.vocabulary import build_tokenizer, training_texts

TEXTS = ["The cat saw the dog.", "the dog, the end_1"]


def test_words_by_their_frequency(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TEXTS, "words")
    assert tokenizer.tokenize("The DOG, a cat.") == ["the", "dog", ",", "[UNK]", "cat", "."]
    vocabulary = tokenizer.get_vocab()
    assert [vocabulary[word] for word in ("[PAD]", "[UNK]", "[MASK]", "the", "dog")] == [0, 1, 2, 3, 4]
    assert tokenizer("end_1 the")["input_ids"] == [vocabulary["end_1"], 3]
    few = build_tokenizer(TEXTS, "words", 5)
    assert sorted(few.get_vocab()) == ["[MASK]", "[PAD]", "[UNK]", "dog", "the"]
    few.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("The cat")["input_ids"] == [3, 1]


def test_characters_are_given_back_as_they_were(tmp_path: Path) -> None:
    text = "a b\n\tÀ"
    build_tokenizer([text], "characters").save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    tokens = tokenizer(text)["input_ids"]
    assert len(tokens) == len(text) and tokenizer.decode(tokens) == text
    assert tokenizer("z")["input_ids"] == [tokenizer.unk_token_id]


def test_parts_of_words_give_any_text_back(tmp_path: Path) -> None:
    build_tokenizer(["low lower lowest newer newest"] * 5, "subwords", 270).save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == 270 and tokenizer.convert_ids_to_tokens([0, 1, 2]) == ["[PAD]", "[UNK]", "[MASK]"]
    text = "Lower lowest, Žluťoučký kůň\n"  # letters and bytes that no training text has
    tokens = tokenizer(text)["input_ids"]
    assert tokenizer.decode(tokens) == text and tokenizer.unk_token_id not in tokens
    assert len(tokenizer("lowest")["input_ids"]) < 6
    again = build_tokenizer(["low lower lowest newer newest"] * 5, "subwords", 270)
    assert again.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("texts", "units", "size", "message"),
    [
        (TEXTS, "letters", None, "must be one of words, subwords, characters"),
        (TEXTS, "words", 3, "must be above 3"),
        (["", " \n"], "words", None, "no words"),
        ([""], "characters", None, "no characters"),
        (TEXTS, "subwords", 259, "must be above 259, the number of special tokens and bytes"),
        (["", " "], "subwords", None, "no subwords"),
    ],
)
def test_what_makes_no_vocabulary(texts: list[str], units: str, size: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_tokenizer(texts, units, size)


def test_training_texts_are_those_of_every_text_column() -> None:
    splits = {"train": Dataset.from_dict({"text": ["a"], "text_pair": ["b"], "label": [0]})}
    assert list(training_texts(splits)) == ["a", "b"]
    with pytest.raises(ValueError, match="--train_file"):
        training_texts({"test": splits["train"]})
