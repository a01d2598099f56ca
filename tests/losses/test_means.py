"""Means of every loss: what each item counts, and what no item gives."""

from dataclasses import replace
from typing import Any

import naive_losses as naive
import pytest
import torch
from batches import HARD, SOFT, every_option, random_scores
from contract import every_loss

from hf_squareloss.losses import CrossEntropy, Loss, SquareLoss, scale


@every_loss
@every_option
def test_the_mean_divides_by_the_sum_of_the_weights_of_the_items_that_count(
    loss: Loss, options: dict[str, Any]
) -> None:
    loss = replace(loss, **options | {"ignore_index": -100})
    scores, weights = random_scores(4, 3), loss.class_weights or (1.0, 1.0, 1.0)
    expected = naive.values(loss, scores, HARD).sum() / (weights[0] + weights[2] + weights[1])
    torch.testing.assert_close(loss.mean(scores, HARD), expected)
    soft_total = sum(float(SOFT[n, c]) * weights[c] for n in range(3) for c in range(3))
    torch.testing.assert_close(loss.mean(scores, SOFT), naive.values(loss, scores, SOFT).sum() / soft_total)


@every_loss
@every_option
def test_sums_and_means_are_those_of_the_items(loss: Loss, options: dict[str, Any]) -> None:
    loss = replace(loss, **options)
    scores, labels = random_scores(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    expected = loss(scores, labels).sum() / loss.item_weights(labels).sum()
    torch.testing.assert_close(loss.mean(scores, labels), expected)
    torch.testing.assert_close(loss.total(scores, labels), loss(scores, labels).sum())
    if options:
        plain = replace(loss, label_smoothing=0.0, class_weights=None, ignore_index=-100)
        assert abs(loss.mean(scores, labels) / plain.mean(scores, labels) - 1) > 1e-3


def test_item_weights_by_kind_of_label() -> None:
    weighted = CrossEntropy(class_weights=(0.5, 2.0, 1.0))
    assert weighted.item_weights(torch.tensor([[0, 1], [-100, 2]])).tolist() == [[0.5, 2.0], [0.0, 1.0]]
    assert weighted.item_weights(SOFT.float()).tolist() == pytest.approx([1.2, 0.5, 1.6, 0.0])
    assert CrossEntropy().item_weights(torch.tensor([1, -100])).tolist() == [1.0, 0.0]
    assert replace(weighted, multi_label=True).item_weights(torch.tensor([[1, 0, 1], [-100] * 3])).tolist() == [1, 0]
    assert SquareLoss().item_weights(torch.tensor([0.3, -100.0]), num_classes=1).tolist() == [1.0, 1.0]


@every_loss
def test_no_item_gives_zero_and_a_zero_gradient(loss: Loss) -> None:
    for scores, labels in ((random_scores(2, 3), torch.tensor([-100, -100])), (random_scores(0, 3), torch.empty(0))):
        scores.requires_grad_()
        loss.mean(scores, labels.long()).backward()
        assert scores.grad is not None and not scores.grad.any()
    assert scale(torch.zeros(0).sum(), 0).item() == 0.0
    assert scale(torch.ones(3).sum(), 2).item() == 1.5


@every_loss
def test_ignored_items_are_as_if_absent(loss: Loss) -> None:
    scores = random_scores(4, 3)
    for labels in (torch.tensor([0, -100, 2, 1]), SOFT):
        kept = labels != -100 if labels.dim() == 1 else (labels != -100).any(-1)
        torch.testing.assert_close(loss.mean(scores, labels), loss.mean(scores[kept], labels[kept]))


@every_loss
def test_tokens_count_alike_wherever_they_stand(loss: Loss) -> None:
    """(B, T, C) scores are divided by the number of tokens, not by the batch."""
    scores, labels = random_scores(2, 3, 4), torch.tensor([[0, 1, -100], [3, -100, -100]])
    flat = loss.mean(scores.reshape(-1, 4), labels.reshape(-1))
    torch.testing.assert_close(loss.mean(scores, labels), flat)
    by_batch = loss(scores, labels).sum() / 2
    assert not torch.allclose(by_batch, flat)
