"""Hostile parameters: whatever a config or a caller gives is refused by name, or costs and gradients are finite."""

import json
import math
import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from contract import ONE_EACH, title
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig

from hf_squareloss.config import KEY, saved_loss
from hf_squareloss.losses import LOSSES, CrossEntropy, Loss, SquareLoss, ctc_loss, make_loss, square_costs, square_loss
from hf_squareloss.losses._parameters import LARGEST, LEAST

NAMES = sorted({field.name for cls in LOSSES.values() for field in fields(cls)})
NUMBERS = [0, -1, 1, 1e308, 1e-320, 5e-324, -0.0, LEAST, LARGEST, 1 - 1e-16, 1e-300, 2**63, 10**400, math.nan, 10**5000]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(NUMBERS[:-1])
    | st.sampled_from(["auto", "paper", "posterior", *LOSSES]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = st.sampled_from(["loss", "module", "version", "name", "self", "cls", *NAMES]) | st.text(max_size=6)
BLOCKS = st.dictionaries(KEYS, JSON, max_size=4).flatmap(
    lambda block: st.sampled_from([block, *({**block, "loss": name} for name in LOSSES)])
)


def config_with(block: Any) -> BertConfig:
    config = BertConfig()
    setattr(config, KEY, block)
    return config


def assert_finite(loss: Loss, classes: int) -> None:
    for largest in (1.0, 100.0):
        scores = (torch.linspace(-1, 1, 2 * classes).reshape(2, classes) * largest).requires_grad_()
        targets: Any = torch.tensor([0, classes - 1])
        if loss.multi_label:
            targets = torch.eye(classes)[targets]
        value = loss.mean(scores, targets)
        (gradient,) = torch.autograd.grad(value, scores)
        assert value.isfinite() and gradient.isfinite().all(), loss
        assert loss.probabilities(scores.detach()).isfinite().all(), loss


@settings(max_examples=600, deadline=None)
@given(JSON | BLOCKS)
def test_any_block_of_a_config_is_a_valid_loss_or_refused(block: Any) -> None:
    try:
        loss = saved_loss(config_with(block))
        if loss is None:
            assert block in (None, {})
            return
        classes = 3 if loss.class_weights is None else len(loss.class_weights)
        loss = loss.resolve(max(classes, 2))
    except ValueError as error:
        assert len(str(error)) < 400
        return
    if 0 <= loss.ignore_index < classes or classes < 2:
        return
    assert_finite(loss, classes)


@pytest.mark.parametrize("loss", ONE_EACH, ids=title)
@pytest.mark.parametrize("value", NUMBERS, ids=lambda value: str(value)[:8] if value != 10**5000 else "huge")
def test_any_number_for_any_parameter_is_refused_by_name_or_gives_finite_values(loss: Loss, value: Any) -> None:
    """The extremes of every range too: a range that is too wide fails here."""
    for field in fields(loss):
        given_value = [value, 1.0, 1.0] if field.name == "class_weights" else value
        try:
            made = replace(loss, **{field.name: given_value}).resolve(3)
        except ValueError as error:
            assert str(error).startswith(
                (f"{field.name} must be", "k must be", "M must be")
            )  # one follows from the other
            continue
        if not 0 <= made.ignore_index < 3:
            assert_finite(made, 3)


@pytest.mark.parametrize("k", [LEAST, LARGEST])
@pytest.mark.parametrize("M", [LEAST, LARGEST])
@pytest.mark.parametrize("weight", [LEAST, LARGEST])
def test_extremes_together_are_finite(k: float, M: float, weight: float) -> None:
    assert_finite(SquareLoss(k=k, M=M, class_weights=(weight, 1.0, 1.0)), 3)
    assert_finite(SquareLoss(k=k, M=M, class_weights=(weight,) * 3, multi_label=True), 3)


def test_the_unbounded_loss_is_not_finite() -> None:
    loss = SquareLoss()
    object.__setattr__(loss, "k", 1e38)
    object.__setattr__(loss, "M", 1.0)
    with pytest.raises(AssertionError):
        assert_finite(loss, 3)


BROKEN: list[Any] = [
    *("square", ["square"], 7, True, {"k": 1}, {"loss": None}, {"loss": ["square"]}),
    *({"loss": "square", key: 3} for key in ("module", "version", "name", "self", "loss")),
]


@pytest.mark.parametrize("block", BROKEN, ids=str)
def test_a_broken_block_is_a_value_error(block: Any) -> None:
    with pytest.raises(ValueError, match="saved loss must be|loss must be|module|version|no parameter"):
        saved_loss(config_with(json.loads(json.dumps(block))))


@pytest.mark.parametrize(
    "weights",
    [{1.0: 2.0}, {1.0, 2.0}, b"ab", "12", [[1.0], [2.0]], [1.0, True], [1.0, "2"], [1.0, None], [1.0, 1e-320],
     [1.0, 1e9], [1.0, math.nan], [1.0, 10**400], np.ones((2, 2)), torch.ones(0), 3.0, [1j]],
    ids=repr,
)  # fmt: skip
def test_what_is_no_list_of_weights_is_refused(weights: Any) -> None:
    with pytest.raises(ValueError, match="class_weights must be numbers from 1e-8 to 1e8"):
        CrossEntropy(class_weights=weights)


@pytest.mark.parametrize("weights", [[1, 2.5], (1.0, 2.5), np.array([1, 2.5]), torch.tensor([1, 2.5])], ids=repr)
def test_what_is_one_is_taken(weights: Any) -> None:
    assert CrossEntropy(class_weights=weights).class_weights == (1.0, 2.5)


@pytest.mark.parametrize("k", [0.0, -1.0, math.inf, 1e308, "auto", True, None])
def test_the_functions_check_too(k: Any) -> None:
    with pytest.raises(ValueError, match="k must be a positive number from 1e-8 to 1e8, got"):
        square_loss(torch.zeros(1, 2), torch.tensor([0]), k=k)
    with pytest.raises(ValueError, match="k must be"):
        square_costs(torch.zeros(1, 2), k=k)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"blank": 1.0}, "blank must be an integer"),
        ({"blank": True}, "blank must be an integer"),
        ({"blank": "0"}, "blank must be an integer"),
        ({"zero_infinity": "no"}, "zero_infinity must be True or False"),
        ({"loss": "square"}, "loss must be a Loss object"),
        ({"tau": 1e-320}, "ctc_tau must be"),
    ],
)
def test_ctc_checks_its_options(options: dict[str, Any], says: str) -> None:
    given_options = {"loss": CrossEntropy(), **options}
    with pytest.raises(ValueError, match=says):
        ctc_loss(torch.zeros(1, 2, 3), torch.tensor([[1]]), torch.tensor([2]), **given_options)


@pytest.mark.parametrize("loss", ONE_EACH, ids=title)
def test_the_form_of_a_linear_head_is_checked(loss: Loss) -> None:
    with pytest.raises(ValueError, match="form must be one of 'auto', 'gram', 'scores', got 'grm'"):
        loss.of_linear(torch.zeros(1, 2), torch.zeros(3, 2), None, torch.tensor([0]), form="grm")  # type: ignore[arg-type]


def test_a_million_weights_take_no_seconds() -> None:
    weights = [1.0 + i % 7 for i in range(1_000_000)]
    config = config_with({"loss": "square", "class_weights": weights})
    begin = time.process_time()
    loss = saved_loss(config)
    assert time.process_time() - begin < 1.0  # 0.1 s; 0.5 s and more with a copy of the config and a check one by one
    assert loss is not None and loss.class_weights == tuple(weights)
    with pytest.raises(ValueError, match="class_weights must be numbers") as refused:
        make_loss("square", class_weights=[*weights, -1.0])
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("loss", ONE_EACH, ids=title)
def test_a_mean_of_float64_scores_has_all_digits(loss: Loss) -> None:
    weights = (0.1, 0.7, 1.3)
    weighted = make_loss(loss.name, class_weights=weights)
    scores, labels = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(4, 3), torch.tensor([0, 2, 2, 1])
    plain = make_loss(loss.name)(scores, labels).tolist()
    total = math.fsum(weights[y] * value for y, value in zip(labels.tolist(), plain, strict=True))
    expected = total / math.fsum(weights[y] for y in labels.tolist())
    mean = weighted.mean(scores, labels)
    assert mean.dtype == torch.float64 and mean.item() == pytest.approx(expected, rel=1e-15)
    assert weighted.mean(scores.float(), labels).dtype == torch.float32
