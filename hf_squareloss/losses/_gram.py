"""sum_i f_i^2 and f_y of linear scores f = W h + b through the Gram matrix of W, without building the scores."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCKS = 4  # of a symmetric product: more save operations, fewer are faster ones
_NARROW = 64
_WORTH_BLOCKS = 2**24  # multiplications below which one product is faster
_ROWS, _COLUMNS = 256, 64  # of H computed with at a time where a copy would be as large as H


def gram_pays(num_items: int, num_classes: int, hidden_size: int, dtype: torch.dtype) -> bool:
    """Whether the Gram form is faster than the (N, C) scores, with products in `dtype`.

    Operations by count: 4 (C + N) d^2, of which symmetry saves some, against 6 N C d. The Gram form's many small steps
    and the traffic of each score cost as much as operations more; bfloat16 makes products cheaper and so these dearer.
    The numbers fit the times of a processor; benchmarks/linear_square_loss.py --parts choice checks them.
    """
    steps, traffic = (1.8e6, 500) if dtype == torch.bfloat16 else (3e5, 50)
    gram = 3.2 * (num_classes + num_items) * hidden_size**2 + steps * hidden_size
    return gram <= num_items * num_classes * (6 * hidden_size + traffic)


def in_float16_on_accelerator(hidden: Tensor) -> bool:
    """Whether scores would be products in float16 on hardware made for it, which float32 cannot keep up with."""
    return hidden.device.type != "cpu" and product_type(hidden) == torch.float16


def product_type(hidden: Tensor) -> torch.dtype:
    """Autocast's type where it is on, else that of `hidden`; autocast leaves float64 alone."""
    device = hidden.device.type
    if hidden.dtype == torch.float64:
        return hidden.dtype
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype


def linear_squares_and_scores_at(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, classes: Tensor
) -> tuple[Tensor, Tensor]:
    """sum_i f_i^2 and f_y of the scores f = W h + b, both (N,), float32 or better.

    With G = W^T W, and for the gradients g / 2 of the first and a of the second, with K = H^T diag(g) H:

        sum_i f_i^2 = h^T G h + 2 h^T W^T b + |b|^2       dL/dh = g (G h + W^T b) + a W_y
        dL/dW = W K + b (H^T g)^T + a h in row y          dL/db = W H^T g + b sum g + a in row y

    Products run in autocast's type where it is on, else in that of `hidden`; in float32 instead of float16, whose range
    a sum over classes leaves. Beside the gradients it holds one d x d matrix in backward and, until then, (N, d); also
    a copy of W where the products' type is another. Gradients with `create_graph=True` build the scores.

    Args:
        hidden: H (N, d).
        weight: W (C, d).
        bias: b (C,) or None.
        classes: y, integers (N,) in [0, C).

    Source: Vincent, de Brebisson & Bouthillier, NeurIPS 2015 (arXiv 1412.7091).
    """
    dtype = product_type(hidden)
    dtype = torch.float32 if dtype == torch.float16 else dtype
    with torch.autocast(hidden.device.type, enabled=False):
        return _LinearSquaresAndScoresAt.apply(hidden, weight, bias, classes, dtype)  # type: ignore[return-value]


class _LinearSquaresAndScoresAt(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, classes: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(dtype, torch.float32)
        h, w, b = hidden.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        products = _products(h, w, b)
        squares, at = products.new_empty(2, len(h), dtype=wide)
        for part in _parts(len(h), _ROWS):
            rows = w.index_select(0, classes[part])
            at[part] = rows.mul_(h[part]).sum(-1, dtype=wide)
            squares[part] = torch.mul(products[part], h[part], out=rows).sum(-1, dtype=wide)
        if b is not None:
            squares = squares + (h @ (b @ w)).to(wide) + b.square().sum(dtype=wide)
            at = at + b.index_select(0, classes)
        ctx.save_for_backward(hidden, weight, bias, classes)
        ctx.dtype, ctx.products = dtype, products if ctx.needs_input_grad[0] else None
        return squares, at

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        # Gradients that will be differentiated again are those of scores: autograd knows their derivatives.
        again = torch.is_grad_enabled() and not torch.compiler.is_compiling()
        with torch.autocast(grad_outputs[0].device.type, enabled=False):
            return (_gradients_by_scores if again else _gradients)(ctx, *grad_outputs)


def _gradients(ctx: Any, grad_squares: Tensor, grad_at: Tensor) -> tuple[Tensor | None, ...]:
    hidden, weight, bias, classes = ctx.saved_tensors
    h, w, b = hidden.to(ctx.dtype), weight.to(ctx.dtype), None if bias is None else bias.to(ctx.dtype)
    g, a = (2.0 * grad_squares).to(ctx.dtype), grad_at.to(ctx.dtype)
    grads: list[Tensor | None] = [None] * 5
    if ctx.needs_input_grad[0]:
        products, ctx.products = ctx.products, None  # becomes the gradient; a second backward computes it anew
        products = _products(h, w, b) if products is None else products
        for part in _parts(len(h), _ROWS):
            scaled = products[part].mul_(g[part].unsqueeze(-1))
            scaled.addcmul_(w.index_select(0, classes[part]), a[part].unsqueeze(-1))
        grads[0] = products.to(hidden.dtype)
    if ctx.needs_input_grad[1]:
        grads[1] = _weight_gradient(h, w, b, classes, g, a, weight.dtype)
    if bias is not None and b is not None and ctx.needs_input_grad[2]:
        grad = (w @ (g @ h) + b * g.sum()).to(torch.promote_types(b.dtype, torch.float32))
        grads[2] = grad.index_add_(0, classes, grad_at).to(bias.dtype)
    return tuple(grads)


def _gradients_by_scores(ctx: Any, grad_squares: Tensor, grad_at: Tensor) -> tuple[Tensor | None, ...]:
    hidden, weight, bias, classes = ctx.saved_tensors
    h, w = hidden.to(ctx.dtype), weight.to(ctx.dtype)
    scores = F.linear(h, w, None if bias is None else bias.to(ctx.dtype))
    of_scores = 2.0 * grad_squares.unsqueeze(-1) * scores
    of_scores = of_scores.scatter_add(-1, classes.unsqueeze(-1), grad_at.unsqueeze(-1).to(of_scores.dtype))
    narrow, grads = of_scores.to(ctx.dtype), list[Tensor | None]([None] * 5)
    if ctx.needs_input_grad[0]:
        grads[0] = (narrow @ w).to(hidden.dtype)
    if ctx.needs_input_grad[1]:
        grads[1] = (narrow.T @ h).to(weight.dtype)
    if bias is not None and ctx.needs_input_grad[2]:
        grads[2] = of_scores.sum(0).to(bias.dtype)
    return tuple(grads)


def _products(h: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """The rows G h + W^T b, half the gradient of the squares."""
    products = h @ symmetric_product(w, w)
    return products if b is None else products.add_(b @ w)


def _weight_gradient(
    h: Tensor, w: Tensor, b: Tensor | None, classes: Tensor, g: Tensor, a: Tensor, dtype: torch.dtype
) -> Tensor:
    grad = w @ symmetric_product(h, h * g.unsqueeze(-1))
    if b is not None:
        grad.addr_(b, g @ h)
    if dtype.itemsize == 2 and len(w) > len(h):
        grad = grad.to(dtype)
        _add_rows_of_16_bits(grad, classes, h, a)
        return grad
    grad = grad.to(torch.promote_types(dtype, torch.float32))
    for part in _parts(len(h), _ROWS):
        grad.index_add_(0, classes[part], (h[part] * a[part].unsqueeze(-1)).to(grad.dtype))
    return grad.to(dtype)


def _add_rows_of_16_bits(grad: Tensor, classes: Tensor, h: Tensor, a: Tensor) -> None:
    """Adds a h in the rows y of `grad`, summed in float32: a 16-bit sum would lose most of a frequent class's."""
    numbers = torch.arange(len(classes), device=classes.device)
    place = classes.new_zeros(len(grad)).scatter_(0, classes, numbers)[classes]  # one item of each class, for all of it
    for part in _parts(h.shape[-1], _COLUMNS):
        sums = torch.zeros_like(h[:, part], dtype=torch.float32)
        sums.index_add_(0, place, h[:, part].float() * a.unsqueeze(-1))
        grad[classes, part] = (sums.index_select(0, place) + grad[classes, part]).to(grad.dtype)


def _parts(size: int, step: int) -> list[slice]:
    step = size if torch.compiler.is_compiling() else step
    return [slice(start, start + step) for start in range(0, size, step or 1)]


def symmetric_product(left: Tensor, right: Tensor) -> Tensor:
    """left^T right, (N, d) each, where that is known to be symmetric: about 5/8 of the operations of the product."""
    d = left.shape[-1]
    if d < _NARROW:  # a product so narrow is summed row after row: 250,000 of them would lose two digits
        parts = [x.T @ y for x, y in zip(left.split(4096), right.split(4096), strict=True)]
        return torch.stack(parts).sum(0)
    if left.device.type != "cpu" or len(left) * d * d < _WORTH_BLOCKS:
        return left.T @ right
    product = left.new_empty(d, d)
    step = -(-d // _BLOCKS)
    for start in range(0, d, step):
        stop = min(start + step, d)
        torch.mm(left[:, start:stop].T, right[:, :stop], out=product[start:stop, :stop])
    for start in range(step, d, step):
        product[:start, start : start + step] = product[start : start + step, :start].T
    return product
