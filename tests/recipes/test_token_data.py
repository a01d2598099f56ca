"""Sentences and tags from files and data sets, and what of them the model sees."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from tag_files import make_tokenizer
from tokenizers import normalizers
from transformers import BertTokenizer

from hf_squareloss.recipes.classification import ClassificationData, with_label_order
from hf_squareloss.recipes.token_data import (
    cut_sentences,
    encode_sentences,
    label_counts,
    load_sentences,
    read_sentences,
    token_data,
)

ROWS = {"tokens": [["Dr", "Ada", "saw"], ["sea"]], "tags": [["B-PER", "I-PER", "O"], ["O"]]}


def data(rows: dict[str, list[Any]] = ROWS, **others: dict[str, list[Any]]) -> ClassificationData:
    splits = {"train": rows, **others}
    return token_data({name: Dataset.from_dict(split) for name, split in splits.items()})


@pytest.fixture
def encode(tmp_path: Path) -> Any:
    def of(found: ClassificationData, **options: Any) -> dict[str, Dataset]:
        return encode_sentences(found, make_tokenizer(), cache_dir=str(tmp_path), **{"max_length": 16, **options})

    return of


# ---- files ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.conll", "-DOCSTART- -X- O\n\nDr NNP B-PER\nAda NNP I-PER\nsaw VBD O\n\n\nsea NN O\n"),
        ("a.txt", "Dr\tB-PER\nAda\tI-PER\nsaw\tO\n\nsea\tO"),
        ("a.csv", "tokens,tags\nDr Ada saw,B-PER I-PER O\nsea,O\n"),
        ("a.json", "\n".join(json.dumps({c: ROWS[c][i] for c in ROWS}) for i in (0, 1))),
    ],
)
def test_all_kinds_of_files(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    splits = load_sentences({"train": str(tmp_path / name)})
    assert splits["train"].to_dict() == ROWS
    assert token_data(splits).label_names == ["B-PER", "I-PER", "O"]


def test_a_file_of_tokens_alone(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Dr\nAda\n\nsea\n")
    assert read_sentences(tmp_path / "a.conll") == {"tokens": [["Dr", "Ada"], ["sea"]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "train split is empty"),
        ("\n-DOCSTART- O\n\n", "is empty"),
        ("a O\nb\n", "line 2: expected 2 columns, got 1"),
    ],
)
def test_bad_files_are_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_sentences(tmp_path / "a.conll", "train")
    with pytest.raises(ValueError, match="cannot be read"):
        read_sentences(tmp_path / "b.conll")


# ---- columns and tags -----------------------------------------------------------------------------------------------
def test_columns_by_name_and_by_place() -> None:
    moved = Dataset.from_dict({"words": ROWS["tokens"], "pos_tags": ROWS["tags"], "ner_tags": [["x"] * 3, ["y"]]})
    assert token_data({"train": moved}).label_names == ["x", "y"]
    assert token_data({"train": moved}, task_name="pos").label_names == ["B-PER", "I-PER", "O"]
    assert token_data({"train": moved}, "words", "pos_tags").splits["train"]["tokens"] == ROWS["tokens"]
    other = Dataset.from_dict({"words": ROWS["tokens"], "kinds": ROWS["tags"]})
    assert token_data({"train": other}).label_names == ["B-PER", "I-PER", "O"]
    with pytest.raises(ValueError, match="no column 'none'"):
        token_data({"train": other}, label_column="none")


def test_tags_of_features_have_their_names_and_order() -> None:
    features = Features({"tokens": List(Value("string")), "ner_tags": List(ClassLabel(names=["O", "LOC", "PER"]))})
    rows = Dataset.from_dict({"tokens": ROWS["tokens"], "ner_tags": [[2, 2, 0], [0]]}, features=features)
    found = token_data({"train": rows})
    assert found.label_names == ["O", "LOC", "PER"] and found.splits["train"]["tags"][0] == ["PER", "PER", "O"]


def test_numbers_are_in_their_order() -> None:
    assert data({"tokens": [["a"] * 3], "tags": [[10, 9, 0]]}).label_names == ["0", "9", "10"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"tokens": [["a"], ["a", "b"]], "tags": [["O"], ["O"]]}, "train split, row 2: 2 tokens and 1 tags"),
        ({"tokens": [["a"], ["a", ""]], "tags": [["O"], ["O", "O"]]}, "row 2: tokens must be a list of words"),
        ({"tokens": [["a"], None], "tags": [["O"], ["O"]]}, "row 2: tokens must be a list of words"),
        ({"tokens": [["a"], ["b"]], "tags": [["O"], None]}, "row 2: tags must be a list of words"),
        ({"tokens": [["a"]], "other": [1]}, "row 1: other must be a list"),
        ({"tokens": [["a"]]}, "no column 'tags'"),
        ({"tokens": []}, "train split is empty"),
        ({"tokens": [[], []], "tags": [[], []]}, "no sentence of the train split has a token"),
    ],
)
def test_bad_rows_are_named(rows: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data(rows)


def test_unknown_tags_are_named() -> None:
    with pytest.raises(
        ValueError, match="validation split, row 2: the training tags do not have 'LOC'; known are B-PER"
    ):
        data(validation={"tokens": [["a"], ["b"]], "tags": [["O"], ["LOC"]]})
    features = Features({"tokens": List(Value("string")), "tags": List(ClassLabel(names=["O", "X"]))})
    rows = Dataset.from_dict({"tokens": [["a"]], "tags": [[-1]]}, features=features)
    with pytest.raises(ValueError, match="row 1: the tag -1 is outside 0 to 1"):
        token_data({"train": rows})


def test_the_classes_are_those_of_training_wherever_it_stands() -> None:
    rows = {"train": ROWS, "validation": {"tokens": [["sea"]], "tags": [["O"]]}}
    splits = {name: Dataset.from_dict(rows[name]) for name in ("validation", "train")}
    assert token_data(splits).label_names == ["B-PER", "I-PER", "O"]


def test_tags_of_a_test_split_may_be_hidden() -> None:
    assert data(test={"tokens": [["a"]]}).splits["test"].column_names == ["tokens"]
    assert data(test={"tokens": [["a"]], "tags": [None]}).splits["test"].column_names == ["tokens"]
    assert token_data({"test": Dataset.from_dict({"tokens": [["a"]]})}).label_names == []
    with pytest.raises(ValueError, match="none of the splits"):
        token_data({})


# ---- the model's inputs ---------------------------------------------------------------------------------------------
def test_the_first_piece_has_the_label(encode: Any) -> None:
    row = encode(data())["train"][0]
    assert row["starts"] == [1, 3, 4]  # after [CLS]; Dr is two pieces
    assert row["labels"] == [-100, 0, -100, 1, 2, -100]


def test_all_pieces_may_have_it(encode: Any) -> None:
    assert encode(data(), label_all_tokens=True)["train"][0]["labels"] == [-100, 0, 1, 1, 2, -100]
    plain = {"tokens": ROWS["tokens"], "tags": [["title", "name", "verb"], ["noun"]]}
    title = data(plain).label_names.index("title")  # type: ignore[union-attr]
    assert encode(data(plain), label_all_tokens=True)["train"][0]["labels"][1:3] == [title, title]


def test_classes_of_the_model_whatever_their_case(encode: Any) -> None:
    turned = with_label_order(data(), ["o", "i-per", "b-per"])
    assert turned.label_names == ["o", "i-per", "b-per"]
    encoded = encode(turned)["train"]
    assert encoded[0]["labels"] == [-100, 2, -100, 1, 0, -100] and label_counts(encoded, 3) == [2, 1, 1]
    pieces = encode(turned, label_all_tokens=True)["train"]  # those of a title and of a name within it
    assert label_counts(pieces, 3) == [sum(row.count(c) for row in pieces["labels"]) for c in range(3)] == [2, 1, 2]


def test_padding_and_hidden_tags(encode: Any) -> None:
    found = encode(data(test={"tokens": [["sea"]]}), pad=True, max_length=8)
    assert [len(row) for row in found["train"]["labels"]] == [8, 8] and found["train"]["labels"][1][3:] == [-100] * 5
    assert "labels" not in found["test"].column_names and found["test"]["starts"][:] == [[1]]


def test_what_is_cut_is_counted(encode: Any) -> None:
    found = encode(data(validation=ROWS), max_length=4)
    assert found["train"]["starts"][0] == [1, -1, -1]
    assert cut_sentences(found).endswith("left out: 1 of 2 in train (2 tokens), 1 of 2 in validation (2 tokens)")
    assert cut_sentences(encode(data())) == ""


def test_a_token_without_a_piece_is_not_cut() -> None:
    rows = {"tokens": [["Dr", "\u200d", "saw"]], "tags": [["B-PER", "O", "O"]]}
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.normalizer = normalizers.BertNormalizer()  # leaves no piece of U+200D
    found = encode_sentences(data(rows), tokenizer, max_length=16, overwrite=True)
    assert found["train"]["starts"][0] == [1, -1, 2] and cut_sentences(found) == ""
    found = encode_sentences(data(rows), tokenizer, max_length=3, overwrite=True)
    assert cut_sentences(found).endswith("1 of 1 in train (2 tokens)")


def test_a_split_without_any_tag_is_refused(encode: Any) -> None:
    with pytest.raises(ValueError, match="no token of the train split has a tag within max_seq_length=2"):
        encode(data(), max_length=2)
    with pytest.raises(ValueError, match="no token of the validation split has a tag"):
        encode(data(validation={"tokens": [[]], "tags": [[]]}))
    assert encode(data(test={"tokens": [[]]}))["test"]["starts"][:] == [[]]  # nothing is asked of it


def test_an_empty_sentence_has_no_label(encode: Any) -> None:
    rows = {"tokens": [["Dr", "Ada", "saw"], []], "tags": [["B-PER", "I-PER", "O"], []]}
    assert encode(data(rows))["train"]["labels"][1] == [-100, -100]


def test_a_tokenizer_that_cannot_say_is_refused(tmp_path: Path) -> None:
    class Slow:
        is_fast = False

    assert BertTokenizer.is_fast
    with pytest.raises(ValueError, match="a Slow does not say which piece"):
        encode_sentences(data(), Slow(), max_length=8)
