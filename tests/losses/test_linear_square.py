"""`linear_square_loss`: ignored items, shapes, refusals, and how it is used in a model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from linear_inputs import C, D, Inputs, N, assert_close, on_scores, without_scores
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hf_squareloss import CrossEntropy, SquareLoss, linear_square_loss, square_loss
from hf_squareloss.losses import _square


# ---- ignored items, shapes, refusals ---------------------------------------------------------------------------------
def test_ignored_items(no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs()
    inputs.labels[[0, 5, 11]] = -100
    ours = inputs.gradients(without_scores, k=2.0)
    monkeypatch.undo()
    assert ours[0][[0, 5, 11]].tolist() == [0.0, 0.0, 0.0] and (ours[0] > 0).sum() == N - 3
    assert ours[1][[0, 5, 11]].abs().sum() == 0
    assert_close(ours, inputs.gradients(on_scores, k=2.0))


def test_ignored_items_have_no_scores_where_scores_are_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of twelve items count: three rows of scores, and none at all where nothing counts."""
    inputs, seen = Inputs(), []
    inputs.labels[3:] = -100
    expected = inputs.gradients(on_scores, k=2.0)
    linear = F.linear

    def seeing(items: Tensor, *rest: Any) -> Tensor:
        seen.append(len(items))
        return linear(items, *rest)

    monkeypatch.setattr(_square.F, "linear", seeing)
    assert_close(inputs.gradients(linear_square_loss, k=2.0, form="scores"), expected)
    inputs.labels.fill_(-100)
    assert all(x.abs().sum() == 0 for x in inputs.gradients(linear_square_loss, k=2.0, form="scores"))
    assert seen == [3, 0]


@pytest.mark.parametrize("form", ["gram", "scores"])
def test_every_item_ignored(form: str) -> None:
    inputs = Inputs()
    inputs.labels.fill_(-100)
    ours = inputs.gradients(linear_square_loss, form=form)
    assert all(x.abs().sum() == 0 for x in ours)


def test_the_guard_against_scores_sees_them(no_scores: None) -> None:
    with pytest.raises(AssertionError, match="scores were built"):
        CrossEntropy().of_linear(torch.zeros(3, 2), torch.zeros(4, 2), None, torch.zeros(3, dtype=torch.long))


def test_leading_dimensions() -> None:
    inputs = Inputs()
    inputs.labels[3] = -100
    flat = without_scores(inputs.hidden, inputs.weight, inputs.bias, inputs.labels)
    shaped = without_scores(inputs.hidden.view(3, 4, D), inputs.weight, inputs.bias, inputs.labels.view(3, 4))
    torch.testing.assert_close(shaped, flat.view(3, 4))


def test_a_single_item() -> None:
    inputs = Inputs()
    one = without_scores(inputs.hidden[0], inputs.weight, inputs.bias, inputs.labels[0])
    torch.testing.assert_close(one, on_scores(*(inputs.hidden[:1], inputs.weight, inputs.bias, inputs.labels[:1]))[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.zeros(N, D + 1)}, "do not fit"),
        ({"weight": torch.zeros(C)}, "do not fit"),
        ({"bias": torch.zeros(1)}, "bias must have shape"),
        ({"labels": torch.zeros(1, dtype=torch.long)}, "labels must be integers of shape"),
        ({"labels": torch.full((N,), C)}, "labels must be in"),
        ({"k": -1.0}, "k must be"),
        ({"class_weights": (1.0,)}, "class_weights for scores"),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    inputs = Inputs(dtype=torch.float32)
    given = {name: getattr(inputs, name) for name in ("hidden", "weight", "bias", "labels")} | change
    with pytest.raises(ValueError, match=message):
        without_scores(given.pop("hidden"), given.pop("weight"), given.pop("bias"), given.pop("labels"), **given)


def test_soft_labels_and_other_losses_take_the_scores() -> None:
    inputs = Inputs()
    targets = torch.rand(N, C, dtype=torch.float64).softmax(-1)
    scores = F.linear(inputs.hidden, inputs.weight, inputs.bias)
    for loss, labels in (
        (SquareLoss(), targets),
        (SquareLoss(multi_label=True), targets),
        (CrossEntropy(), inputs.labels),
    ):
        ours = loss.of_linear(inputs.hidden, inputs.weight, inputs.bias, labels)
        torch.testing.assert_close(ours, loss(scores, labels))


# ---- how it is used --------------------------------------------------------------------------------------------------
def test_tied_embeddings_use_the_weight_twice() -> None:
    tokens = torch.randint(0, C, (N,))

    def step(compute: Callable[..., Tensor]) -> Tensor:
        inputs = Inputs()
        hidden = torch.tanh(F.embedding(tokens, inputs.weight))
        return torch.autograd.grad(compute(hidden, inputs.weight, None, inputs.labels, k=2.0).sum(), inputs.weight)[0]

    torch.testing.assert_close(step(without_scores), step(on_scores))


@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias"])
def test_what_is_frozen_gets_no_gradient(frozen: str, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs()
    getattr(inputs, frozen).requires_grad_(False)
    ours = inputs.gradients(without_scores)
    monkeypatch.undo()
    assert_close(ours, inputs.gradients(on_scores))


def test_low_rank_adapter_on_the_head() -> None:
    def step(compute: Callable[..., Tensor]) -> list[Tensor]:
        inputs = Inputs()
        inputs.weight.requires_grad_(False)
        a, b = (
            torch.randn(2, D, dtype=torch.float64).requires_grad_(),
            torch.randn(C, 2, dtype=torch.float64).requires_grad_(),
        )
        return list(
            torch.autograd.grad(compute(inputs.hidden, inputs.weight + b @ a, inputs.bias, inputs.labels).sum(), [a, b])
        )

    torch.manual_seed(0)
    ours = step(without_scores)
    torch.manual_seed(0)
    assert_close(ours, step(on_scores))


def test_second_backward_through_the_same_graph() -> None:
    inputs = Inputs()
    total = without_scores(inputs.hidden, inputs.weight, inputs.bias, inputs.labels, k=2.0).sum()
    once = torch.autograd.grad(total, inputs.leaves, retain_graph=True)
    assert_close(list(torch.autograd.grad(total, inputs.leaves)), list(once))


def test_gradient_checkpointing(no_scores: None) -> None:
    inputs = Inputs()

    def recomputed(*args: Any, **options: Any) -> Tensor:
        values = checkpoint(without_scores, *args, use_reentrant=False, **options)
        assert isinstance(values, Tensor)
        return values

    assert_close(inputs.gradients(recomputed), inputs.gradients(without_scores))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo itself does (2.13)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 2e-2)])
def test_torch_compile(dtype: torch.dtype, tolerance: float) -> None:
    inputs = Inputs(dtype=dtype)
    inputs.labels[2] = -100
    compiled: Any = torch.compile(without_scores, backend="aot_eager", fullgraph=True)
    assert_close(inputs.gradients(compiled, k=2.0), inputs.gradients(on_scores, k=2.0), tolerance)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # dynamo itself does (2.13)
def test_torch_compile_of_no_items() -> None:
    inputs = Inputs(n=0)
    compiled: Any = torch.compile(without_scores, backend="aot_eager", fullgraph=True)
    values, *gradients = inputs.gradients(compiled)
    assert values.shape == (0,) and not any(gradient.any() for gradient in gradients)


def test_no_grad_and_modules() -> None:
    head = nn.Linear(D, C, dtype=torch.float64)
    inputs = Inputs()
    with torch.no_grad():
        values = without_scores(inputs.hidden, head.weight, head.bias, inputs.labels)
        torch.testing.assert_close(values, square_loss(head(inputs.hidden), inputs.labels))
