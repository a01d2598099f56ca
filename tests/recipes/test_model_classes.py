"""The names of the classes, of the model and of the data, and the weights that belong to them."""

from pathlib import Path
from typing import Any

import pytest
from tiny_models import arguments
from transformers import BertConfig

from hf_squareloss.recipes.classification import ClassificationData, with_label_order
from hf_squareloss.recipes.model_classes import bind_class_weights, class_difference, fit_loss_to_data, same_classes


def data_of(*names: str) -> ClassificationData:
    return ClassificationData({}, list(names))


def model_of(*names: str) -> BertConfig:
    return BertConfig(id2label=dict(enumerate(names)))


# ---- names ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("names", [["neg", "pos"], ["pos", "neg"], ["NEG", "Pos"], ["pos"], []])
@pytest.mark.parametrize("training", [True, False])
def test_the_same_names_need_no_word(names: list[str], training: bool) -> None:
    assert class_difference(data_of(*names), model_of("neg", "pos"), training=training) == ""


def test_values_and_classes_are_told_apart() -> None:
    """Where nothing is learnt; in training a model gets another head."""
    values = ClassificationData({}, None)
    with pytest.raises(ValueError, match="gives each example a class, and the data a value: say --label_type classes"):
        class_difference(values, model_of("neg", "pos"), training=False)
    with pytest.raises(ValueError, match="gives each example a value, and the data a class: say --label_type values"):
        class_difference(data_of("0", "1"), model_of("LABEL_0"), training=False)
    assert class_difference(values, model_of("LABEL_0"), training=False) == ""
    assert class_difference(values, model_of("neg", "pos"), training=True) == ""
    assert class_difference(data_of(), model_of("LABEL_0"), training=False) == ""  # no split has labels


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (["favourable", "unfavourable"], ["neg", "pos"]),  # by the alphabet these would be the wrong way round
        (["neg", "pos", "neutral"], ["neg", "pos"]),
        (["neg", "other"], ["neg", "pos"]),
        (["1", "2"], ["neg", "pos"]),
        (["0", "1"], ["neg", "neutral", "pos"]),
        (["a", "b", "c"], ["LABEL_0", "LABEL_1"]),
        (["Yes", "yes"], ["yes", "no"]),
        (["yes", "no"], ["no", "yes", "Yes"]),
    ],
)
def test_other_names_are_refused_unless_they_are_learnt(ours: list[str], theirs: list[str]) -> None:
    with pytest.raises(ValueError, match=f"model's classes are {theirs[0]}, .* data's {ours[0]}, .* --do_train"):
        class_difference(data_of(*ours), model_of(*theirs), training=False)
    said = class_difference(data_of(*ours), model_of(*theirs), training=True)
    assert "\n" not in said
    if theirs[0] == "LABEL_0":
        assert said == ""  # a new head
    else:
        assert ", ".join(theirs) in said and ", ".join(ours) in said
    assert not same_classes(ours, theirs)


@pytest.mark.parametrize(("ours", "theirs"), [(["0", "1"], ["neg", "pos"]), (["neg", "pos"], ["LABEL_0", "LABEL_1"])])
def test_positions_are_paired_and_said(ours: list[str], theirs: list[str]) -> None:
    said = class_difference(data_of(*ours), model_of(*theirs), training=False)
    assert said.endswith(f"by position: {theirs[0]} is {ours[0]}, {theirs[1]} is {ours[1]}")


def test_two_names_never_become_one() -> None:
    data = data_of("Yes", "yes")
    assert with_label_order(data, ["yes", "no"]) is data


def test_many_names_are_cut_short() -> None:
    with pytest.raises(ValueError, match="a0, .* a9 and 90 more and the data's b0, .* b9 and 90 more:"):
        class_difference(
            data_of(*(f"b{i}" for i in range(100))), model_of(*(f"a{i}" for i in range(100))), training=False
        )


# ---- weights --------------------------------------------------------------------------------------------------------
def bound(folder: Path, weights: Any, *names: str, **changes: Any) -> tuple[str, Any]:
    args = arguments(folder, class_weights=weights, **changes)
    return bind_class_weights(args, data_of(*names)), args.make_loss().class_weights


@pytest.mark.parametrize("weights", ["neg=1,pos=9", "pos=9, neg=1", "1,9", [1, 9], {"pos": 9, "neg": 1}])
def test_weights_belong_to_names(weights: Any, tmp_path: Path) -> None:
    assert bound(tmp_path, weights, "neg", "pos") == ("Class weights: neg=1, pos=9", (1.0, 9.0))
    said, values = bound(tmp_path, weights, "pos", "neg")  # the order of another model
    assert (said, values) == (
        ("Class weights: pos=1, neg=9", (1.0, 9.0))
        if weights in ("1,9", [1, 9])
        else ("Class weights: pos=9, neg=1", (9.0, 1.0))
    )


def test_weights_of_the_loss_s_own_parameters_are_shown_too(tmp_path: Path) -> None:
    said, _ = bound(tmp_path, None, "a", "b", loss_parameters=["class_weights=1,2.5"])
    assert said == "Class weights: a=1, b=2.5"
    assert bound(tmp_path, None, "a", "b") == ("", None)


def test_names_may_have_signs_of_their_own(tmp_path: Path) -> None:
    assert bound(tmp_path, "a=b=2,1.5=3", "1.5", "a=b")[1] == (3.0, 2.0)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("neg=1,po=9", "no class is called 'po'; the classes are neg, pos"),
        ("neg=1,pos=2,x=3", "no class is called 'x'"),
        ("neg=1", "no weight for pos"),
        ("1,2,3", "3 class_weights for 2 classes: neg, pos"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        bound(tmp_path, weights, "neg", "pos")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("neg=1,9", "NAME=WEIGHT .* got '9'"),
        ("neg=one,pos=2", "got 'neg=one'"),
        ("neg=0,pos=2", "got 'neg=0'"),
        ("neg=-1,pos=2", "got 'neg=-1'"),
        ("neg=nan,pos=2", "got 'neg=nan'"),
        ("neg=inf,pos=2", "got 'neg=inf'"),
        ("neg=true,pos=2", "got 'neg=true'"),
        ("=1,pos=2", "got '=1'"),
        ("neg=1,neg=2", "'neg' is given twice"),
    ],
)
def test_wrong_weights_are_refused_before_anything_is_loaded(weights: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        arguments(tmp_path, class_weights=weights)


@pytest.mark.parametrize("weights", ["balanced", "1,2"])
def test_values_have_no_class_weights(weights: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="class_weights would be ignored: the labels are values"):
        fit_loss_to_data(
            arguments(tmp_path, class_weights=weights), ClassificationData({}, None), train=True, verbose=False
        )


def test_names_are_not_known_outside_of_the_scripts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="by name need the names of the classes: give the weights as numbers"):
        arguments(tmp_path, class_weights="a=1,b=2").make_loss()
    args = arguments(tmp_path, class_weights="balanced")
    assert bind_class_weights(args, data_of("a", "b")) == ""
    assert bind_class_weights(arguments(tmp_path), ClassificationData({}, None)) == ""
