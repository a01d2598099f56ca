"""One number fitted to scores: the likeliest, for every kind of label, against plain loops and brute force."""

import itertools
import math
from typing import Any

import pytest
import torch
from contract import every_loss
from torch import Tensor

from hf_squareloss import Loss, SquareLoss, make_loss
from hf_squareloss.inference import calibrate, calibration_metrics
from hf_squareloss.losses import Calibration, loss_from_dict


def draw(T: float, weights: tuple[float, ...] | None = None, count: int = 4000) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities (N, 5), labels drawn from them, and scores f with p = softmax(T f - log w)."""
    random = torch.Generator().manual_seed(0)
    p = torch.rand(count, 5, generator=random).square() + 1e-3
    p = p / p.sum(-1, keepdim=True)
    labels = torch.multinomial(p, 1, generator=random).squeeze(-1)
    added = torch.zeros(5) if weights is None else torch.tensor(weights).log()
    return p, labels, (p.log() + added) / T


def naive(loss: Loss, scores: Tensor, labels: Tensor, T: float) -> float:
    """The sum that `calibrate` minimises, one item after the other."""
    total, spread = 0.0, 0.0
    for row, label in zip(scores.tolist(), labels.tolist(), strict=True):
        z = [T * f - math.log(w) for f, w in zip(row, loss.class_weights or [1.0] * len(row), strict=True)]
        log_sum = math.log(sum(math.exp(v - max(z)) for v in z)) + max(z)
        total -= z[label] - log_sum
        spread -= sum(v - log_sum for v in z) / len(z)
    return total + spread / len(scores)


@every_loss
def test_it_is_the_least_of_the_naive_sum(loss: Loss) -> None:
    _, labels, scores = draw(3.0, count=200)
    calibration = calibrate(loss, scores, labels).calibration
    assert calibration is not None and calibration.items == 200
    at = [naive(loss, scores, labels, factor * calibration.T) for factor in (1.0, 0.99, 1.01)]
    assert at[0] < min(at[1:])


@pytest.mark.parametrize("T", [0.01, 1.0, 250.0])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 0.5, 4.0, 1.0)], ids=["plain", "weighted"])
def test_known_probabilities_come_back(T: float, weights: tuple[float, ...] | None) -> None:
    p, labels, scores = draw(T, weights)
    loss = calibrate(SquareLoss(k=1.0, M=1.0, class_weights=weights), scores, labels)
    assert loss.calibration is not None and loss.calibration.T == pytest.approx(T, rel=0.05)
    torch.testing.assert_close(loss.probabilities(scores), p, rtol=0, atol=0.03)


def test_it_helps_where_scores_are_no_logits() -> None:
    _, labels, scores = draw(8.0)
    loss = SquareLoss(k=1.0, M=1.0)
    before = calibration_metrics(loss.probabilities(scores), labels)
    after = calibration_metrics(calibrate(loss, scores, labels).probabilities(scores), labels)
    assert after["nll"] < before["nll"] and after["ece"] < 0.02 < before["ece"]


def test_ignored_items_and_further_dimensions_do_not_count() -> None:
    _, labels, scores = draw(3.0, count=120)
    expected = calibrate(SquareLoss(), scores[:60], labels[:60]).calibration
    labels[60:] = -100
    found = calibrate(SquareLoss(), scores.view(4, 30, 5), labels.view(4, 30)).calibration
    assert found == expected


def test_a_distribution_of_labels() -> None:
    p, labels, scores = draw(3.0, count=300)
    assert calibrate(SquareLoss(), scores, p).calibration.T == pytest.approx(3.0, rel=0.02)  # type: ignore[union-attr]
    hard = torch.nn.functional.one_hot(labels, 5).float()
    as_rows, as_labels = (calibrate(SquareLoss(), scores, y).calibration for y in (hard, labels))
    assert as_rows is not None and as_labels is not None
    assert as_rows.T == pytest.approx(as_labels.T, rel=1e-9)


def test_several_classes_at_once_have_a_scale_and_a_shift() -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(4000, 3, generator=random)
    answers = (torch.rand(4000, 3, generator=random) < (2.0 * scores - 1.0).sigmoid()).float()
    loss = calibrate(SquareLoss(multi_label=True), scores, answers)
    assert loss.calibration is not None
    assert (loss.calibration.T, loss.calibration.shift) == (pytest.approx(2.0, rel=0.1), pytest.approx(-1.0, abs=0.1))
    torch.testing.assert_close(loss.probabilities(scores), (2.0 * scores - 1.0).sigmoid(), rtol=0, atol=0.03)


def test_all_right_or_all_wrong_or_all_equal_is_finite() -> None:
    loss, labels = SquareLoss(k=1.0, M=1.0), torch.arange(3).repeat(100)
    right = calibrate(loss, torch.eye(3)[labels], labels)
    p = right.probabilities(torch.eye(3))
    assert 0.99 < p[0, 0] < 1.0 - 1e-4  # one more item, of every class in equal parts, keeps it from 1
    wrong = calibrate(loss, -torch.eye(3)[labels], labels)
    assert wrong.probabilities(torch.eye(3))[0, 0] == pytest.approx(1 / 3, abs=1e-3)
    assert calibrate(loss, torch.ones(6, 3), torch.arange(6) % 3).calibration.T == 1.0  # type: ignore[union-attr]


# ---- CTC -------------------------------------------------------------------------------------------------------------
def brute_force(log_p: Tensor, labels: list[int], blank: int) -> float:
    """log p(labels): the sum over every path of the frames."""
    total = 0.0
    for path in itertools.product(range(log_p.shape[-1]), repeat=len(log_p)):
        merged = [c for c, _ in itertools.groupby(path)]
        if [c for c in merged if c != blank] == labels:
            total += math.exp(sum(log_p[t, c].item() for t, c in enumerate(path)))
    return math.log(total)


def test_utterances_count_by_all_alignments_of_their_labels() -> None:
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 4, 3, generator=random)
    labels = torch.tensor([[1, 2], [2, -100], [1, 1], [1, -100], [2, 1], [2, -100]])
    frames = torch.tensor([4, 3, 4, 2, 4, 4])
    for b, t in itertools.product(range(6), range(4)):  # so that the labels are likely
        scores[b, t, labels[b].clamp_min(0)[min(t // 2, 1)]] += 1.0

    def surprise(T: float) -> float:
        log_p = [(T * row[:n].double()).log_softmax(-1) for row, n in zip(scores, frames.tolist(), strict=True)]
        kept = [[c for c in row if c >= 0] for row in labels.tolist()]
        values = [-brute_force(one, target, 0) for one, target in zip(log_p, kept, strict=True)]
        return sum(values) - torch.cat(log_p).mean().item()

    calibration = calibrate(SquareLoss(k=1.0, M=1.0), scores, labels, frames=frames, blank=0).calibration
    assert calibration is not None and calibration.items == 6
    at = [surprise(factor * calibration.T) for factor in (1.0, 0.97, 1.03)]
    assert at[0] < min(at[1:])


# ---- the loss that carries it ----------------------------------------------------------------------------------------
@every_loss
def test_it_is_no_part_of_the_loss_and_survives_a_config(loss: Loss) -> None:
    _, labels, scores = draw(3.0, count=50)
    calibrated = calibrate(loss, scores, labels, source="validation")
    assert calibrated == loss and str(calibrated) == str(loss) and hash(calibrated) == hash(loss)
    again = loss_from_dict(calibrated.to_dict())
    assert again == loss and again.calibration == calibrated.calibration != loss.calibration
    torch.testing.assert_close(calibrated(scores, labels), loss(scores, labels), rtol=0, atol=0)


@pytest.mark.parametrize("scores", [[1e38, -1e38, 0.0], [3e38, 2e38, -3e38], [1.0, 1.0000001, 0.0]])
@pytest.mark.parametrize("T", [1e-8, 1.0, 1e8])
@pytest.mark.parametrize("multi_label", [False, True])
def test_any_finite_scores_have_probabilities_in_their_order(scores: Any, T: float, multi_label: bool) -> None:
    loss = SquareLoss(k=1.0, M=1.0, multi_label=multi_label, calibration=Calibration(T=T))
    f = torch.tensor(scores)
    p = loss.probabilities(f)
    assert p.isfinite().all() and (p > 0).all() and (p <= 1).all() and p.argmax() == f.argmax()
    assert multi_label or p.sum() == pytest.approx(1.0)
    order = f.argsort()
    assert (p[order].diff() >= 0).all()


@pytest.mark.parametrize("k", [1.0, 3.0, 20.0])
@pytest.mark.parametrize("multi_label", [False, True])
def test_the_rule_has_the_slope_of_the_link_where_all_classes_are_equal(k: float, multi_label: bool) -> None:
    C, M = 5, 2.0
    loss = SquareLoss(k=k, M=M, multi_label=multi_label)
    calibration = loss.default_calibration(C)
    p = 0.5 if multi_label else 1 / C
    at = k * M * p / (1 + (k - 1) * p)  # the population minimiser
    f = torch.full((C,), at, dtype=torch.float64)
    moved = f + torch.tensor([1.0, -1.0, 0.0, 0.0, 0.0], dtype=torch.float64) * 1e-5
    ruled = SquareLoss(k=k, M=M, multi_label=multi_label, calibration=calibration)
    torch.testing.assert_close(ruled.probabilities(f), loss.probabilities(f))
    slope, expected = ((one.probabilities(moved) - one.probabilities(f))[:2] for one in (ruled, loss))
    torch.testing.assert_close(slope, expected, rtol=1e-3, atol=1e-12)


def test_an_exact_score_is_nearly_certain_by_the_rule() -> None:
    C, exact = 150, torch.eye(150)[:1]
    loss = SquareLoss(k=75.0, M=1.0)
    p = SquareLoss(k=75.0, M=1.0, calibration=loss.default_calibration(C)).probabilities(exact)
    assert p[0, 0] == pytest.approx(1 - 1 / C, abs=1e-3)


# ---- what does not fit -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("scores", "labels", "says"),
    [
        (torch.ones(2, 3), torch.tensor([-100, -100]), "no item"),
        (torch.tensor([[1.0, math.inf]]), torch.tensor([0]), "finite"),
        (torch.ones(2, 3), torch.tensor([0]), "do not fit"),
        (torch.ones(2, 3), torch.tensor([0, -1]), "labels must be in"),
        (torch.ones(2, 1), torch.tensor([0, 0]), "regression"),
    ],
)
def test_what_does_not_fit_is_refused(scores: Tensor, labels: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        calibrate(make_loss("square"), scores, labels)


@pytest.mark.parametrize("value", [2.0, {"t": 1.0}, {"T": 1.0, "more": 2}, {"T": -1.0}, {"T": 1.0, "source": "rumour"}])
def test_a_broken_calibration_in_a_config_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        loss_from_dict({"loss": "square", "calibration": value})


def test_frames_need_a_blank() -> None:
    with pytest.raises(ValueError, match="blank"):
        calibrate(SquareLoss(), torch.ones(1, 2, 3), torch.tensor([[1]]), frames=torch.tensor([2]))


def test_padding_of_utterances_may_be_anywhere() -> None:
    """As for the loss."""
    scores = torch.randn(6, 9, 5, generator=torch.Generator().manual_seed(0))
    right = torch.tensor([[1, 2, -100], [3, -100, -100], [2, 4, 1], [1, -100, -100], [4, 2, -100], [3, 1, -100]])
    for b, row in enumerate(right.tolist()):
        for t, c in enumerate(c for c in row if c >= 0):
            scores[b, 2 * t + 1, c] += 3.0
    found = []
    left = torch.stack([torch.cat([row[row < 0], row[row >= 0]]) for row in right])
    for labels in (right, left):
        loss = calibrate(SquareLoss(k=2.0, M=1.0), scores, labels, frames=torch.full((6,), 9), blank=0)
        assert loss.calibration is not None
        found.append(loss.calibration.T)
    assert found[0] == pytest.approx(found[1], rel=1e-6)
