"""Calibration measures against loops over items, and what they refuse."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hf_squareloss.inference import (
    brier_score,
    calibration_metrics,
    expected_calibration_error,
    multi_label_calibration_metrics,
    negative_log_likelihood,
    reliability_curve,
    reliability_diagram,
)


def naive_ece(probabilities: Tensor, labels: Tensor, bins: int) -> float:
    """Guo et al., equation 3, bin by bin and item by item."""
    total = 0.0
    for b in range(1, bins + 1):
        confidences, right = [], 0
        for p, y in zip(probabilities.tolist(), labels.tolist(), strict=True):
            confidence = max(p)
            if (b - 1) / bins < confidence <= b / bins:
                confidences.append(confidence)
                right += p.index(confidence) == y
        if confidences:
            gap = abs(right / len(confidences) - sum(confidences) / len(confidences))
            total += len(confidences) / len(labels) * gap
    return total


def naive_brier(probabilities: Tensor, labels: Tensor) -> float:
    total = 0.0
    for p, y in zip(probabilities.tolist(), labels.tolist(), strict=True):
        for c, value in enumerate(p):
            total += (value - (c == y)) ** 2
    return total / len(labels)


def naive_nll(probabilities: Tensor, labels: Tensor) -> float:
    rows = zip(probabilities.tolist(), labels.tolist(), strict=True)
    return sum(-math.log(p[y]) for p, y in rows) / len(labels)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 40), c=st.integers(1, 6), bins=st.integers(1, 20), sharp=st.floats(0, 8), seed=st.integers(0, 99)
)
def test_measures_are_those_of_the_naive_loops(n: int, c: int, bins: int, sharp: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    p = (torch.randn(n, c, dtype=torch.float64, generator=generator) * sharp).softmax(-1)
    y = torch.randint(0, c, (n,), generator=generator)
    assert expected_calibration_error(p, y, bins=bins).item() == pytest.approx(naive_ece(p, y, bins), abs=1e-9)
    assert brier_score(p, y).item() == pytest.approx(naive_brier(p, y), abs=1e-9)
    assert negative_log_likelihood(p, y).item() == pytest.approx(naive_nll(p, y), abs=1e-9)
    curve = reliability_curve(p, y, bins=bins)
    assert curve.count.sum() == n and curve.count.shape == curve.confidence.shape == curve.accuracy.shape == (bins,)
    assert torch.equal(curve.confidence.isnan(), curve.count == 0)
    assert torch.equal(curve.accuracy.isnan(), curve.count == 0)


def test_reliability_curve_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.55, 0.45]])
    curve = reliability_curve(p, torch.tensor([0, 0, 0, 1]), bins=4)
    assert curve.count.tolist() == [0, 0, 2, 2]
    assert curve.confidence[2:].tolist() == pytest.approx([0.575, 0.85])
    assert curve.accuracy[2:].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(dtype: torch.dtype) -> None:
    p = torch.tensor([[0.2, 0.2, 0.2, 0.2, 0.2], [0.6, 0.1, 0.1, 0.1, 0.1], [1.0, 0.0, 0.0, 0.0, 0.0]], dtype=dtype)
    assert reliability_curve(p, torch.tensor([0, 0, 0]), bins=5).count.tolist() == [1, 0, 1, 0, 1]


def test_best_and_worst() -> None:
    p, right, wrong = torch.eye(3), torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0])
    assert calibration_metrics(p, right) == {"ece": 0.0, "brier": 0.0, "nll": 0.0}
    assert calibration_metrics(p, wrong) == {"ece": 1.0, "brier": 2.0, "nll": math.inf}


def test_a_calibrated_forecast_has_no_calibration_error_and_an_overconfident_one_has() -> None:
    y = torch.tensor([0, 0, 0, 1])
    assert expected_calibration_error(torch.tensor([[0.75, 0.25]] * 4), y).item() == pytest.approx(0.0)
    assert expected_calibration_error(torch.tensor([[0.95, 0.05]] * 4), y).item() == pytest.approx(0.2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_probabilities_are_reduced_in_float32(dtype: torch.dtype) -> None:
    scores = torch.randn(2000, 300, generator=torch.Generator().manual_seed(0)) * 3
    p, y = scores.softmax(-1).to(dtype), scores.argmax(-1)
    measures = (expected_calibration_error, brier_score, negative_log_likelihood)
    for measure in measures:
        value = measure(p, y)
        assert value.dtype == torch.float32 and value.shape == ()
    assert brier_score(p, y).item() == pytest.approx(naive_brier(p, y), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_integer_type(dtype: torch.dtype) -> None:
    p, y = torch.eye(3), torch.tensor([0, 1, 2])
    assert calibration_metrics(p, y.to(dtype)) == calibration_metrics(p, y)


@pytest.mark.parametrize(
    "measure",
    [expected_calibration_error, brier_score, negative_log_likelihood, reliability_curve, calibration_metrics],
)
@pytest.mark.parametrize(
    ("probabilities", "labels", "says"),
    [
        (torch.full((4, 2), 0.5), torch.tensor([0, 1, 2, 0]), "got 2"),
        (torch.full((4, 2), 0.5), torch.tensor([0, 1, -100, 0]), "got -100"),
        (torch.full((4, 2), 0.5), torch.tensor([0, 1, 0]), "shape"),
        (torch.full((4, 2), 0.5), torch.tensor([[0], [1], [0], [1]]), "shape"),
        (torch.full((4, 2), 0.5), torch.tensor([0.0, 1.0, 0.0, 1.0]), "integers"),
        (torch.full((4, 2), 0.5), torch.tensor([True, False, True, False]), "integers"),
        (torch.full((4,), 0.5), torch.tensor([0, 1, 0, 1]), "shape"),
        (torch.full((2, 2, 2), 0.5), torch.zeros(2, 2, dtype=torch.long), "shape"),
        (torch.zeros(0, 2), torch.zeros(0, dtype=torch.long), "shape"),
        (torch.eye(2, dtype=torch.long), torch.tensor([0, 1]), "floating"),
        (torch.tensor([[0.5, 0.5], [0.5, 0.4]]), torch.tensor([0, 1]), "row 1 with sum 0.9"),
        (torch.tensor([[0.5, 0.5], [1.5, -0.5]]), torch.tensor([0, 1]), "row 1 .* minimum -0.5"),
        (torch.tensor([[0.5, math.nan]]), torch.tensor([0]), "row 0"),
    ],
)
def test_what_does_not_fit_is_refused(measure, probabilities: Tensor, labels: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        measure(probabilities, labels)


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="bins"):
        expected_calibration_error(torch.eye(2), torch.tensor([0, 1]), bins=0)


def test_raw_scores_are_refused_and_the_loss_shows_the_way() -> None:
    with pytest.raises(ValueError, match="Loss.probabilities"):
        brier_score(torch.tensor([[2.0, -1.0]]), torch.tensor([0]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_several_classes_at_once_are_the_mean_of_yes_no_questions(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    p = torch.rand(40, 3, generator=generator, dtype=dtype)
    y = (torch.rand(40, 3, generator=generator) < p.float() ** 2).long()
    ece = brier = nll = 0.0
    for c in range(3):
        bins: dict[int, list[tuple[float, float]]] = {}
        for n in range(40):
            yes, true = p[n, c].item(), y[n, c].item()
            brier += ((yes - true) ** 2 + ((1 - yes) - (1 - true)) ** 2) / (40 * 3)
            nll -= math.log(yes if true else 1 - yes) / (40 * 3)
            confidence = max(yes, 1 - yes)
            bins.setdefault(math.ceil(confidence * 15), []).append((confidence, float((yes > 0.5) == true)))
        for items in bins.values():
            ece += abs(sum(a - b for a, b in items)) / (40 * 3)
    found = multi_label_calibration_metrics(p, y.to(dtype))
    assert found == pytest.approx({"ece": ece, "brier": brier, "nll": nll}, rel=1e-5)
    swapped = multi_label_calibration_metrics(1 - p, y)  # control: the other answer's probabilities are much worse
    assert all(swapped[name] > 1.5 * found[name] for name in found)


@pytest.mark.parametrize(
    ("probabilities", "labels", "says"),
    [
        (torch.tensor([[0.5, 0.5]]), torch.tensor([1]), r"\(N, C\)"),
        (torch.tensor([[0.5, 1.5]]), torch.tensor([[1, 0]]), "non-negative"),
        (torch.tensor([[0.5, 0.5]]), torch.tensor([[1, 2]]), "0 or 1"),
        (torch.zeros(0, 2), torch.zeros(0, 2), "shape"),
        (torch.zeros(2, 0), torch.zeros(2, 0), "a class"),
    ],
)
def test_what_does_not_fit_several_classes_is_refused(probabilities: Tensor, labels: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        multi_label_calibration_metrics(probabilities, labels)


# ---- against other libraries -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("c", [2, 5])
def test_measures_are_those_of_torchmetrics_and_scikit_learn(c: int) -> None:
    from sklearn.metrics import brier_score_loss, log_loss
    from torchmetrics.functional.classification import multiclass_calibration_error

    random = torch.Generator().manual_seed(c)
    p = torch.rand(500, c, generator=random, dtype=torch.float64).square().add(1e-3)
    p = p / p.sum(-1, keepdim=True)
    y = torch.randint(c, (500,), generator=random)
    theirs = multiclass_calibration_error(p, y, num_classes=c, n_bins=15, norm="l1")
    assert expected_calibration_error(p, y).item() == pytest.approx(theirs.item(), abs=1e-6)
    whole: Any = False  # scikit-learn's own annotation says "auto" alone
    theirs = brier_score_loss(y.numpy(), p.numpy(), scale_by_half=whole, labels=list(range(c)))
    assert brier_score(p, y).item() == pytest.approx(theirs)
    assert negative_log_likelihood(p, y).item() == pytest.approx(log_loss(y.numpy(), p.numpy()))


# ---- bins with equally many items, and the picture -------------------------------------------------------------------
def test_bins_of_equal_mass_are_parts_of_the_sorted_items() -> None:
    random = torch.Generator().manual_seed(0)
    p = torch.rand(103, 3, generator=random)
    p, y = p / p.sum(-1, keepdim=True), torch.randint(3, (103,), generator=random)
    confidence, predicted = p.max(-1)
    order = confidence.argsort()
    parts = [order[[i for i in range(103) if i * 10 // 103 == b]] for b in range(10)]
    gaps = [abs((predicted[i] == y[i]).float().mean() - confidence[i].mean()) * len(i) / 103 for i in parts]
    found = expected_calibration_error(p, y, bins=10, binning="mass")
    assert found.item() == pytest.approx(sum(gap.item() for gap in gaps), abs=1e-6)
    counts = reliability_curve(p, y, bins=10, binning="mass").count
    assert counts.sum() == 103 and counts.max() - counts.min() <= 1
    assert found != expected_calibration_error(p, y, bins=10)


def test_another_binning_is_refused() -> None:
    with pytest.raises(ValueError, match="binning"):
        reliability_curve(torch.tensor([[1.0, 0.0]]), torch.tensor([0]), binning="equal")  # type: ignore[arg-type]


def test_the_diagram_shows_each_bin_with_items() -> None:
    p = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.0, 1.0]])
    curve = reliability_curve(p, torch.tensor([0, 1, 1]), bins=4)
    (axes,) = reliability_diagram({"square": curve, "again": curve}).axes
    points: Any = axes.collections[0].get_offsets()
    assert [tuple(point) for point in points] == [(0.75, 0.5), (1.0, 1.0)]
    legend: Any = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["square", "again"]
