"""The Gram form of the square loss: value and gradients of the loss on scores, which it does not build."""

from collections.abc import Callable
from typing import Any

import naive_losses as naive
import pytest
import torch
from linear_inputs import CASES, C, D, Inputs, assert_close, on_scores, without_scores
from measuring import peak_bytes
from torch import Tensor

from hf_squareloss import SquareLoss, linear_square_loss
from hf_squareloss.losses import _square, gram_pays
from hf_squareloss.losses._gram import symmetric_product


# ---- exact -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_on_scores(case: str, bias: bool) -> None:
    inputs = Inputs(bias=bias)
    assert_close(inputs.gradients(without_scores, **CASES[case]), inputs.gradients(on_scores, **CASES[case]))


@pytest.mark.parametrize("case", CASES)
def test_the_scores_are_not_built(case: str, no_scores: None) -> None:
    Inputs().gradients(without_scores, **CASES[case])


def test_smoothing_with_weights_takes_the_scores() -> None:
    both = CASES["smoothing"] | CASES["weights"]
    inputs = Inputs()
    assert_close(inputs.gradients(linear_square_loss, **both), inputs.gradients(on_scores, **both))
    with pytest.raises(ValueError, match="needs the scores"):
        inputs.gradients(without_scores, **both)


def test_the_papers_formula() -> None:
    inputs = Inputs(bias=False)
    values = without_scores(inputs.hidden, inputs.weight, None, inputs.labels, k=15.0, M=30.0)
    scores = inputs.hidden @ inputs.weight.T
    expected = naive.values(SquareLoss(k=15.0, M=30.0), scores, inputs.labels)
    torch.testing.assert_close(values, expected)


@pytest.mark.parametrize("case", ["rescaled", "smoothing", "weights"])
def test_gradcheck(case: str, no_scores: None) -> None:
    inputs = Inputs()

    def compute(*leaves: Tensor) -> Tensor:
        return without_scores(*leaves, inputs.labels, **CASES[case])

    assert torch.autograd.gradcheck(compute, tuple(inputs.leaves))


@pytest.mark.parametrize("case", ["rescaled", "smoothing", "weights"])
@pytest.mark.parametrize("bias", [True, False])
def test_second_derivatives(bias: bool, case: str) -> None:
    inputs = Inputs(n=5, c=C, d=3, bias=bias)

    def compute(*leaves: Tensor) -> Tensor:
        return without_scores(*(leaves if bias else (*leaves, None)), inputs.labels, **CASES[case])

    assert torch.autograd.gradgradcheck(compute, tuple(inputs.leaves))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("frozen", [None, "hidden", "weight", "bias"])
def test_gradients_that_can_be_differentiated_again(frozen: str | None, case: str) -> None:
    """They and their derivative along a direction are those on scores."""

    def gradients(compute: Callable[..., Tensor]) -> list[Tensor]:
        inputs = Inputs()
        if frozen:
            getattr(inputs, frozen).requires_grad_(False)
        values = compute(inputs.hidden, inputs.weight, inputs.bias, inputs.labels, **CASES[case])
        first = torch.autograd.grad((values * inputs.upstream).sum(), inputs.leaves, create_graph=True)
        square = torch.stack([gradient.square().sum() for gradient in first]).sum()
        return [*(gradient.detach() for gradient in first), *torch.autograd.grad(square, inputs.leaves)]

    assert_close(gradients(without_scores), gradients(on_scores))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_that_can_be_differentiated_again_under_autocast(dtype: torch.dtype) -> None:
    def gradients(create_graph: bool) -> list[Tensor]:
        inputs = Inputs(dtype=dtype)
        with torch.autocast("cpu", torch.bfloat16):
            values = without_scores(inputs.hidden, inputs.weight, inputs.bias, inputs.labels, k=3.0)
        return list(torch.autograd.grad(values.sum(), inputs.leaves, create_graph=create_graph))

    assert_close(gradients(True), gradients(False), 2e-2)


def test_autocast_leaves_float64_alone(no_scores: None) -> None:
    inputs = Inputs()
    with torch.autocast("cpu", torch.bfloat16):
        ours = inputs.gradients(without_scores, k=3.0)
    assert_close(ours, inputs.gradients(without_scores, k=3.0))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 5e-3)])
def test_smoothing_in_low_precision(
    dtype: torch.dtype, tolerance: float, bias: bool, no_scores: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"k": "auto", "M": "auto", "label_smoothing": 0.1}
    inputs, exact = (Inputs(n=300, c=200, d=32, dtype=t, bias=bias) for t in (dtype, torch.float64))
    for mine, wide in zip(inputs.leaves, exact.leaves, strict=True):
        wide.data = mine.detach().double()
    ours = inputs.gradients(without_scores, **options)
    monkeypatch.undo()
    assert_close(ours, exact.gradients(on_scores, **options), tolerance)


@pytest.mark.parametrize("d", [128, 130, 257])
def test_wide_hidden_states_by_blocks(d: int, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(n=1100, c=1200, d=d)
    ours = inputs.gradients(without_scores, k=3.0, M=2.0)
    monkeypatch.undo()
    assert_close(ours, inputs.gradients(on_scores, k=3.0, M=2.0))


@pytest.mark.parametrize(("n", "d"), [(50, 3), (50, 128), (1100, 128), (1100, 129), (1100, 131), (600, 202)])
def test_symmetric_product(n: int, d: int) -> None:
    """One product below 2**24 multiplications, blocks above."""
    left = torch.randn(n, d, dtype=torch.float64)
    right = left * torch.rand(n, 1, dtype=torch.float64)
    torch.testing.assert_close(symmetric_product(left, right), left.T @ right)


# ---- memory and the choice -------------------------------------------------------------------------------------------
def peak_beyond_gradients(compute: Callable[..., Tensor], inputs: Inputs, **options: Any) -> int:
    """Bytes that forward and backward hold at most, less the gradients that they return."""

    def step() -> None:
        compute(inputs.hidden, inputs.weight, inputs.bias, inputs.labels, **options).mean().backward()

    return peak_bytes(step) - sum(leaf.nbytes for leaf in inputs.leaves)


@pytest.mark.parametrize(
    "options",
    [{}, {"label_smoothing": 0.1}, {"class_weights": (1.0, 2.0) * 2500}],
    ids=["plain", "smoothing", "weights"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_is_that_of_the_gram_matrices(dtype: torch.dtype, options: dict[str, Any]) -> None:
    n, c, d = 1000, 5000, 256
    peak = peak_beyond_gradients(without_scores, Inputs(n, c, d, dtype), **options)
    scores, rows = n * c * dtype.itemsize, 512 if dtype == torch.float32 else 2 * n
    assert peak < dtype.itemsize * (2 * d + rows) * d < scores / 7
    assert peak_beyond_gradients(on_scores, Inputs(n, c, d, dtype), **options) > scores


def test_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the Gram form where it has less to do, by scores where it has more."""
    for dtype in (torch.float32, torch.bfloat16):
        assert gram_pays(4096, 51865, 512, dtype) and gram_pays(512, 1000, 256, dtype)
        assert not gram_pays(16, 50000, 512, dtype) and not gram_pays(4096, 2, 512, dtype)
    assert gram_pays(128, 1000, 128, torch.float32) and not gram_pays(128, 1000, 128, torch.bfloat16)
    few = Inputs(n=2, c=C, d=D)
    assert not gram_pays(2, C, D, torch.float32)
    monkeypatch.setattr(_square, "gram_values", None)  # not called
    assert_close(few.gradients(linear_square_loss), few.gradients(on_scores))
