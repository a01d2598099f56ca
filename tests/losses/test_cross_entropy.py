"""Cross-entropy against torch's own, in every combination of options."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from hf_squareloss.losses import CrossEntropy

SCORES = torch.randn(12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
LABELS = torch.tensor([0, 1, 2, 3, 4, -1, 0, 1, -1, 3, 4, 2])
WEIGHTS = (0.5, 2.0, 1.0, 4.0, 0.25)


@pytest.mark.parametrize(
    ("weights", "smoothing", "ignore_index", "tokens"),
    list(itertools.product([None, WEIGHTS], [0.0, 0.1, 0.5], [-1, 3], [False, True])),
)
def test_equals_torch(weights: tuple[float, ...] | None, smoothing: float, ignore_index: int, tokens: bool) -> None:
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing, ignore_index=ignore_index)
    labels = torch.where(LABELS == -1, ignore_index, LABELS)
    torch_options = {
        "weight": None if weights is None else torch.tensor(weights, dtype=torch.float64),
        "label_smoothing": smoothing,
        "ignore_index": ignore_index,
    }
    scores, ours = (SCORES.clone().requires_grad_() for _ in range(2))
    expected = F.cross_entropy(scores, labels, **torch_options)
    value = loss.mean(ours.reshape(3, 4, 5), labels.reshape(3, 4)) if tokens else loss.mean(ours, labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(loss(SCORES, labels), F.cross_entropy(SCORES, labels, reduction="none", **torch_options))
    expected.backward()
    value.backward()
    torch.testing.assert_close(ours.grad, scores.grad)


@pytest.mark.parametrize(("weights", "smoothing"), list(itertools.product([None, WEIGHTS], [0.0, 0.1])))
def test_equals_torch_for_soft_targets(weights: tuple[float, ...] | None, smoothing: float) -> None:
    targets = SCORES.roll(1, 0).softmax(-1)
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    expected = F.cross_entropy(SCORES, targets, weight=weight, label_smoothing=smoothing, reduction="none")
    loss = CrossEntropy(class_weights=weights, label_smoothing=smoothing)
    torch.testing.assert_close(loss(SCORES, targets), expected)
    # torch divides weighted soft targets by N; here, as for hard labels, by the sum of the weights.
    total = 12 if weight is None else (targets @ weight).sum()
    torch.testing.assert_close(loss.mean(SCORES, targets), expected.sum() / total)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
def test_multi_label_equals_torch(weights: tuple[float, ...] | None, dtype: torch.dtype) -> None:
    targets = SCORES.roll(1, 0) > 0
    weight = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    expected = F.binary_cross_entropy_with_logits(SCORES, targets.double(), weight=weight)
    loss = CrossEntropy(multi_label=True, class_weights=weights)
    torch.testing.assert_close(loss.mean(SCORES, targets.to(dtype)), expected)


def test_multi_label_targets_that_do_not_fit_are_refused() -> None:
    loss = CrossEntropy(multi_label=True)
    for labels, says in ((LABELS, "multi-label targets"), (torch.full((12, 5), 2), "got 2")):
        with pytest.raises(ValueError, match=says):
            loss(SCORES, labels)


def test_multi_label_rows_are_ignored_whole() -> None:
    loss = CrossEntropy(multi_label=True)
    targets = (SCORES > 0).double()
    targets[2:] = -100
    torch.testing.assert_close(loss.mean(SCORES, targets), loss.mean(SCORES[:2], targets[:2]))


def test_probabilities_are_softmax_or_sigmoid() -> None:
    torch.testing.assert_close(CrossEntropy().probabilities(SCORES), SCORES.softmax(-1))
    torch.testing.assert_close(CrossEntropy(multi_label=True).probabilities(SCORES), SCORES.sigmoid())


def test_one_real_valued_target_is_refused() -> None:
    with pytest.raises(ValueError, match="square"):
        CrossEntropy()(torch.zeros(3, 1), torch.zeros(3))
