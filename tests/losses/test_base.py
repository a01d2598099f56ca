"""What every loss has in common: labels of every kind, means, refusals, links, precision, copies, compilation."""

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import replace
from typing import Any

import naive_losses as naive
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from hf_squareloss.losses import CrossEntropy, Loss, SquareLoss, Squentropy, make_loss, scale

PLAIN: list[Loss] = [
    CrossEntropy(),
    SquareLoss(k=1, M=1),
    SquareLoss(k=3, M=2),
    SquareLoss(k=0.5, M=15),
    Squentropy(),
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"label_smoothing": 0.1},
    {"class_weights": (0.5, 2.0, 1.0)},
    {"label_smoothing": 0.3, "class_weights": (0.5, 2.0, 1.0)},
    {"label_smoothing": 0.3, "class_weights": (0.5, 2.0, 1.0), "ignore_index": 1},
]
SOFT = torch.tensor([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0], [0.0, 0.6, 0.4], [-100.0, -100.0, -100.0]], dtype=torch.float64)


def name(loss: Loss) -> str:
    return f"{loss.name}-{loss.k}-{loss.M}" if isinstance(loss, SquareLoss) else loss.name


every_loss = pytest.mark.parametrize("loss", PLAIN, ids=name)
every_option = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "+".join(o) or "plain")


def random_scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2


# ---- against the papers' formulas ------------------------------------------------------------------------------------
@every_loss
@every_option
@pytest.mark.parametrize(
    "labels",
    [torch.tensor([0, 2, 1, -100]), torch.tensor([[0, 2], [1, -100]]), SOFT, SOFT.reshape(2, 2, 3)],
    ids=["hard", "hard-BT", "soft", "soft-BT"],
)
def test_values_and_gradients_are_those_of_the_naive_loops(loss: Loss, options: dict[str, Any], labels: Tensor) -> None:
    loss = replace(loss, **options)
    if loss.ignore_index != -100:
        labels = torch.where(labels == -100, loss.ignore_index, labels)
    rows = labels.shape[:-1] if labels.is_floating_point() else labels.shape
    ours, theirs = (random_scores(*rows, 3).requires_grad_() for _ in range(2))
    value, reference = loss(ours, labels), naive.values(loss, theirs, labels)
    torch.testing.assert_close(value, reference, rtol=1e-12, atol=1e-12)
    weight = random_scores(*rows, seed=1)
    (value * weight).sum().backward()
    (reference * weight).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-12, atol=1e-12)


@every_loss
@every_option
def test_first_and_second_derivatives(loss: Loss, options: dict[str, Any]) -> None:
    loss = replace(loss, **options | {"ignore_index": -100})
    for labels in (torch.tensor([[0, 2], [1, -100]]), SOFT.reshape(2, 2, 3)):
        scores = random_scores(2, 2, 3).requires_grad_()
        assert torch.autograd.gradcheck(lambda s: loss(s, labels), scores)  # noqa: B023
        assert torch.autograd.gradgradcheck(lambda s: loss(s, labels), scores)  # noqa: B023


@pytest.mark.parametrize("loss", [CrossEntropy(), SquareLoss(k=1, M=1), SquareLoss(k=3, M=2)], ids=name)
@pytest.mark.parametrize("weights", [None, (0.5, 2.0, 1.0)])
def test_derivatives_for_multi_label_targets(loss: Loss, weights: tuple[float, ...] | None) -> None:
    loss = replace(loss, multi_label=True, class_weights=weights)
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-100.0, -100.0, -100.0]], dtype=torch.float64)
    scores = random_scores(3, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, targets), scores)
    assert torch.autograd.gradgradcheck(lambda s: loss(s, targets), scores)


@every_loss
def test_the_table_gathered_is_the_direct_form(loss: Loss) -> None:
    scores, labels = random_scores(5, 4), torch.tensor([0, 1, 2, 3, 0])
    classes = torch.stack([labels, labels.flip(0)], -1)
    costs_at = loss.costs_at(scores, classes)
    torch.testing.assert_close(costs_at[:, 0], loss.costs(scores)[range(5), labels])
    torch.testing.assert_close(Loss.costs_at(loss, scores, classes), costs_at)
    torch.testing.assert_close(loss.link_at(scores, classes), loss.link(scores).gather(-1, classes))


# ---- means -----------------------------------------------------------------------------------------------------------
@every_loss
@every_option
def test_the_mean_divides_by_the_sum_of_the_weights_of_the_items_that_count(
    loss: Loss, options: dict[str, Any]
) -> None:
    loss = replace(loss, **options | {"ignore_index": -100})
    scores, weights = random_scores(4, 3), loss.class_weights or (1.0, 1.0, 1.0)
    total = weights[0] + weights[2] + weights[1]
    expected = naive.values(loss, scores, torch.tensor([0, 2, 1, -100])).sum() / total
    torch.testing.assert_close(loss.mean(scores, torch.tensor([0, 2, 1, -100])), expected)
    soft_total = sum(float(SOFT[n, c]) * weights[c] for n in range(3) for c in range(3))
    torch.testing.assert_close(loss.mean(scores, SOFT), naive.values(loss, scores, SOFT).sum() / soft_total)


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
def test_tokens_count_alike_wherever_they_stand(loss: Loss) -> None:
    """(B, T, C) scores are divided by the number of tokens, not by the batch."""
    scores, labels = random_scores(2, 3, 4), torch.tensor([[0, 1, -100], [3, -100, -100]])
    flat = loss.mean(scores.reshape(-1, 4), labels.reshape(-1))
    torch.testing.assert_close(loss.mean(scores, labels), flat)
    by_batch = loss(scores, labels).sum() / 2
    assert not torch.allclose(by_batch, flat)


# ---- properties ------------------------------------------------------------------------------------------------------
@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Scores (..., C) of zero to three leading dimensions, and labels."""
    shape = draw(st.lists(st.integers(1, 3), max_size=3))
    num_classes = draw(st.integers(2, 5))
    size = int(torch.tensor(shape).prod()) if shape else 1
    value = st.floats(-50, 50, width=32)
    scores = draw(st.lists(value, min_size=size * num_classes, max_size=size * num_classes))
    labels = draw(st.lists(st.integers(0, num_classes - 1), min_size=size, max_size=size))
    return torch.tensor(scores, dtype=torch.float64).reshape(*shape, num_classes), torch.tensor(labels).reshape(shape)


def close(ours: Tensor, reference: Tensor) -> None:
    torch.testing.assert_close(ours, reference, rtol=1e-9, atol=1e-9)


few = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


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
    num_classes = scores.shape[-1]
    one = torch.nn.functional.one_hot(labels, num_classes).double()
    other = one.roll(1, -1)
    mixed = share * loss(scores, one) + (1 - share) * loss(scores, other)
    close(loss(scores, share * one + (1 - share) * other), mixed)


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


@every_loss
@few
@given(batch=batches())
def test_probabilities_are_a_distribution_in_the_order_of_the_scores(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    scores = batch[0].float()
    p = loss.probabilities(scores)
    assert p.shape == scores.shape and (p > 0).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(p.shape[:-1]))
    by_score = p.gather(-1, scores.argsort(-1))
    assert (by_score.diff(dim=-1) >= -1e-6).all()
    assert p.log().isfinite().all()


# ---- precision -------------------------------------------------------------------------------------------------------
# type of the scores: relative tolerance of the value (always reduced in float32 or better) and of the gradient.
TOLERANCES = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-5),
    torch.bfloat16: (1e-5, 2**-8),
    torch.float16: (1e-5, 2**-11),
}


@every_loss
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
def test_value_and_gradient_by_type_of_the_scores(loss: Loss, dtype: torch.dtype, soft: bool) -> None:
    labels = torch.arange(16) % 6
    if soft:
        labels = 0.1 + 0.4 * torch.nn.functional.one_hot(labels, 6).double()
    scores = random_scores(16, 6).to(dtype).requires_grad_()
    exact = scores.detach().double().requires_grad_()
    value, reference = loss(scores, labels), naive.values(loss, exact, labels)
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    value_tolerance, gradient_tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(value.double(), reference, rtol=value_tolerance, atol=value_tolerance)
    value.sum().backward()
    reference.sum().backward()
    assert scores.grad is not None and exact.grad is not None and scores.grad.dtype == dtype
    torch.testing.assert_close(scores.grad.double(), exact.grad, rtol=gradient_tolerance, atol=gradient_tolerance)


def test_the_tolerances_reject_a_reduction_in_sixteen_bits() -> None:
    scores = random_scores(16, 6).bfloat16()
    reference = naive.values(SquareLoss(k=1, M=1), scores.double(), torch.arange(16) % 6)
    one_hot = torch.nn.functional.one_hot(torch.arange(16) % 6, 6)
    careless = (scores - one_hot).square().mean(-1)
    assert not torch.allclose(careless.double(), reference, rtol=TOLERANCES[torch.bfloat16][0])


@every_loss
def test_scores_of_ten_thousand_in_bfloat16_stay_finite(loss: Loss) -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4]], dtype=torch.bfloat16, requires_grad=True)
    for labels in (torch.tensor([1, 0]), torch.tensor([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])):
        smoothed = replace(loss, label_smoothing=0.1, class_weights=(1.0, 2.0, 3.0))
        value = smoothed.mean(scores, labels)
        (gradient,) = torch.autograd.grad(value, scores)
        assert value.isfinite() and gradient.isfinite().all()
        assert smoothed.probabilities(scores).log().isfinite().all()


@every_loss
@every_option
def test_autocast_does_not_touch_the_reduction(loss: Loss, options: dict[str, Any]) -> None:
    loss, scores = replace(loss, **options), random_scores(4, 3).float()
    for labels in (torch.tensor([0, 2, 1, -100]), SOFT.float()):
        if loss.ignore_index != -100:
            labels = torch.where(labels == -100, loss.ignore_index, labels)
        outside = loss.mean(scores, labels)
        with torch.autocast("cpu", torch.bfloat16):
            inside = loss.mean(scores, labels)
            careless = loss.costs(scores) @ torch.ones(3)
        assert torch.equal(inside, outside)
        assert careless.dtype == torch.bfloat16  # what a matmul would have done


# ---- refusals --------------------------------------------------------------------------------------------------------
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
def test_class_weights_of_another_number_of_classes_are_refused(loss: Loss) -> None:
    loss = replace(loss, class_weights=(1.0, 2.0))
    for labels in (torch.tensor([0, 1]), torch.full((2, 3), 1 / 3)):
        with pytest.raises(ValueError, match="2 class_weights"):
            loss.mean(torch.zeros(2, 3), labels)
    with pytest.raises(ValueError, match="2 class_weights"):
        loss.probabilities(torch.zeros(2, 3))


@every_loss
def test_one_class_has_no_probabilities(loss: Loss) -> None:
    with pytest.raises(ValueError, match="regression"):
        loss.probabilities(torch.zeros(2, 1))


# ---- links -----------------------------------------------------------------------------------------------------------
def population_minimiser(loss: Loss, posterior: Tensor) -> Tensor:
    """The scores that minimise the expected loss over labels drawn from `posterior`."""
    classes = torch.arange(len(posterior))
    return naive.minimise(lambda scores: posterior @ loss(scores.expand(len(classes), -1), classes), len(posterior))


POSTERIORS = [[0.5, 0.3, 0.2], [0.9, 0.06, 0.04], [0.02, 0.49, 0.49]]
WITH_EXACT_LINK: list[Loss] = [*PLAIN[:-1], SquareLoss(k=8, M=0.25), SquareLoss(), SquareLoss(k="paper", M="paper")]


@pytest.mark.parametrize("loss", WITH_EXACT_LINK, ids=name)
@pytest.mark.parametrize("options", OPTIONS[:4], ids=lambda o: "+".join(o) or "plain")
@pytest.mark.parametrize("posterior", POSTERIORS, ids=str)
def test_probabilities_recover_the_posterior(loss: Loss, options: dict[str, Any], posterior: list[float]) -> None:
    loss, p = replace(loss, **options), torch.tensor(posterior, dtype=torch.float64)
    scores = population_minimiser(loss, p)
    torch.testing.assert_close(loss.probabilities(scores), p, rtol=0, atol=1e-6)
    if options:
        assert not torch.allclose(replace(loss, label_smoothing=0.0, class_weights=None).probabilities(scores), p, 1e-2)


@pytest.mark.parametrize("loss", [CrossEntropy(), SquareLoss(k=1, M=1), SquareLoss(k=3, M=2)], ids=name)
@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_multi_label_probabilities_recover_the_posterior(loss: Loss, p: float) -> None:
    loss = replace(loss, multi_label=True, class_weights=(3.0,))
    yes, no = torch.ones(1, 1), torch.zeros(1, 1)

    def expected_loss(scores: Tensor) -> Tensor:
        scores = scores.unsqueeze(0)
        return (p * loss(scores, yes) + (1 - p) * loss(scores, no)).sum()

    assert loss.probabilities(naive.minimise(expected_loss, 1)).item() == pytest.approx(p, abs=1e-6)


# ---- objects ---------------------------------------------------------------------------------------------------------
OBJECTS: list[Loss] = [
    *PLAIN,
    SquareLoss(),
    SquareLoss(k="paper", M="paper", ignore_index=0),
    SquareLoss(k=2, M="auto", multi_label=True, class_weights=(1.0, 2.5)),
    CrossEntropy(label_smoothing=0.1, class_weights=(1.0, 2.0, 3.0), ignore_index=-1),
]


@pytest.mark.parametrize("loss", OBJECTS, ids=lambda loss: str(loss.to_dict()))
def test_a_loss_survives_json_pickle_and_copies(loss: Loss) -> None:
    values = json.loads(json.dumps(loss.to_dict()))
    assert make_loss(values.pop("loss"), **values) == loss
    for copied in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), replace(loss)):
        assert copied == loss and hash(copied) == hash(loss) and type(copied) is type(loss)
    assert replace(loss, ignore_index=7) != loss


def test_to_dict_names_only_what_differs_from_the_default() -> None:
    assert SquareLoss().to_dict() == {"loss": "square"}
    assert SquareLoss(k=1, class_weights=(1, 2)).to_dict() == {"loss": "square", "k": 1.0, "class_weights": [1.0, 2.0]}


def test_losses_of_different_kinds_differ() -> None:
    assert len({CrossEntropy(), Squentropy(), SquareLoss(), SquareLoss(k=1, M=1)}) == 4


@pytest.mark.parametrize("option", ["k", "label_smoothing"])
def test_a_loss_cannot_be_changed(option: str) -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        setattr(SquareLoss(), option, 0.5)


# ---- compilation and imports -----------------------------------------------------------------------------------------
# torch 2.13's compiler makes an instance of autograd.Function for its own books and so triggers torch's own warning.
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("loss", [CrossEntropy(), SquareLoss(), Squentropy()], ids=lambda loss: loss.name)
def test_the_compiled_loss_equals_the_eager_one(loss: Loss) -> None:
    scores = random_scores(4, 3).float()
    for options, labels in (
        ({}, torch.tensor([0, 2, 1, -100])),
        ({"label_smoothing": 0.1, "class_weights": (0.5, 2.0, 1.0)}, torch.tensor([0, 2, 1, -100])),
        ({}, SOFT.float()),
    ):
        one = replace(loss, **options)
        torch.compiler.reset()
        compiled = torch.compile(one.mean, fullgraph=True, backend="aot_eager")
        results = []
        for mean in (one.mean, compiled):
            leaf = scores.clone().requires_grad_()
            value = mean(leaf, labels)
            value.backward()
            results.append((value.detach(), leaf.grad))
        torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize(("module", "expected"), [("hf_squareloss.losses", "False"), ("transformers", "True")])
def test_losses_import_without_transformers_and_without_a_word(module: str, expected: str) -> None:
    code = f"import sys, {module}; sys.exit(str('transformers' in sys.modules) != {expected!r})"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if module == "hf_squareloss.losses":
        assert done.stdout == done.stderr == ""
