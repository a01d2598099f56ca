"""Losses by name."""

import pytest

from hf_squareloss.losses import LOSSES, CrossEntropy, SquareLoss, Squentropy, make_loss


def test_every_loss_is_registered_under_its_own_name() -> None:
    assert {"cross_entropy": CrossEntropy, "square": SquareLoss, "squentropy": Squentropy} == LOSSES
    for name, loss in LOSSES.items():
        assert loss.name == name and type(make_loss(name)) is loss


def test_parameters_reach_the_loss() -> None:
    assert make_loss("square", k=2, M="paper", class_weights=[1, 2]) == SquareLoss(
        k=2.0, M="paper", class_weights=(1.0, 2.0)
    )


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("sqare", "square"), ("Square", "square"), ("crossentropy", "cross_entropy"), ("squentrpy", "squentropy")],
)
def test_a_wrong_name_is_answered_with_the_nearest_one(wrong: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        make_loss(wrong)


def test_a_name_near_to_nothing_is_answered_with_all_of_them() -> None:
    with pytest.raises(ValueError, match="cross_entropy, square, squentropy") as error:
        make_loss("xyz")
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "wrong", "nearest"),
    [
        ("square", "label_smooting", "label_smoothing"),
        ("square", "m", None),
        ("squentropy", "k", None),
        ("cross_entropy", "class_weight", "class_weights"),
        ("square", "temperature", None),
    ],
)
def test_a_wrong_parameter_is_answered_with_the_nearest_one(name: str, wrong: str, nearest: str | None) -> None:
    with pytest.raises(ValueError, match=f"no parameter '{wrong}'") as error:
        make_loss(name, **{wrong: 1})
    assert ("did you mean" in str(error.value)) == (nearest is not None)
    assert nearest is None or repr(nearest) in str(error.value)
