"""The costs of every loss: its paper's formula, derivatives, and what follows for soft, mixed and renamed labels."""

from dataclasses import replace
from typing import Any

import naive_losses as naive
import pytest
import torch
from batches import (
    HARD,
    QUESTIONS,
    SOFT,
    batches,
    close,
    every_option,
    few,
    random_scores,
    with_ignore_index,
)
from contract import CONTRACT, every_loss, every_multi_label_loss
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hf_squareloss.losses import CrossEntropy, Loss

EXTREME = torch.tensor([[100.0, -100.0, 0.0], [-40.0, 40.0, 39.0], [90.0, 90.0, -90.0]], dtype=torch.float64)


# ---- against the papers' formulas ------------------------------------------------------------------------------------
@every_loss
@every_option
@pytest.mark.parametrize(
    "labels", [HARD, HARD.reshape(2, 2), SOFT, SOFT.reshape(2, 2, 3)], ids=["hard", "hard-BT", "soft", "soft-BT"]
)
def test_values_and_gradients_are_those_of_the_naive_loops(loss: Loss, options: dict[str, Any], labels: Tensor) -> None:
    loss = replace(loss, **options)
    labels = with_ignore_index(labels, loss.ignore_index)
    rows = labels.shape[:-1] if labels.is_floating_point() else labels.shape
    ours, theirs = (random_scores(*rows, 3).requires_grad_() for _ in range(2))
    value, reference = loss(ours, labels), naive.values(loss, theirs, labels)
    torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-12)
    weight = random_scores(*rows, seed=1)
    (value * weight).sum().backward()
    (reference * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


@every_multi_label_loss
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
def test_multi_label_values_and_gradients_are_those_of_the_naive_loops(
    loss: Loss, weights: tuple[float, ...] | None
) -> None:
    loss = replace(loss, multi_label=True, class_weights=weights)
    ours, theirs = (random_scores(3, 3).requires_grad_() for _ in range(2))
    value, reference = loss(ours, QUESTIONS), naive.multi_label_values(loss, theirs, QUESTIONS)
    torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-12)
    value.sum().backward()
    reference.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [name for name, entry in CONTRACT.items() if entry.question is None])
def test_multi_label_targets_are_refused_where_they_mean_nothing(name: str) -> None:
    for loss in CONTRACT[name].losses:
        with pytest.raises(ValueError, match="multi-label"):
            replace(loss, multi_label=True)(random_scores(3, 3), QUESTIONS)


# ---- derivatives -----------------------------------------------------------------------------------------------------
@every_loss
@every_option
def test_first_and_second_derivatives(loss: Loss, options: dict[str, Any]) -> None:
    loss = replace(loss, **options | {"ignore_index": -100})
    for labels in (HARD.reshape(2, 2), SOFT.reshape(2, 2, 3)):
        scores = random_scores(2, 2, 3).requires_grad_()
        assert torch.autograd.gradcheck(lambda s: loss(s, labels), scores)  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda s: loss(s, labels), scores)  # noqa: B023


@every_loss
@pytest.mark.parametrize("labels", [torch.tensor([0, 1, 2]), torch.tensor([1, 0, 1]), torch.full((3, 3), 1 / 3)])
def test_derivatives_where_the_scores_are_extreme(loss: Loss, labels: Tensor) -> None:
    scores = EXTREME.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, labels), scores)


@every_multi_label_loss
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
def test_derivatives_for_multi_label_targets(loss: Loss, weights: tuple[float, ...] | None) -> None:
    loss = replace(loss, multi_label=True, class_weights=weights)
    scores = random_scores(3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, QUESTIONS), scores)
    assert torch.autograd.gradgradcheck(lambda s: loss(s, QUESTIONS), scores)
    extreme = EXTREME.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, QUESTIONS), extreme)


# ---- one table -------------------------------------------------------------------------------------------------------
def check_table(loss: Loss) -> None:
    """`costs_at` and `link_at` against the tables that they need not build."""
    scores, labels = random_scores(5, 4), torch.tensor([0, 1, 2, 3, 0])
    classes = torch.stack([labels, labels.flip(0)], -1)
    close(loss.costs_at(scores, classes), loss.costs(scores).gather(-1, classes))
    close(loss.link_at(scores, classes), loss.link(scores).gather(-1, classes))


@every_loss
def test_the_table_gathered_is_the_direct_form(loss: Loss) -> None:
    check_table(loss)


@pytest.mark.parametrize("name", ["costs_at", "link_at"])
def test_a_direct_form_that_differs_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(CrossEntropy, name)
    monkeypatch.setattr(CrossEntropy, name, lambda self, scores, classes: right(self, 1.01 * scores, classes))
    with pytest.raises(AssertionError, match="not close"):
        check_table(CrossEntropy())


@every_loss
@few
@given(batch=batches())
def test_a_hard_label_is_a_one_hot_soft_label(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    scores, labels = batch
    one_hot = torch.nn.functional.one_hot(labels, scores.shape[-1]).double()
    for smoothing in (0.0, 0.2):
        smoothed = replace(loss, label_smoothing=smoothing)
        assert smoothed(scores, labels).shape == labels.shape
        close(smoothed(scores, labels), smoothed(scores, one_hot))
    close(loss.costs(scores).gather(-1, labels.unsqueeze(-1)).squeeze(-1), loss(scores, labels))


@every_loss
@few
@given(batch=batches(), share=st.floats(0, 1))
def test_a_mixed_label_costs_the_mixed_costs(loss: Loss, batch: tuple[Tensor, Tensor], share: float) -> None:
    scores, labels = batch
    one = torch.nn.functional.one_hot(labels, scores.shape[-1]).double()
    other = one.roll(1, -1)
    mixed = share * loss(scores, one) + (1 - share) * loss(scores, other)
    close(loss(scores, share * one + (1 - share) * other), mixed)


@every_multi_label_loss
def test_a_mixed_answer_costs_the_mixed_costs(loss: Loss) -> None:
    loss, scores = replace(loss, multi_label=True), random_scores(4, 3)
    yes, no = torch.ones(4, 3).double(), torch.zeros(4, 3).double()
    close(loss(scores, 0.3 * yes + 0.7 * no), 0.3 * loss(scores, yes) + 0.7 * loss(scores, no))


@every_loss
@few
@given(batch=batches(), seed=st.integers(0, 99))
def test_the_names_of_the_classes_do_not_matter(loss: Loss, batch: tuple[Tensor, Tensor], seed: int) -> None:
    scores, labels = batch
    num_classes = scores.shape[-1]
    order = torch.randperm(num_classes, generator=torch.Generator().manual_seed(seed))
    weighted = replace(loss, label_smoothing=0.1, class_weights=tuple(range(1, num_classes + 1)))
    renamed = replace(weighted, class_weights=tuple((order + 1).tolist()))
    close(renamed(scores[..., order], order.argsort()[labels]), weighted(scores, labels))
    close(renamed.probabilities(scores[..., order]), weighted.probabilities(scores)[..., order])


@every_loss
@few
@given(batch=batches(), seed=st.integers(0, 99))
def test_the_order_of_the_batch_does_not_matter(loss: Loss, batch: tuple[Tensor, Tensor], seed: int) -> None:
    scores, labels = batch[0].reshape(-1, batch[0].shape[-1]), batch[1].reshape(-1)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    close(loss(scores[order], labels[order]), loss(scores, labels)[order])
    close(loss.mean(scores[order], labels[order]), loss.mean(scores, labels))
