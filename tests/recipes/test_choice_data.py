"""Questions with choices from files and data sets, and how the model sees them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from choice_files import questions, write_questions
from datasets import Dataset
from tiny_tokenizer import make_tokenizer

from hf_squareloss.recipes.choice_data import (
    ChoiceCollator,
    ChoiceColumns,
    choice_data,
    cut_choices,
    encode_choices,
    load_choices,
)

ROW: dict[str, Any] = {"sent1": "one", "sent2": "two", "ending0": "three", "ending1": "four five", "label": 1}


def data(*rows: dict[str, Any], columns: ChoiceColumns | None = None, split: str = "train") -> Any:
    return choice_data({split: Dataset.from_list(list(rows))}, columns)


def test_columns_of_swag(tmp_path: Path) -> None:
    write_questions(tmp_path / "a.csv", [ROW | {"ending2": "six"}])
    found = choice_data(load_choices({"train": str(tmp_path / "a.csv")}))
    assert found.splits["train"].to_list() == [
        {"context": "one", "choices": ["two three", "two four five", "two six"], "label": 1}
    ]
    assert (found.label_names, found.metrics) == (["0", "1", "2"], ("accuracy",))


def test_lists_and_other_names(tmp_path: Path) -> None:
    rows = [{"question": "one", "options": ["two", "three"], "right": 0}]
    (tmp_path / "a.json").write_text("\n".join(map(json.dumps, rows)))
    columns = ChoiceColumns(context="question", choices="options", label="right")
    found = choice_data(load_choices({"train": str(tmp_path / "a.json")}), columns)
    assert found.splits["train"].to_list() == [{"context": "one", "choices": ["two", "three"], "label": 0}]
    several = data({"sent1": "a", "x": "b", "y": "c", "label": "1"}, columns=ChoiceColumns(choices="x,y"))
    assert several.splits["train"].to_list() == [{"context": "a", "choices": ["b", "c"], "label": 1}]
    listed = data({"sent1": "a", "endings": ["b", "c"], "label": 1})
    assert listed.splits["train"]["choices"][:] == [["b", "c"]]


def test_a_start_may_be_empty() -> None:
    """As in HellaSwag, where a choice is often a sentence of its own."""
    assert data(ROW | {"sent2": ""}).splits["train"]["choices"][:] == [["three", "four five"]]
    with pytest.raises(ValueError, match="an empty sent2 in row 2"):
        data(ROW, ROW | {"sent2": None})


def test_endings_are_in_their_order() -> None:
    assert ChoiceColumns().of([f"ending{i}" for i in (10, 2, 0)])[1] == ["ending0", "ending2", "ending10"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROW, ROW | {"ending1": None}], "train split, row 2: choice 1 is missing"),
        ([ROW, ROW | {"ending0": ""}], "row 2: choice 0 is missing"),
        (
            [ROW | {"choices": ["a", "b"]}, ROW | {"choices": ["a"]}],
            "row 2: 1 choices, expected 2, as in the first row",
        ),
        ([{"sent1": "a", "choices": ["b"], "label": 0}], "row 1: 1 choices, expected at least 2"),
        ([{"sent1": "a", "label": 0}], "no column 'ending0'"),
        ([ROW | {"sent1": ""}], "an empty sent1 in row 1"),
        ([ROW, ROW | {"label": 2}], "row 2: the label must be a place from 0 to 1, got 2"),
        ([ROW | {"label": None}], "row 1: the label must be a place from 0 to 1, got None"),
        ([{"sent1": "a", "ending0": "b", "ending1": "c"}], "no column 'label'"),
    ],
)
def test_bad_rows_are_named(rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        data(*rows)


def test_bad_splits_are_named() -> None:
    with pytest.raises(ValueError, match="none of the splits"):
        choice_data({})
    with pytest.raises(ValueError, match="validation split is empty"):
        choice_data({"validation": Dataset.from_dict({"sent1": []})})


@pytest.mark.parametrize("hidden", [None, "", -1])
def test_labels_of_a_test_split_may_be_hidden(hidden: Any) -> None:
    assert "label" not in data(ROW | {"label": hidden}, split="test").splits["test"].column_names
    without = {name: value for name, value in ROW.items() if name != "label"}
    assert data(without, split="test").label_names == ["0", "1"]


def test_each_choice_follows_the_context(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    encoded = encode_choices(data(ROW, ROW), tokenizer, max_length=16, cache_dir=str(tmp_path))["train"]
    expected = [tokenizer("one", choice)["input_ids"] for choice in ("two three", "two four five")]
    assert encoded["input_ids"][:] == [expected] * 2 and encoded["labels"][:] == [1, 1]
    cut = encode_choices(data(ROW), tokenizer, max_length=5, pad=True, cache_dir=str(tmp_path))["train"]
    assert [len(ids) for ids in cut[0]["input_ids"]] == [5, 5]


def test_batches_have_one_length(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    rows = list(encode_choices(data(ROW, ROW), tokenizer, max_length=16, cache_dir=str(tmp_path))["train"])
    batch = ChoiceCollator(tokenizer)(rows)  # type: ignore[arg-type]
    length = len(tokenizer("one", "two four five")["input_ids"])
    assert {tuple(values.shape) for name, values in batch.items() if name != "labels"} == {(2, 2, length)}
    assert batch["labels"].equal(torch.tensor([1, 1])) and batch["input_ids"][0, 0, -1] == tokenizer.pad_token_id
    hidden = [{name: value for name, value in row.items() if name != "labels"} for row in rows]  # type: ignore[attr-defined]
    assert "labels" not in ChoiceCollator(tokenizer, pad_to_multiple_of=8)(hidden)


def test_the_toy_questions_are_questions() -> None:
    assert {row["label"] for row in questions(32, "a")} == {0, 1, 2}


def test_choices_that_are_cut_are_told(tmp_path: Path) -> None:
    splits = {"train": Dataset.from_list([ROW, ROW | {"ending0": "four six"}]), "test": Dataset.from_list([ROW])}
    found = choice_data(splits)
    whole, cut = (
        cut_choices(encode_choices(found, make_tokenizer(), max_length=length, cache_dir=str(tmp_path)))
        for length in (16, 6)
    )
    assert whole == "" and cut.endswith("within max_seq_length tokens: 1 of 2 in train")


def test_other_columns_may_hold_anything(tmp_path: Path) -> None:
    rows = [ROW | {"meta": "x"}, ROW | {"meta": ["y"]}]
    (tmp_path / "a.json").write_text("\n".join(map(json.dumps, rows)))
    assert len(choice_data(load_choices({"train": str(tmp_path / "a.json")})).splits["train"]) == 2
