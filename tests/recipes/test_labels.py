"""What labels mean follows from one rule over all of them, and what could be either is refused with its row."""

from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_squareloss.recipes.labels import LabelMeaning, feature_names, label_columns, label_texts, meaning_of


def texts(labels: list[Any], name: str = "train", separator: str | None = None) -> list[Any] | None:
    return label_texts(Dataset.from_dict({"label": labels}), ["label"], name, separator)


# ---- one label each -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["good", "bad"], ["bad", "good"]),
        (["1", "01", "2"], ["01", "1", "2"]),
        (["10", "9", "-1"], ["-1", "9", "10"]),
        (["word", "2", "10"], ["2", "10", "word"]),
        (["1.0", "x", "2"], ["2", "1.0", "x"]),
        (["nan", "x"], ["nan", "x"]),
        (["1e400", "x"], ["1e400", "x"]),
        (["true", "false"], ["false", "true"]),
        (["3", "1", "2"] * 10_000 + ["unknown"], ["1", "2", "3", "unknown"]),
    ],
)
def test_classes(labels: list[str], names: list[str]) -> None:
    meaning = meaning_of(labels)
    assert meaning == LabelMeaning(names)
    assert [names[i] for i in meaning.encode(labels, "train")] == labels


@pytest.mark.parametrize("labels", [["0.5", "1", "-2e-3"], [" 1.5", ".5", "3."], ["1.0", "2.0", "3.0"]])
def test_values(labels: list[str]) -> None:
    assert meaning_of(labels) == LabelMeaning(None)
    assert LabelMeaning(None).encode(labels, "train") == [float(label) for label in labels]


@pytest.mark.parametrize("word", ["nan", "inf", "unknown", "1_0", "2024-01-05", "1,5"])
def test_a_value_beside_what_is_no_number_is_refused(word: str) -> None:
    labels = [str(i) for i in range(10_000)] + ["0.4", word]
    with pytest.raises(ValueError, match=r"the label 0.4 is a real value, but .* in row 10002 is no number"):
        meaning_of(labels)
    assert word in (meaning_of(labels, label_type="classes").names or [])
    with pytest.raises(ValueError, match="but the train split has .* in row 10002"):
        meaning_of(labels, label_type="values").encode(labels, "train")


def test_either_can_be_forced() -> None:
    assert meaning_of(["1.10", "1.2"], label_type="classes").names == ["1.10", "1.2"]
    assert meaning_of(["1", "2", "3"], label_type="values").names is None
    with pytest.raises(ValueError, match="are floating"):
        meaning_of(["0.0", "1.0"])
    assert meaning_of(["0.0", "1.0"], label_type="values").names is None
    assert meaning_of(["0.0", "1.0"], label_type="classes").names == ["0.0", "1.0"]
    assert meaning_of(["0.0", "1.0"], names=["no", "yes"]).names == ["no", "yes"]


def test_unknown_classes_are_named() -> None:
    with pytest.raises(ValueError, match="test split has labels .* do not have: c, d; known are a, b"):
        LabelMeaning(["a", "b"]).encode(["d", "a", "c"], "test")


# ---- several classes ------------------------------------------------------------------------------------------------
def test_lists_of_names() -> None:
    labels = texts([["b", "a"], [], ["c"]])
    assert labels is not None
    meaning = meaning_of(labels)
    assert meaning == LabelMeaning(["a", "b", "c"], multi_label=True)
    assert meaning.encode(labels, "train") == [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    assert meaning_of([["10"], ["9"]]).names == ["9", "10"]
    with pytest.raises(ValueError, match="do not have: d"):
        meaning.encode([["d", "a"]], "validation")
    with pytest.raises(ValueError, match="a list of classes each, but those of the test split one class"):
        meaning.encode(["a"], "test")
    with pytest.raises(ValueError, match="label_type=values"):
        meaning_of(labels, label_type="values")


@pytest.mark.parametrize("rows", [[[0, 1, 1], [0, 0, 0]], [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]])
def test_lists_of_zeros_and_ones(rows: list[Any]) -> None:
    labels = texts(rows)
    assert labels is not None
    meaning = meaning_of(labels)
    assert meaning == LabelMeaning(["0", "1", "2"], multi_label=True, indicators=True)
    assert meaning.encode(labels, "train") == [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    for wrong in (["0", "1"], ["0", "1", "2"]):
        with pytest.raises(ValueError, match="3 times 0 or 1, but the test split has .* in row 2"):
            meaning.encode([["0", "0", "1"], wrong], "test")


def test_words_with_a_separator() -> None:
    labels = texts(["b|a", "", " a "], separator="|")
    assert labels == [["b", "a"], [], ["a"]]
    assert texts(["b a", "a"], separator=" ") == [["b", "a"], ["a"]]
    assert texts(["b|a", "a"]) == ["b|a", "a"]  # without it, a label is one class


def test_columns_of_zeros_and_ones() -> None:
    rows = Dataset.from_dict({"rude": ["0", "1", "0"], "loud": [1, 1, 0], "mad": [False, True, False]})
    columns = label_columns("rude,loud,mad", rows.column_names)
    assert columns == ["rude", "loud", "mad"] and feature_names(rows, columns) == columns
    assert label_texts(rows, columns, "train") == [["loud"], ["rude", "loud", "mad"], []]
    assert label_columns("a,b", ["a,b", "a", "b"]) == ["a,b"]
    hidden = Dataset.from_dict({"rude": [-1, -1], "loud": [-1, -1]})
    assert label_texts(hidden, ["rude", "loud"], "test") is None
    with pytest.raises(ValueError, match="validation split, row 1: rude must be 0 or 1, got '-1'"):
        label_texts(hidden, ["rude", "loud"], "validation")


def test_classes_of_the_features() -> None:
    features = Features({"label": ClassLabel(names=["z", "a"]), "many": List(ClassLabel(names=["z", "a"]))})
    rows = Dataset.from_dict({"label": [1, 0], "many": [[0, 1], []]}, features=features)
    for column, expected in (("label", ["a", "z"]), ("many", [["z", "a"], []])):
        assert label_texts(rows, [column], "train") == expected
        assert feature_names(rows, [column]) == ["z", "a"]
    assert meaning_of([["z", "a"], []], ["z", "a"]).names == ["z", "a"]
    assert feature_names(Dataset.from_dict({"label": [1]}), ["label"]) is None
    wrong = Dataset.from_dict({"label": [0, -1]}, features=Features({"label": features["label"]}))
    with pytest.raises(ValueError, match="test split has labels outside 0 to 1: -1"):
        label_texts(wrong, ["label"], "test")


# ---- hidden and empty -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("hidden", [[-1, -1], [-1.0, -1.0], [None, None], ["", ""]])
def test_only_a_test_split_hides_its_labels(hidden: list[Any]) -> None:
    rows = Dataset.from_dict(
        {"label": hidden}, features=Features({"label": Value("string")}) if None in hidden else None
    )
    assert label_texts(rows, ["label"], "test_mm") is None
    if hidden[0] in (None, ""):
        with pytest.raises(ValueError, match="validation split has an empty label in row 1"):
            label_texts(rows, ["label"], "validation")
    else:
        assert label_texts(rows, ["label"], "validation") is not None


@pytest.mark.parametrize("labels", [["a", None], ["a", ""], [["a"], None], [["a"], ["b", None]]])
def test_an_empty_label_is_refused(labels: list[Any]) -> None:
    with pytest.raises(ValueError, match="test split has an empty label in row 2"):
        texts(labels, "test")


@pytest.mark.parametrize("word", ["nan", "NaN", "inf", "-Infinity"])
def test_no_finite_number_beside_numbers_is_refused(word: str) -> None:
    message = f"the label '{word}' in row 3 is no finite number, all others are numbers"
    for numbers in (["0", "1"], ["0.0", "1.0"]):
        with pytest.raises(ValueError, match=message):
            meaning_of([*numbers, word])
        assert set(meaning_of([*numbers, word], label_type="classes").names or ()) == {*numbers, word}
    assert meaning_of(["0", word, "unknown"]).names is not None  # classes by name
