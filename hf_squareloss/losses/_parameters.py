"""Checks of a loss's own parameters: the one place that says what a number is."""

import math
from collections.abc import Callable
from typing import Any


def require_number(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """A parameter as a float, or a ValueError with its name; a bool is no number, and neither is a text.

    Example:
        >>> require_number("gamma", 2, "a number of at least 0", lambda gamma: gamma >= 0)
        2.0
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not fits(value):
        raise ValueError(f"{name} must be {expected}, got {value!r}")
    return float(value)


def require_integer(name: str, value: Any) -> int:
    """A parameter as an int, or a ValueError with its name."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be an integer, got {value!r}")
    return int(value)


def require_flag(name: str, value: Any) -> bool:
    """A parameter that is True or False, or a ValueError with its name."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value


def require_weights(name: str, values: Any) -> tuple[float, ...]:
    """Positive finite weights, one per class, or a ValueError with the parameter's name."""
    try:
        items = list(values)
        weights = [] if isinstance(values, str) else [float(item) for item in items if not isinstance(item, bool | str)]
    except (TypeError, ValueError, RuntimeError):  # what floats and tensors raise for what is no number
        items = weights = []
    if not weights or len(weights) < len(items) or not all(math.isfinite(w) and w > 0 for w in weights):
        raise ValueError(f"{name} must be positive finite numbers, one per class, got {values!r}")
    return tuple(weights)
