"""The square loss of a linear head from hidden states: what the Gram form computes, and when it is taken."""

from torch import Tensor

from hf_squareloss.losses._base import at_least_float32
from hf_squareloss.losses._gram import linear_squares_and_scores_at


def check_linear(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[int, int]:
    """C and d, or a ValueError for shapes that do not make scores."""
    if weight.dim() != 2 or hidden.dim() < 1 or hidden.shape[-1] != weight.shape[-1]:
        raise ValueError(f"hidden (..., d) and weight (C, d) do not fit: {tuple(hidden.shape)}, {tuple(weight.shape)}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape {tuple(weight.shape[:1])}, got {tuple(bias.shape)}")
    return weight.shape[0], weight.shape[1]


def gram_values(
    items: Tensor, weight: Tensor, bias: Tensor | None, classes: Tensor, *, k: float, M: float, smoothing: float
) -> Tensor:
    """The smoothed square loss (N,) of the scores W h + b, which are not built.

    Args:
        items: H (N, d).
        weight: W (C, d).
        bias: b (C,) or None.
        classes: integers (N,) in [0, C).
    """
    num_classes = len(weight)
    shift, factor, k, M, least = _without_smoothing(num_classes, k, M, smoothing)
    if shift:
        bias = -shift + (weight.new_zeros(num_classes) if bias is None else at_least_float32(bias))
    squares, at = linear_squares_and_scores_at(items, weight, bias, classes)
    return factor * (_of_wrong_classes(squares, at) + k * (at - M).square()) + least


def _of_wrong_classes(squares: Tensor, at: Tensor) -> Tensor:
    """sum_{i != y} f_i^2; a difference of two roundings can fall below zero, its gradient is the difference's."""
    wrong = squares - at.square()
    return wrong + (wrong.clamp_min(0.0) - wrong).detach()


def _without_smoothing(
    num_classes: int, k: float, M: float, smoothing: float
) -> tuple[float, float, float, float, float]:
    """Shift s, factor a, k', M' and least value r of the smoothed loss as a plain one on shifted scores.

    (1 - eps) costs(f)_y + eps / C sum_c costs(f)_c = a [sum_{i != y} (f_i - s)^2 + k' (f_y - s - M')^2] + r

    Both sides are quadratic in f, with one coefficient for all classes but y; comparing them gives the five.
    """
    if not smoothing:
        return 0.0, 1.0 / num_classes, k, M, 0.0
    factor = (1.0 - smoothing) / num_classes + smoothing * (num_classes + k - 1.0) / num_classes**2
    linear = smoothing * k * M / num_classes**2  # -1/2 of the coefficient of f_i
    shift = linear / factor
    at_square = factor + (1.0 - smoothing) * (k - 1.0) / num_classes
    at_linear = linear + (1.0 - smoothing) * k * M / num_classes
    least = k * M * M / num_classes - (num_classes - 1.0) * factor * shift**2 - at_linear**2 / at_square
    return shift, factor, at_square / factor, at_linear / at_square - shift, least
