"""CTC with any loss: against torch's own, and against the enumeration of all alignments."""

import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from contract import EVERY, title
from naive_losses import cost_of
from torch import Tensor

from hf_squareloss import CrossEntropy, Loss, SquareLoss, Squentropy, ctc_loss

# "auto" parameters have another value for alignments: test_what_auto_means_for_ctc.
LOSSES: list[Loss] = [
    *(loss for loss in EVERY if loss.for_ctc(4, blank=0) == replace(loss, ctc_tau=1.0)),
    SquareLoss(k=2.0, M=1.0, label_smoothing=0.2),
]
LABELS = torch.tensor([[1, 1], [2, 1], [2, -100], [-100, -100]])  # equal neighbours, one label, none


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def merged(path: tuple[int, ...], blank: int) -> list[int]:
    return [c for c, _ in itertools.groupby(path) if c != blank]


def alignments(labels: list[int], frames: int, num_classes: int, blank: int) -> list[tuple[int, ...]]:
    return [p for p in itertools.product(range(num_classes), repeat=frames) if merged(p, blank) == labels]


def path_costs(loss: Loss, scores: Tensor, labels: list[int], blank: int = 0) -> Tensor:
    """The summed costs of every alignment of one utterance (T, C), path by path."""
    cost, num_classes, smoothing = cost_of(loss), scores.shape[-1], loss.label_smoothing
    rows = []
    for frame in scores:
        costs = torch.stack([cost(frame, c) for c in range(num_classes)])
        rows.append((1 - smoothing) * costs + smoothing * costs.mean())
    paths = alignments(labels, len(scores), num_classes, blank)
    return torch.stack([torch.stack([row[c] for row, c in zip(rows, path, strict=True)]).sum() for path in paths])


def enumerated(loss: Loss, scores: Tensor, labels: list[int], tau: float, blank: int) -> Tensor:
    """-tau log sum_pi exp(-cost(pi) / tau) for one utterance (T, C)."""
    return -tau * torch.logsumexp(-path_costs(loss, scores, labels, blank) / tau, 0)


def kept(labels: Tensor) -> list[int]:
    return labels[labels != -100].tolist()


@pytest.mark.parametrize("blank", [0, 3])
@pytest.mark.parametrize("tau", [1.0, 0.2])
@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_equals_the_enumeration_of_all_alignments(loss: Loss, tau: float, blank: int) -> None:
    scores, lengths = draw(4, 5, 4), torch.tensor([5, 3, 4, 2])
    values = ctc_loss(scores, LABELS, lengths, loss=loss, tau=tau, blank=blank)
    expected = torch.stack(
        [enumerated(loss, scores[i, : lengths[i]], kept(LABELS[i]), tau, blank) for i in range(len(scores))]
    )
    torch.testing.assert_close(values, expected)
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(values @ weights, scores)
    (expected_gradient,) = torch.autograd.grad(expected @ weights, scores)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("blank", [0, 2, 11])
def test_cross_entropy_equals_torch(blank: int) -> None:
    scores, lengths = draw(3, 40, 12), torch.tensor([40, 25, 31])
    labels = torch.randint(0, 11, (3, 9), generator=torch.Generator().manual_seed(1))
    labels = torch.where(labels >= blank, labels + 1, labels)  # never the blank
    labels[0, 1] = labels[0, 0]
    labels[1, 6:] = -100
    ours = ctc_loss(scores, labels, lengths, loss=CrossEntropy(), blank=blank)
    log_probabilities = scores.log_softmax(-1).transpose(0, 1)
    counts = (labels != -100).sum(1)
    stock = F.ctc_loss(log_probabilities, labels.clamp_min(0), lengths, counts, blank=blank, reduction="none")
    torch.testing.assert_close(ours, stock)
    (gradient,) = torch.autograd.grad(ours.sum(), scores)
    (stock_gradient,) = torch.autograd.grad(stock.sum(), scores)
    torch.testing.assert_close(gradient, stock_gradient)


@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_gradcheck(loss: Loss) -> None:
    lengths = torch.tensor([5, 3, 4, 2])
    assert torch.autograd.gradcheck(lambda s: ctc_loss(s, LABELS, lengths, loss=loss, tau=0.5), draw(4, 5, 4))


@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_an_utterance_with_too_few_frames(loss: Loss) -> None:
    scores = draw(2, 3, 4)
    labels = torch.tensor([[1, 1], [1, 2]])  # equal neighbours need a blank between them: three frames
    lengths = torch.tensor([2, 2])
    infinite = ctc_loss(scores, labels, lengths, loss=loss)
    assert infinite[0] == math.inf and torch.isfinite(infinite[1])
    zero = ctc_loss(scores, labels, lengths, loss=loss, zero_infinity=True)
    assert zero[0] == 0 and zero[1] == infinite[1]
    for values in (infinite, zero):
        (gradient,) = torch.autograd.grad(values.sum(), scores)
        assert (gradient[0] == 0).all() and torch.isfinite(gradient).all() and gradient[1, :2].abs().min() > 0


@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_frames_of_padding_count_for_nothing(loss: Loss) -> None:
    scores, labels, lengths = draw(2, 6, 4), torch.tensor([[1, 2], [3, -100]]), torch.tensor([6, 4])
    values = ctc_loss(scores, labels, lengths, loss=loss)
    (gradient,) = torch.autograd.grad(values.sum(), scores)
    assert (gradient[1, 4:] == 0).all() and (gradient[1, :4].abs().sum(-1) > 0).all()
    other = scores.detach().clone()
    other[1, 4:] = 1e3
    assert torch.equal(ctc_loss(other, labels, lengths, loss=loss), values)
    torch.testing.assert_close(ctc_loss(scores[1:, :4], labels[1:], lengths[1:], loss=loss), values[1:])


@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_order_of_batch_and_of_classes_is_irrelevant(loss: Loss) -> None:
    scores, labels = draw(3, 9, 6), torch.tensor([[1, 2, 1], [3, 3, -100], [4, -100, -100]])
    lengths = torch.tensor([9, 5, 7])
    values = ctc_loss(scores, labels, lengths, loss=loss)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(ctc_loss(scores[order], labels[order], lengths[order], loss=loss), values[order])
    names = torch.tensor([4, 0, 5, 1, 3, 2])  # class c is called names[c]
    renamed = torch.where(labels == -100, labels, names[labels.clamp_min(0)])
    torch.testing.assert_close(ctc_loss(scores[..., names.argsort()], renamed, lengths, loss=loss, blank=4), values)


def test_padding_of_labels_may_stand_anywhere() -> None:
    scores, lengths = draw(1, 6, 4), torch.tensor([6])
    tidy, scattered = torch.tensor([[1, 2, -100, -100]]), torch.tensor([[-100, 1, -100, 2]])
    values = [ctc_loss(scores, labels, lengths, loss=SquareLoss()) for labels in (tidy, scattered)]
    assert torch.equal(*values)


@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_soft_minimum_lies_below_the_best_alignment_by_at_most_the_entropy(loss: Loss) -> None:
    scores, labels = draw(1, 5, 4).detach(), [1, 2]
    costs = path_costs(loss, scores[0], labels)
    for tau in (1.0, 0.1, 0.01):
        value = ctc_loss(scores, torch.tensor([labels]), torch.tensor([5]), loss=loss, tau=tau).item()
        assert costs.min() - tau * math.log(len(costs)) - 1e-9 <= value <= costs.min() + 1e-9


# Relative difference from float64 on scores around 1, for value and gradient.
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-2}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_low_precision(loss: Loss, dtype: torch.dtype) -> None:
    exact = draw(2, 50, 8).detach().to(dtype).double().requires_grad_()
    labels, lengths = torch.tensor([[1, 2, 2, 5], [7, 3, -100, -100]]), torch.tensor([50, 37])
    low = exact.detach().to(dtype).requires_grad_()
    values = [ctc_loss(scores, labels, lengths, loss=loss) for scores in (exact, low)]
    assert values[1].dtype == torch.float32
    gradients = [torch.autograd.grad(v.sum(), s)[0].double() for v, s in zip(values, (exact, low), strict=True)]
    assert (values[1].double() / values[0] - 1).abs().max() < TOLERANCES[dtype]
    assert (gradients[1] - gradients[0]).norm() / gradients[0].norm() < TOLERANCES[dtype]


@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_large_bfloat16_scores_stay_finite(loss: Loss) -> None:
    scores = (1e4 * draw(2, 30, 8).detach()).to(torch.bfloat16).requires_grad_()
    values = ctc_loss(scores, torch.tensor([[1, 2], [3, -100]]), torch.tensor([30, 20]), loss=loss)
    (gradient,) = torch.autograd.grad(values.sum(), scores)
    assert torch.isfinite(values).all() and torch.isfinite(gradient).all()


def test_nan_is_never_hidden() -> None:
    scores = draw(1, 4, 3).detach()
    scores[0, 1, 2] = math.nan
    for loss in LOSSES:
        assert ctc_loss(scores, torch.tensor([[1]]), torch.tensor([4]), loss=loss, zero_infinity=True).isnan().all()


def test_tau_is_the_losses_own_unless_given() -> None:
    scores, labels, lengths = draw(1, 6, 4), torch.tensor([[1, 2]]), torch.tensor([6])
    own = ctc_loss(scores, labels, lengths, loss=SquareLoss(ctc_tau=0.77))
    assert torch.equal(ctc_loss(scores, labels, lengths, loss=SquareLoss(ctc_tau=0.1), tau=0.77), own)
    assert not torch.allclose(ctc_loss(scores, labels, lengths, loss=SquareLoss(ctc_tau=0.1)), own)
    fixed = ctc_loss(scores, labels, lengths, loss=CrossEntropy(), tau=1.0)
    assert torch.equal(ctc_loss(scores, labels, lengths, loss=CrossEntropy()), fixed)


def test_what_auto_means_for_ctc() -> None:
    """k and M as ever, the posterior, and less weight for the blank: each only where nothing else is given."""
    auto = SquareLoss().for_ctc(10, blank=9)
    assert (auto.k, auto.M, auto.ctc_tau) == (2.5, 1.0, "posterior")
    weights = auto.class_weights
    assert weights is not None and weights[:9] == (1.0,) * 9 and 0 < weights[9] < 1
    assert auto.for_ctc(10, blank=9) == auto
    own = (2.0,) * 10
    assert SquareLoss(class_weights=own).for_ctc(10, blank=0) == SquareLoss(
        k=2.5, M=1.0, class_weights=own, ctc_tau="posterior"
    )
    assert SquareLoss(ctc_tau=0.1, M=2.0).for_ctc(10, blank=0) == SquareLoss(k=2.5, M=2.0, ctc_tau=0.1)
    assert SquareLoss(k="paper", M="paper").for_ctc(50, blank=0).M == 15.0
    for loss in (CrossEntropy(), Squentropy()):
        assert loss.for_ctc(10, blank=0).ctc_tau == 1.0 and loss.for_ctc(10, blank=0).class_weights is None


# ---- the posterior ---------------------------------------------------------------------------------------------------
def enumerated_expectation(loss: Loss, scores: Tensor, labels: list[int]) -> Tensor:
    """sum_t sum_c P(pi_t = c | labels) w_c cost(f_t, c), labels smoothed; the probabilities are constants."""
    cost, num_classes, total = cost_of(loss), scores.shape[-1], scores.new_zeros(())
    weights = loss.class_weights or (1.0,) * num_classes
    p = (loss.link(scores.detach()).clamp_max(1.0) / scores.new_tensor(weights)).clamp_min(1e-2)
    paths = alignments(labels, len(scores), num_classes, blank=0)
    chances = torch.stack([torch.stack([p[t, c] for t, c in enumerate(path)]).prod() for path in paths])
    for path, chance in zip(paths, chances / chances.sum(), strict=True):
        for frame, c in zip(scores, path, strict=True):
            own = (1 - loss.label_smoothing) * weights[c] * cost(frame, c)
            every = sum(weights[i] * cost(frame, i) for i in range(num_classes)) / num_classes
            total = total + chance * (own + loss.label_smoothing * every)
    return total


def test_the_posterior_s_probabilities_stay_within_one() -> None:
    """What the square loss's link says of scores above M or below 0 is for reading, not for training."""
    loss, lengths = SquareLoss(k=2.0, M=1.0, ctc_tau="posterior"), torch.tensor([3])
    path = torch.tensor([[0, 1, 2]])
    scores = 0.5 + torch.nn.functional.one_hot(path, 3).double()
    clipped = torch.nn.functional.one_hot(path, 3).double().clamp_min(0.5 / (2.0 - 0.5))
    labels = [1, 2]
    paths = alignments(labels, 3, 3, blank=0)
    chances = torch.stack([clipped[0, range(3), list(way)].prod() for way in paths])
    costs = torch.stack([loss.costs(scores[0])[range(3), list(way)].sum() for way in paths])
    expected = (chances / chances.sum() * costs).sum()
    torch.testing.assert_close(ctc_loss(scores, torch.tensor([labels]), lengths, loss=loss)[0], expected)


@pytest.mark.parametrize("weights", [None, (0.2, 1.0, 3.0, 1.5)])
@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_posterior_equals_the_expectation_over_all_alignments(loss: Loss, weights: Any) -> None:
    loss = replace(loss, class_weights=weights, ctc_tau="posterior")
    scores, lengths = draw(4, 5, 4), torch.tensor([5, 3, 4, 2])
    values = ctc_loss(scores, LABELS, lengths, loss=loss)
    expected = torch.stack(
        [enumerated_expectation(loss, scores[i, : lengths[i]], kept(LABELS[i])) for i in range(len(scores))]
    )
    torch.testing.assert_close(values, expected)
    (gradient,) = torch.autograd.grad(values.sum(), scores)
    (expected_gradient,) = torch.autograd.grad(expected.sum(), scores)
    torch.testing.assert_close(gradient, expected_gradient)


def test_cross_entropy_by_the_posterior_has_the_gradient_of_ctc() -> None:
    scores = (0.5 * draw(2, 20, 6).detach()).requires_grad_()  # no probability below the least, 1e-2
    assert scores.softmax(-1).min() > 1e-2
    labels, lengths = torch.tensor([[1, 1, 5], [2, -100, -100]]), torch.tensor([20, 13])
    by_posterior, ordinary = (ctc_loss(scores, labels, lengths, loss=CrossEntropy(), tau=t) for t in ("posterior", 1.0))
    assert not torch.allclose(by_posterior, ordinary)
    gradients = [torch.autograd.grad(values.sum(), scores)[0] for values in (by_posterior, ordinary)]
    torch.testing.assert_close(*gradients)


def test_posterior_works_without_gradients() -> None:
    scores, labels, lengths = draw(1, 6, 4), torch.tensor([[1, 2]]), torch.tensor([6])
    with torch.no_grad():
        value = ctc_loss(scores, labels, lengths, loss=SquareLoss())
    assert not value.requires_grad and torch.equal(value, ctc_loss(scores, labels, lengths, loss=SquareLoss()))


S, Y, N = torch.zeros(2, 4, 3), torch.tensor([[1, 2], [1, -100]]), torch.tensor([4, 4])


@pytest.mark.parametrize(
    ("scores", "labels", "lengths", "options", "word"),
    [
        (S[0], Y, N, {}, "scores"),
        (S.long(), Y, N, {}, "scores"),
        (S, Y[0], N, {}, "labels"),
        (S, Y.double(), N, {}, "labels"),
        (S, Y[:1], N, {}, "labels"),
        (S, Y, N[:1], {}, "logit_lengths"),
        (S, Y, N + 1, {}, "utterance 0.*logit_lengths"),
        (S, Y, -N, {}, "logit_lengths"),
        (S, Y + 1, N, {}, "utterance 0.*3"),
        (S, torch.tensor([[1, 2], [0, -100]]), N, {}, "utterance 1.*blank"),
        (S, torch.tensor([[1, 2], [-7, -100]]), N, {}, "utterance 1.*-7"),
        (S, Y, N, {"blank": 3}, "blank"),
        (S, Y, N, {"tau": 0.0}, "ctc_tau"),
        (S, Y, N, {"tau": math.inf}, "tau"),
        (S, Y, N, {"loss": CrossEntropy(class_weights=(1.0, 2.0, 3.0))}, "class_weights"),
        (S, Y, N, {"tau": "posteror"}, "ctc_tau"),
        (S, Y, N, {"loss": SquareLoss(multi_label=True)}, "multi_label"),
    ],
)
def test_what_does_not_fit_is_refused(
    scores: Tensor, labels: Tensor, lengths: Tensor, options: dict, word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        ctc_loss(scores, labels, lengths, **{"loss": CrossEntropy(), **options})


def test_other_padding() -> None:
    scores = draw(2, 4, 3)
    expected = ctc_loss(scores, Y, N, loss=CrossEntropy())
    assert torch.equal(ctc_loss(scores, Y.masked_fill(Y == -100, -1), N, loss=CrossEntropy(ignore_index=-1)), expected)


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("tau", ["posterior", 1.0])
def test_it_can_be_computed_where_no_gradient_is_wanted(guard: Any, tau: Any) -> None:
    scores, lengths = draw(4, 4, 3), torch.tensor([4, 4, 3, 4])
    expected = ctc_loss(scores, LABELS, lengths, loss=SquareLoss(k=2.0, M=1.0), tau=tau)
    with guard():
        given = scores * 1.0, LABELS.clone(), lengths.clone()
        assert torch.equal(ctc_loss(*given, loss=SquareLoss(k=2.0, M=1.0), tau=tau), expected)
