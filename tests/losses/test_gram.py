"""`linear_square_loss`: value and gradients of the square loss on scores, which it does not build."""

import functools
from collections.abc import Callable
from typing import Any

import naive_losses as naive
import pytest
import torch
import torch.nn.functional as F
from measuring import peak_bytes
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hf_squareloss import CrossEntropy, SquareLoss, linear_square_loss, square_loss
from hf_squareloss.losses import _square, gram_pays
from hf_squareloss.losses._gram import symmetric_product

N, C, D = 12, 15, 4
without_scores = functools.partial(linear_square_loss, form="gram")  # also for sizes that are faster with them
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rescaled": {"k": 3.0, "M": 2.0},
    "auto": {"k": "auto", "M": "auto"},
    "weights": {"k": 2.0, "class_weights": tuple(0.5 + c for c in range(C))},
    "smoothing": {"k": 3.0, "M": 2.0, "label_smoothing": 0.2},
}


class Inputs:
    """A head and what goes into it, with a different upstream gradient for each item."""

    def __init__(
        self, n: int = N, c: int = C, d: int = D, dtype: torch.dtype = torch.float64, bias: bool = True
    ) -> None:
        random = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, dtype=torch.float64, generator=random).to(dtype)

        self.hidden, self.weight = draw(n, d).requires_grad_(), (draw(c, d) / d**0.5).requires_grad_()
        self.bias = draw(c).requires_grad_() if bias else None
        self.labels = torch.randint(0, c, (n,), generator=random)
        self.upstream = draw(n).double()

    @property
    def leaves(self) -> list[Tensor]:
        return [x for x in (self.hidden, self.weight, self.bias) if x is not None and x.requires_grad]

    def gradients(self, compute: Callable[..., Tensor], **options: Any) -> list[Tensor]:
        """The values, then the gradients of all that has one."""
        values = compute(self.hidden, self.weight, self.bias, self.labels, **options)
        return [values.detach(), *torch.autograd.grad((values.double() * self.upstream).sum(), self.leaves)]


def on_scores(hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, **options: Any) -> Tensor:
    return SquareLoss(**{"k": 1.0, "M": 1.0, **options})(F.linear(hidden, weight, bias), labels)


@pytest.fixture
def no_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building the scores fails."""

    def refuse(*args: Any) -> None:
        raise AssertionError("the scores were built")

    monkeypatch.setattr("hf_squareloss.losses._base.F.linear", refuse)


def assert_close(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-12) -> None:
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.shape == reference.shape
        assert ((mine.double() - reference.double()).norm() / reference.double().norm()).item() < tolerance


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
        square = sum(gradient.square().sum() for gradient in first)
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


# ---- low precision and bad scales ------------------------------------------------------------------------------------
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("outlier", [1.0, 1e3])
def test_float32(scale: float, outlier: float, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with one hidden dimension far above the others, as language models have."""
    inputs = Inputs(n=300, c=2000, d=64, dtype=torch.float32)
    with torch.no_grad():
        inputs.hidden.mul_(scale)[:, 0].mul_(outlier)
    ours = inputs.gradients(without_scores, k=15.0, M=30.0)
    monkeypatch.undo()
    assert_close(ours, reference(inputs), 1e-5)


@pytest.mark.parametrize(("d", "dtype"), [(16, torch.float32), (64, torch.float32), (64, torch.bfloat16)])
def test_a_vocabulary_of_250_000(d: int, dtype: torch.dtype, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the narrow product and by blocks."""
    inputs = Inputs(n=64, c=250_000, d=d, dtype=dtype)
    ours = inputs.gradients(without_scores, k="auto", M="auto")
    monkeypatch.undo()
    assert_close(ours, reference(inputs, k="auto", M="auto"), 1e-5 if dtype == torch.float32 else 1e-2)


def test_bfloat16_with_an_outlier(no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(n=300, c=2000, d=64, dtype=torch.bfloat16)
    with torch.no_grad():
        inputs.hidden[:, 0].mul_(1e3)
    ours = inputs.gradients(without_scores, k=15.0, M=30.0)
    monkeypatch.undo()
    assert_close(ours, reference(inputs), 1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
def test_autocast(dtype: torch.dtype, scale: float, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(n=300, c=2000, d=64, dtype=torch.float32)
    with torch.no_grad():
        inputs.hidden.mul_(scale)
    with torch.autocast("cpu", dtype=dtype):
        ours = inputs.gradients(without_scores, k=15.0, M=30.0)
    assert ours[0].dtype == torch.float32 and all(gradient.dtype == torch.float32 for gradient in ours[1:])
    monkeypatch.undo()
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5  # float16 is replaced by float32, in backward too
    assert_close(ours, reference(inputs), tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("c", [300, 3000])
def test_models_in_16_bits(c: int, dtype: torch.dtype, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class on half of the items: hundreds of small rows in one sum, whether there are fewer classes or more."""
    inputs = Inputs(n=2000, c=c, d=130, dtype=dtype)
    inputs.labels[::2] = 7
    ours = inputs.gradients(without_scores, k=15.0, M=30.0)
    assert all(gradient.dtype == dtype for gradient in ours[1:])
    monkeypatch.undo()
    assert_close(ours, reference(inputs), 1e-2)


def reference(inputs: Inputs, **options: Any) -> list[Tensor]:
    """The same numbers through scores in float64."""
    exact = Inputs.__new__(Inputs)
    exact.hidden, exact.weight = (x.detach().double().requires_grad_() for x in (inputs.hidden, inputs.weight))
    exact.bias = None if inputs.bias is None else inputs.bias.detach().double().requires_grad_()
    exact.labels, exact.upstream = inputs.labels, inputs.upstream
    return exact.gradients(on_scores, **({"k": 15.0, "M": 30.0} | options))


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
