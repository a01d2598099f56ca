"""The square loss: the paper's formula, the bugs others have made of it, (k, M), memory."""

import math
from collections.abc import Callable
from typing import Any

import naive_losses as naive
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from hf_squareloss.losses import SquareLoss, square_costs, square_loss

K_AND_M = [(1.0, 1.0), (1.0, 15.0), (15.0, 30.0), (3.0, 2.0), (0.5, 0.25)]
MeanLoss = Callable[[Tensor, Tensor, float, float], Tensor]


def random_scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# ---- the formula, and what it rejects --------------------------------------------------------------------------------
def check(mean: MeanLoss) -> None:
    """Value and gradient of a mean loss against the paper's formula, for every (k, M)."""
    for k, M in K_AND_M:
        labels = torch.tensor([[0, 1, 2], [3, 0, 1]])
        ours, theirs = (random_scores(2, 3, 4).requires_grad_() for _ in range(2))
        value, reference = mean(ours, labels, k, M), naive.values(SquareLoss(k=k, M=M), theirs, labels).mean()
        torch.testing.assert_close(value, reference)
        value.backward()
        reference.backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


def by_one_hot(scores: Tensor, labels: Tensor, k: float, M: float) -> Tensor:
    one_hot = F.one_hot(labels, scores.shape[-1])
    return ((1 + (k - 1) * one_hot) * (scores - M * one_hot).square()).mean()


def k_ignored_when_M_is_not_one(scores: Tensor, labels: Tensor, k: float, M: float) -> Tensor:
    return by_one_hot(scores, labels, k if M == 1 else 1.0, M)


def extra_term_detached(scores: Tensor, labels: Tensor, k: float, M: float) -> Tensor:
    true = scores.gather(-1, labels.unsqueeze(-1)).detach()
    return by_one_hot(scores, labels, 1.0, M) + (k - 1) * (true - M).square().mean() / scores.shape[-1]


def k_inside_the_square(scores: Tensor, labels: Tensor, k: float, M: float) -> Tensor:
    return by_one_hot(scores, labels, k * k, M)


def softmax_left_in(scores: Tensor, labels: Tensor, k: float, M: float) -> Tensor:
    return by_one_hot(scores.softmax(-1), labels, k, M)


def divided_by_the_batch(scores: Tensor, labels: Tensor, k: float, M: float) -> Tensor:
    return by_one_hot(scores, labels, k, M) * labels.numel() / len(labels)


def sum_over_classes(scores: Tensor, labels: Tensor, k: float, M: float) -> Tensor:
    return by_one_hot(scores, labels, k, M) * scores.shape[-1]


def half(scores: Tensor, labels: Tensor, k: float, M: float) -> Tensor:
    return by_one_hot(scores, labels, k, M) / 2


def test_is_the_papers_formula() -> None:
    check(lambda scores, labels, k, M: SquareLoss(k=k, M=M).mean(scores, labels))
    check(lambda scores, labels, k, M: square_loss(scores, labels, k=k, M=M).mean())
    check(lambda scores, labels, k, M: square_costs(scores, k=k, M=M).gather(-1, labels.unsqueeze(-1)).mean())
    check(by_one_hot)


@pytest.mark.parametrize(
    "wrong",
    [
        k_ignored_when_M_is_not_one,
        extra_term_detached,
        k_inside_the_square,
        softmax_left_in,
        divided_by_the_batch,
        sum_over_classes,
        half,
    ],
    ids=lambda f: f.__name__,
)
def test_the_formula_rejects_known_bugs(wrong: MeanLoss) -> None:
    with pytest.raises(AssertionError, match="not close|not equal"):
        check(wrong)


def test_equals_the_regression_of_transformers_on_one_hot_labels() -> None:
    """The stock way to a square loss: problem_type="regression" with float one-hot labels is k = M = 1."""
    config = PreTrainedConfig(problem_type="regression", num_labels=4)  # type: ignore[call-arg]
    scores, labels = random_scores(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    one_hot = F.one_hot(labels, 4).double()
    expected = ForSequenceClassificationLoss(one_hot, scores, config)
    torch.testing.assert_close(SquareLoss(k=1, M=1).mean(scores, labels), expected)
    torch.testing.assert_close(SquareLoss(k=1, M=1, multi_label=True).mean(scores, one_hot), expected)
    assert not torch.allclose(SquareLoss(k=1, M=2).mean(scores, labels), expected)


@pytest.mark.parametrize(("k", "M"), K_AND_M)
def test_the_population_minimiser_is_the_closed_form(k: float, M: float) -> None:
    """f_i = k M p_i / (1 + (k - 1) p_i): no gradient there, and the link leads back."""
    p = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0], dtype=torch.float64)
    scores = (k * M * p / (1 + (k - 1) * p)).requires_grad_()
    loss = SquareLoss(k=k, M=M)
    (gradient,) = torch.autograd.grad(p @ loss(scores.expand(5, -1), torch.arange(5)), scores)
    torch.testing.assert_close(gradient, torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.link(scores.detach()), p)
    torch.testing.assert_close(loss.probabilities(scores.detach()), p, rtol=0, atol=1e-12)


def test_exact_one_hot_scores_are_certain_and_softmax_would_not_be() -> None:
    scores = torch.eye(150)
    assert SquareLoss(k=1, M=1).probabilities(scores).diagonal().min() > 0.999
    assert scores.softmax(-1).diagonal().max() < 0.02


# ---- other targets ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("k", "M"), K_AND_M)
def test_multi_label_is_a_square_loss_per_question(k: float, M: float) -> None:
    scores = random_scores(3, 4)
    targets = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    weights = (1.0, 2.0, 3.0, 4.0)
    expected = torch.zeros(3, dtype=torch.float64)
    for n in range(3):
        for c in range(4):
            f, yes = scores[n, c], bool(targets[n, c])
            expected[n] += weights[c] * (k * (f - M) ** 2 if yes else f**2) / 4
    loss = SquareLoss(k=k, M=M, multi_label=True, class_weights=weights)
    for dtype in (torch.int64, torch.float32, torch.bool):
        torch.testing.assert_close(loss(scores, targets.to(dtype)), expected)
    with pytest.raises(ValueError, match="multi-label"):
        loss(scores, torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("loss", [SquareLoss(), SquareLoss(k=1, M=1), SquareLoss(k="paper", M="paper")])
def test_one_real_valued_target_has_the_plain_squared_error(loss: SquareLoss) -> None:
    scores, targets = random_scores(5, 1), torch.tensor([0.5, 4.0, -3.0, -100.0, 2.0], dtype=torch.float64)
    expected = F.mse_loss(scores[:, 0], targets)  # -100 is a real number here, not ignore_index
    torch.testing.assert_close(loss.mean(scores, targets), expected)
    torch.testing.assert_close(loss.mean(scores, targets.unsqueeze(-1)), expected)
    assert loss(scores, targets)[3] == (scores[3, 0] + 100.0) ** 2


@pytest.mark.parametrize(
    ("options", "labels", "says"),
    [
        ({"k": 2}, torch.zeros(3), "k=2"),
        ({"M": 15}, torch.zeros(3), "M=15"),
        ({"label_smoothing": 0.1}, torch.zeros(3), "label_smoothing"),
        ({"class_weights": (1.0,)}, torch.zeros(3), "class_weights"),
        ({}, torch.zeros(3, dtype=torch.long), "floating"),
        ({}, torch.zeros(2), "shape"),
        ({}, torch.zeros(3, 3), "shape"),
    ],
)
def test_what_a_regression_cannot_mean_is_refused(options: dict[str, Any], labels: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SquareLoss(**options)(torch.zeros(3, 1), labels)


# ---- k and M ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [(2, (1, 1)), (41, (1, 1)), (42, (1, 15)), (999, (1, 15)), (1000, (15, 30)), (50000, (15, 30)), (1, (1, 1))],
)
def test_paper_values(num_classes: int, expected: tuple[float, float]) -> None:
    loss = SquareLoss(k="paper", M="paper").resolve(num_classes)
    assert (loss.k, loss.M) == expected


@pytest.mark.parametrize(
    ("num_classes", "expected"),
    [
        (2, (1, 1)),
        (4, (1, 1)),
        (6, (1.5, 1)),
        (16, (4, 1)),
        (77, (19.25, 1)),
        (400, (100, 1)),
        (1_600, (100, 2)),
        (40_000, (100, 10)),
    ],
)
def test_auto_values(num_classes: int, expected: tuple[float, float]) -> None:
    loss = SquareLoss().resolve(num_classes)
    assert (loss.k, loss.M) == pytest.approx(expected)
    for chosen in (loss, SquareLoss(k=1).resolve(num_classes), SquareLoss(k="paper", M="auto").resolve(num_classes)):
        assert float(chosen.k) * float(chosen.M) ** 2 == pytest.approx(max(float(chosen.k), num_classes / 4))


@pytest.mark.parametrize(
    ("k", "M", "num_classes", "expected"),
    [
        ("auto", 2.0, 16, (4, 2)),
        ("auto", 15.0, 16, (4, 15)),
        (2.0, "auto", 32, (2, 2)),
        ("paper", "auto", 16, (1, 2)),
        ("auto", "paper", 100, (25, 15)),
        (2.0, "paper", 1000, (2, 30)),
        ("paper", 3.0, 1000, (15, 3)),
        (2.0, 3.0, 1000, (2, 3)),
    ],
)
def test_k_and_M_mixed(k: Any, M: Any, num_classes: int, expected: tuple[float, float]) -> None:
    loss = SquareLoss(k=k, M=M).resolve(num_classes)
    assert (loss.k, loss.M) == expected
    assert loss.resolve(num_classes) == loss


def test_a_rule_that_changed_is_another_loss_for_runs_and_numbers_are_not() -> None:
    pairs: list[tuple[Any, Any]] = [("auto", 1), (1, "auto"), (2, 3), ("paper", 1)]
    assert [SquareLoss(k=k, M=M).meaning for k, M in pairs] == [2, 2, 1, 1]


@pytest.mark.parametrize("rule", ["auto", "paper"])
def test_a_yes_no_question_is_binary_however_many_there_are(rule: Any) -> None:
    for num_classes in (1, 5, 100, 2000):
        loss = SquareLoss(k=rule, M=rule, multi_label=True).resolve(num_classes)
        assert (loss.k, loss.M) == (1, 1)


@pytest.mark.parametrize("name", ["k", "M"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan, True, None, "1", "Auto", torch.tensor(1.0)])
def test_wrong_k_and_M_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        SquareLoss(**{name: value})


# ---- autograd --------------------------------------------------------------------------------------------------------
def test_gradient_of_each_item_through_torch_func() -> None:
    scores, labels = random_scores(5, 3), torch.tensor([0, 1, 2, 0, 1])

    def one(f: Tensor, y: Tensor) -> Tensor:
        return square_loss(f, y, k=3.0, M=2.0)

    each = torch.func.vmap(torch.func.grad(one))(scores, labels)
    leaf = scores.clone().requires_grad_()
    square_loss(leaf, labels, k=3.0, M=2.0).sum().backward()
    torch.testing.assert_close(each, leaf.grad)


def test_scores_of_zero_have_a_gradient() -> None:
    scores = torch.zeros(2, 4, requires_grad=True)
    SquareLoss(k=3, M=2).mean(scores, torch.tensor([0, 1])).backward()
    expected = torch.zeros(2, 4).scatter(1, torch.tensor([[0], [1]]), -2 * 3 * 2 / 4 / 2)
    torch.testing.assert_close(scores.grad, expected)


# ---- the function ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("labels", [torch.tensor([0]), torch.zeros(4), torch.zeros(4, 3, dtype=torch.long)])
def test_the_function_refuses_labels_that_would_broadcast(labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="integers of shape"):
        square_loss(torch.randn(4, 3), labels)


def test_the_function_refuses_a_scale_that_is_not_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        square_loss(torch.randn(4, 3), torch.zeros(4, dtype=torch.long), k=0.0)


def test_nearly_perfect_scores_cost_nothing_and_not_less() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = 1e-4 * torch.randn(1000, 52, generator=generator)
    scores[:, 0] += 15.0
    labels = torch.zeros(1000, dtype=torch.long)
    assert square_loss(scores, labels, k=1.0, M=15.0).min() >= 0.0
    expanded = (scores.square().sum(-1) - 30.0 * scores[:, 0] + 225.0) / 52  # the form that cancels
    assert expanded.min() < 0.0
