"""The square loss's way from scores to probabilities, where its minimiser never is: below 0 and above M."""

import math

import pytest
import torch

from hf_squareloss.losses import SquareLoss

K_AND_M = [(1.0, 1.0), (3.0, 2.0), (0.5, 15.0), (125.0, 4.0)]
each_k_and_M = pytest.mark.parametrize(("k", "M"), K_AND_M)


def continued(f: float, k: float, M: float, least: float) -> float:
    """The formula of the docstring, for one score."""
    q = f / (k * M - (k - 1) * f) if 0 <= f <= M else f / (k * M) if f < 0 else 1 + math.log(1 + k * (f - M) / M)
    return q if q >= least else least / (1 + math.log(2 - q / least))


@each_k_and_M
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_link_is_the_formula(k: float, M: float, dtype: torch.dtype) -> None:
    scores = M * torch.tensor([-100.0, -1.0, -1e-3, 0.0, 1e-9, 0.3, 0.999, 1.0, 1.001, 2.0, 1e6], dtype=dtype)
    least = 16 * torch.finfo(dtype).eps / len(scores)
    expected = [continued(f, k, M, least) for f in scores.tolist()]
    torch.testing.assert_close(
        SquareLoss(k=k, M=M).link(scores), torch.tensor(expected, dtype=dtype), rtol=k * 1e-6, atol=0
    )


@each_k_and_M
def test_the_link_rises_everywhere(k: float, M: float) -> None:
    sizes = torch.logspace(-12, 200, 500, dtype=torch.float64)
    around = torch.linspace(-2 * M, 3 * M, 1001, dtype=torch.float64)
    scores = torch.cat([-sizes, torch.zeros(1), sizes, around]).unique()
    for loss in (SquareLoss(k=k, M=M), SquareLoss(k=k, M=M, class_weights=(1.0,) * len(scores))):
        assert (loss.link(scores).diff() > 0).all() and loss.link(scores).isfinite().all()
        assert (loss.probabilities(scores).diff() > 0).all()


@each_k_and_M
def test_the_link_has_no_corner(k: float, M: float) -> None:
    """The slope just before and just after 0, M, and the score where the logarithm begins."""
    least = 16 * torch.finfo(torch.float64).eps / 2
    start = k * M * least / (1 + (k - 1) * least)
    for place, step in ((M, 1e-9 * M), (start, 1e-9 * start)):
        scores = torch.tensor([place - step, place + step], dtype=torch.float64, requires_grad=True)
        (slopes,) = torch.autograd.grad(SquareLoss(k=k, M=M).link(scores).sum(), scores)
        assert slopes[0].item() == pytest.approx(slopes[1].item(), rel=1e-5)
        assert slopes[0].item() == pytest.approx(k / M if place == M else 1 / (k * M), rel=1e-5)


def test_scores_beyond_the_target_no_longer_tie() -> None:
    p = SquareLoss(k=1, M=1).probabilities(torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [-1.0, -2.0, -3.0]]))
    share = (1 + math.log(2)) / (2 + math.log(2))
    torch.testing.assert_close(p[0], torch.tensor([share, 1 - share, 0.0]), rtol=0, atol=2e-6)
    assert torch.equal(p[1], p[0][[1, 0, 2]]) and p[2].tolist() == sorted(p[2].tolist(), reverse=True)
    assert 0.33 < p[2].max().item() < 0.5  # nothing speaks for any class


def test_many_classes_at_zero_have_nothing_together() -> None:
    scores = torch.zeros(50_000)
    scores[7] = 1.0
    assert SquareLoss(k=1, M=1).probabilities(scores)[7].item() == pytest.approx(1.0, abs=2e-6)


# ---- several answers, each a probability by itself -------------------------------------------------------------------
@each_k_and_M
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_an_answer_by_itself_is_the_formula(k: float, M: float, dtype: torch.dtype) -> None:
    eps = torch.finfo(dtype).eps
    e, d = math.sqrt(eps), 16 * eps
    scores = M * torch.tensor([-100.0, -1.0, 0.0, 0.3, 0.9, 1 - e / 100 / k, 1.0, 1.001, 2.0, 1e6], dtype=dtype)
    expected = []
    for f in scores.tolist():
        q = f / (k * M - (k - 1) * f) if 0 <= f <= M else f / (k * M) if f < 0 else 1 + math.log(1 + k * (f - M) / M)
        near_one = 1 - e / (1 + math.log(2 - (1 - q) / e)) if q > 1 - e else q
        expected.append(near_one if q > d else continued(f, k, M, d))
    found = SquareLoss(k=k, M=M, multi_label=True).link(scores)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype), rtol=k * 10 * eps, atol=0)
    torch.testing.assert_close(1 - found, 1 - torch.tensor(expected, dtype=dtype), rtol=1e-2, atol=2 * eps)


@each_k_and_M
def test_answers_by_themselves_keep_the_order_of_the_scores(k: float, M: float) -> None:
    """Of one class over the examples and of the classes of one example; a curve that stops at 1 does not."""
    scores = M * torch.tensor([-50.0, -1.0, 0.0, 0.5, 0.999, 1.0, 1.02, 1.1, 1.3, 1.5, 1.6, 2.0, 5.0, 6.0, 100.0, 1e6])
    loss = SquareLoss(k=k, M=M, multi_label=True)
    for items in (scores, scores.unsqueeze(-1)):
        p = loss.probabilities(items).flatten()
        assert (p.diff() > 0).all() and p[0] > 0 and p[-1] < 1
    stopped = loss.link(scores.clamp_max(M))
    assert not (stopped.diff() > 0).all()
    wide = torch.cat(
        [-torch.logspace(38, -30, 2000), torch.linspace(-2 * M, 3 * M, 2001), torch.logspace(-30, 38, 2000)]
    )
    p = loss.link(wide.sort().values)
    assert p.isfinite().all() and (p > 0).all() and (p < 1).all()
    assert (p.diff() >= -2 * torch.finfo(p.dtype).eps).all()  # up to rounding


@each_k_and_M
def test_an_answer_by_itself_has_no_corner(k: float, M: float) -> None:
    e = math.sqrt(torch.finfo(torch.float64).eps)
    start = k * M * (1 - e) / (1 + (k - 1) * (1 - e))
    for place, step in ((M, 1e-12 * M / k), (start, 1e-12 * M / k)):
        scores = torch.tensor([place - step, place + step], dtype=torch.float64, requires_grad=True)
        (slopes,) = torch.autograd.grad(SquareLoss(k=k, M=M, multi_label=True).link(scores).sum(), scores)
        assert slopes[0].item() == pytest.approx(slopes[1].item(), rel=1e-2) and slopes[0] > 0
