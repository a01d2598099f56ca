"""A linear head and what goes into it, and its square loss by scores and without: what the tests of both compare."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hf_squareloss import SquareLoss, linear_square_loss

N, C, D = 12, 15, 4
without_scores: Callable[..., Tensor] = functools.partial(
    linear_square_loss, form="gram"
)  # also for sizes that are faster with them
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


def assert_close(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-12) -> None:
    for mine, reference in zip(ours, theirs, strict=True):
        assert mine.shape == reference.shape
        assert ((mine.double() - reference.double()).norm() / reference.double().norm()).item() < tolerance


def reference(inputs: Inputs, **options: Any) -> list[Tensor]:
    """The same numbers through scores in float64."""
    exact = Inputs.__new__(Inputs)
    exact.hidden, exact.weight = (x.detach().double().requires_grad_() for x in (inputs.hidden, inputs.weight))
    exact.bias = None if inputs.bias is None else inputs.bias.detach().double().requires_grad_()
    exact.labels, exact.upstream = inputs.labels, inputs.upstream
    return exact.gradients(on_scores, **({"k": 15.0, "M": 30.0} | options))
