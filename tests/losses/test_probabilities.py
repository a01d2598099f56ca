"""Probabilities of every loss: a distribution for any finite scores, and the posterior at the population minimiser."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import naive_losses as naive
import pytest
import torch
from batches import OPTIONS, batches, few, hard_scores
from contract import CONTRACT, EVERY, every_loss, every_multi_label_loss, title
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hf_squareloss.losses import Loss

BIG = torch.finfo(torch.float32).max
EXTREME = torch.tensor(
    [[0.0, 0.0, 0.0], [50.0, -50.0, 0.0], [-1e4, 1e4, 9e3], [1e30, -1e30, 0.0], [BIG, -BIG, BIG], [-BIG, -BIG, -BIG]],
    dtype=torch.float64,
)


# ---- any finite scores -----------------------------------------------------------------------------------------------
DTYPES = pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
thorough = settings(few, max_examples=30)


@every_loss
@few
@given(batch=batches())
def test_probabilities_are_a_distribution_in_the_order_of_the_scores(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    check_distribution(loss, batch[0].float())


@every_loss
@DTYPES
def test_extreme_scores_have_probabilities(loss: Loss, dtype: torch.dtype) -> None:
    scores = EXTREME.clamp(torch.finfo(dtype).min, torch.finfo(dtype).max).to(dtype)
    assert scores.isfinite().all()
    for options in OPTIONS[:4]:
        check_distribution(replace(loss, **options), scores, in_order="class_weights" not in options)


@every_loss
@DTYPES
@thorough
@given(data=st.data())
def test_no_scores_are_too_large_or_too_close(loss: Loss, dtype: torch.dtype, data: st.DataObject) -> None:
    """The prediction is the same by scores and by probabilities, also of scores that differ by one rounding."""
    scores = data.draw(hard_scores(dtype))
    for smoothing in (0.0, 0.1):
        check_distribution(replace(loss, label_smoothing=smoothing), scores)


def check_distribution(loss: Loss, scores: Tensor, *, in_order: bool = True) -> None:
    p = loss.probabilities(scores)
    assert p.dtype == (torch.float64 if scores.dtype == torch.float64 else torch.float32)
    assert p.shape == scores.shape and (p > 0).all() and (p <= 1).all() and p.log().isfinite().all()
    torch.testing.assert_close(p.sum(-1), torch.ones(p.shape[:-1], dtype=p.dtype))
    if in_order:
        check_order(p, scores)


def check_order(p: Tensor, scores: Tensor) -> None:
    """The same prediction, a tie only where scores tie, and elsewhere no step back that is more than rounding."""
    assert torch.equal(p.argmax(-1), scores.argmax(-1))
    top = scores == scores.amax(-1, keepdim=True)
    assert torch.equal(p == p.amax(-1, keepdim=True), top)
    rising = p.gather(-1, scores.argsort(-1))
    assert (rising.diff(dim=-1) >= -1e-6 * rising[..., 1:]).all()


@pytest.mark.parametrize("wrong", [[0.5, 0.5, 0.0], [0.4, 0.5, 0.1], [0.6, 0.1, 0.3]], ids=["tie", "top", "below"])
def test_another_order_is_noticed(wrong: list[float]) -> None:
    scores = torch.tensor([2.0, 1.0, 0.0])
    check_order(torch.tensor([0.6, 0.3, 0.1]), scores)
    with pytest.raises(AssertionError):
        check_order(torch.tensor(wrong), scores)


@every_multi_label_loss
def test_every_answer_has_a_probability(loss: Loss) -> None:
    for scores in (EXTREME, EXTREME.float()):
        p = replace(loss, multi_label=True).probabilities(scores)
        assert p.shape == scores.shape and (p > 0).all() and (p <= 1).all()
        assert (p.gather(-1, scores.argsort(-1)).diff(dim=-1) >= 0).all()


@every_multi_label_loss
@DTYPES
@thorough
@given(data=st.data())
def test_no_answer_is_too_large_or_too_close(loss: Loss, dtype: torch.dtype, data: st.DataObject) -> None:
    scores = data.draw(hard_scores(dtype))
    p = replace(loss, multi_label=True).probabilities(scores)
    assert (p > 0).all() and (p <= 1).all()
    check_order(p, scores)


@every_loss
def test_one_class_has_no_probabilities(loss: Loss) -> None:
    with pytest.raises(ValueError, match="regression"):
        loss.probabilities(torch.zeros(2, 1))


# ---- links that break ------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Broken(Loss):
    """exp(f) as a probability: infinite from 89 on in float32."""

    name: ClassVar[str] = "broken"

    def costs(self, scores: Tensor) -> Tensor:
        return -scores

    def link(self, scores: Tensor) -> Tensor:
        return scores.exp()


def test_a_link_that_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match=r"Broken\.link must give finite values.* gave inf for the score 100"):
        Broken().probabilities(torch.tensor([[1.0, 100.0]]))


def test_scores_that_are_not_finite_are_not_the_links_fault() -> None:
    for loss in (*EVERY, Broken()):
        for bad in (torch.nan, torch.inf):
            loss.probabilities(torch.tensor([[bad, 1.0], [0.0, 1.0]]))


# ---- links -----------------------------------------------------------------------------------------------------------
def population_minimiser(loss: Loss, posterior: Tensor) -> Tensor:
    """The scores that minimise the expected loss over labels drawn from `posterior`."""
    classes = torch.arange(len(posterior))
    return naive.minimise(lambda scores: posterior @ loss(scores.expand(len(classes), -1), classes), len(posterior))


POSTERIORS = [[0.5, 0.3, 0.2], [0.9, 0.06, 0.04], [0.02, 0.49, 0.49]]
EXACT: list[Loss] = [loss for entry in CONTRACT.values() if entry.exact_link for loss in entry.losses]


@pytest.mark.parametrize("loss", EXACT, ids=title)
@pytest.mark.parametrize("options", OPTIONS[:4], ids=lambda o: "+".join(o) or "plain")
@pytest.mark.parametrize("posterior", POSTERIORS, ids=str)
def test_probabilities_recover_the_posterior(loss: Loss, options: dict[str, Any], posterior: list[float]) -> None:
    loss, p = replace(loss, **options), torch.tensor(posterior, dtype=torch.float64)
    scores = population_minimiser(loss, p)
    torch.testing.assert_close(loss.probabilities(scores), p, rtol=0, atol=1e-6)
    if options:
        assert not torch.allclose(replace(loss, label_smoothing=0.0, class_weights=None).probabilities(scores), p, 1e-2)


@pytest.mark.parametrize("name", [name for name, entry in CONTRACT.items() if not entry.exact_link])
def test_a_link_that_is_not_exact_is_noticed(name: str) -> None:
    p = torch.tensor(POSTERIORS[0], dtype=torch.float64)
    for loss in CONTRACT[name].losses:
        assert not torch.allclose(loss.probabilities(population_minimiser(loss, p)), p, atol=1e-2)


@pytest.mark.parametrize("loss", [loss for loss in EXACT if CONTRACT[loss.name].question], ids=title)
@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_multi_label_probabilities_recover_the_posterior(loss: Loss, p: float) -> None:
    loss = replace(loss, multi_label=True, class_weights=(3.0,))
    yes, no = torch.ones(1, 1), torch.zeros(1, 1)

    def expected_loss(scores: Tensor) -> Tensor:
        scores = scores.unsqueeze(0)
        return (p * loss(scores, yes) + (1 - p) * loss(scores, no)).sum()

    assert loss.probabilities(naive.minimise(expected_loss, 1)).item() == pytest.approx(p, abs=1e-6)
