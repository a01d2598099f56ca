"""What every loss refuses: scores and labels that do not fit, and options that mean nothing."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import pytest
import torch
from batches import random_scores
from contract import every_loss
from torch import Tensor

from hf_squareloss.losses import Loss, ctc_loss


@every_loss
@pytest.mark.parametrize(
    ("scores", "labels", "says"),
    [
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, 3]), "got 3"),
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, -1]), "got -1"),
        (torch.zeros(4, 3), torch.tensor([True, False, True, False]), "integers"),
        (torch.zeros(4, 3), torch.tensor([0, 1, 2]), "shape"),
        (torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.long), "shape"),
        (torch.zeros(4, 4), torch.zeros(4, 4, dtype=torch.long), "integers of shape"),
        (torch.zeros(2, 4, 3), torch.zeros(8, dtype=torch.long), "shape"),
        (torch.zeros(4, 4), torch.zeros(4), "shape"),
        (torch.zeros(4, 3), torch.zeros(4, 2), "shape"),
        (torch.zeros(4, 3), torch.full((4, 3), 1.5), "got 1.5"),
        (torch.zeros(4, 3), torch.tensor([[-100.0, 0.5, 0.5]] * 4), "got -100"),
        (torch.zeros(4, 3), torch.full((4, 3), float("nan")), "got nan"),
        (torch.zeros(4, 3, dtype=torch.long), torch.tensor([0, 1, 2, 0]), "scores must be floating"),
        (torch.tensor(0.0), torch.tensor(0), "scores must be floating"),
    ],
)
def test_scores_and_labels_that_do_not_fit_are_refused(loss: Loss, scores: Tensor, labels: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        loss(scores, labels)


@every_loss
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_every_integer_type(loss: Loss, dtype: torch.dtype) -> None:
    loss = replace(loss, class_weights=(1.0, 2.0, 3.0))
    scores, labels = random_scores(3, 3), torch.tensor([0, 2, 2])
    torch.testing.assert_close(loss.mean(scores, labels.to(dtype)), loss.mean(scores, labels), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"label_smoothing": -0.1}, "label_smoothing"),
        ({"label_smoothing": float("nan")}, "label_smoothing"),
        ({"class_weights": ()}, "class_weights"),
        ({"class_weights": (1.0, 0.0)}, "class_weights"),
        ({"class_weights": (1.0, float("inf"))}, "class_weights"),
        ({"multi_label": True, "label_smoothing": 0.1}, "label_smoothing"),
    ],
)
@every_loss
def test_options_that_mean_nothing_are_refused(loss: Loss, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(loss, **options)


@every_loss
def test_parameters_of_a_wrong_type_are_refused_by_name(loss: Loss) -> None:
    for parameter in fields(loss):
        wrong: list[Any] = ["nonsense", "1", [], torch.ones(2, 2)]
        wrong += [1, 0.5] if parameter.name == "multi_label" else [True]
        wrong += [None] if parameter.default is not None else []
        for value in wrong:
            with pytest.raises(ValueError, match=f"{parameter.name} must be"):
                replace(loss, **{parameter.name: value})


@dataclass(frozen=True, kw_only=True)
class Careless(Loss):
    """It does not look at its own parameter."""

    name: ClassVar[str] = "careless"
    power: float = 2.0

    def costs(self, scores: Tensor) -> Tensor:
        return scores

    def link(self, scores: Tensor) -> Tensor:
        return scores


def test_a_loss_that_takes_anything_is_noticed() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_parameters_of_a_wrong_type_are_refused_by_name(Careless())


@every_loss
def test_class_weights_of_another_number_of_classes_are_refused(loss: Loss) -> None:
    loss = replace(loss, class_weights=(1.0, 2.0))
    for labels in (torch.tensor([0, 1]), torch.full((2, 3), 1 / 3)):
        with pytest.raises(ValueError, match="2 class_weights"):
            loss.mean(torch.zeros(2, 3), labels)
    with pytest.raises(ValueError, match="2 class_weights"):
        loss.probabilities(torch.zeros(2, 3))


@every_loss
@pytest.mark.parametrize(("dtype", "classes", "label"), [(torch.uint8, 200, 156), (torch.int8, 200, 100)])
def test_labels_of_few_bits_are_the_numbers_that_they_are(
    loss: Loss, dtype: torch.dtype, classes: int, label: int
) -> None:
    """-100 is 156 in uint8, and 200 is no number of int8."""
    loss = replace(loss, class_weights=None, ignore_index=-100)
    wide = torch.tensor([0, label, 3, label])
    narrow, scores = wide.to(dtype), random_scores(4, classes)
    assert torch.equal(loss(scores, narrow), loss(scores, wide)) and (loss(scores, narrow) > 0).all()
    assert loss.total_weight(narrow) == 4 and torch.equal(loss.item_weights(narrow), torch.ones(4))
    assert not loss.wrong_labels(narrow, classes).any() and loss.wrong_labels(narrow, 50).sum() == 2
    hidden, weight = random_scores(4, 8), random_scores(classes, 8)
    values = (loss.of_linear(hidden, weight, None, labels) for labels in (narrow, wide))
    assert torch.equal(*values)
    frames = {"loss": replace(loss, ctc_tau="posterior"), "blank": 0}
    scores, lengths = random_scores(1, 6, classes), torch.tensor([6])
    labels = torch.tensor([[label, 3]])
    values = (ctc_loss(scores, each, lengths, **frames) for each in (labels.to(dtype), labels))
    assert torch.equal(*values)
