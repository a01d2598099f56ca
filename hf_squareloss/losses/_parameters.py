"""Checks of a loss's own parameters: the one place that says what a number is, and how large one may be."""

import reprlib
from collections.abc import Callable, Mapping, Set
from typing import Any

# A weight, k, M or temperature beyond these gives costs like k M^2, or their gradients, that float32 does not hold, or
# quotients that it rounds to 0 / 0: products of four of them stay between 1e-32 and 1e32.
LEAST, LARGEST = 1e-8, 1e8
_POSITIVE = "a positive number from 1e-8 to 1e8"


def require_number(name: str, value: Any, expected: str, fits: Callable[[float], bool]) -> float:
    """A parameter as a float, or a ValueError with its name; a bool is no number, and neither is a text.

    Example:
        >>> require_number("gamma", 2, "a number of at least 0", lambda gamma: gamma >= 0)
        2.0
    """
    try:
        if not isinstance(value, bool) and isinstance(value, int | float) and fits(value):
            return float(value)
    except OverflowError:  # an integer that no float holds
        pass
    raise ValueError(f"{name} must be {expected}, got {short(value)}")


def require_positive(name: str, value: Any, *words: str) -> Any:
    """One of the `words`, or a number in [1e-8, 1e8] as a float; or a ValueError with the parameter's name.

    Example:
        >>> require_positive("k", "auto", "auto", "paper"), require_positive("k", 2, "auto", "paper")
        ('auto', 2.0)
    """
    if (isinstance(value, str) and value in words) or (type(value) is float and LEAST <= value <= LARGEST):
        return value  # without the words of the refusal: losses on the way ask at each step
    choices = [_POSITIVE, *(f'"{word}"' for word in words)]
    expected = " or ".join([", ".join(choices[:-1]), choices[-1]] if words else choices)
    return require_number(name, value, expected, lambda number: LEAST <= number <= LARGEST)


def require_integer(name: str, value: Any) -> int:
    """A parameter as an int that a tensor can hold, or a ValueError with its name."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError(f"{name} must be an integer of 64 bits, got {short(value)}")
    return int(value)


def require_flag(name: str, value: Any) -> bool:
    """A parameter that is True or False, or a ValueError with its name."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {short(value)}")
    return value


def require_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """A parameter that is one of these words, or a ValueError with its name."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {short(value)}")
    return value


def require_weights(name: str, values: Any) -> tuple[float, ...]:
    """Weights in [1e-8, 1e8], one per class in order, or a ValueError with the parameter's name."""
    weights: tuple[float, ...] = ()
    try:
        if not isinstance(values, str | bytes | Mapping | Set):  # no numbers, or in no order
            items = list(values)
            if not any(issubclass(kind, bool | str) for kind in set(map(type, items))):
                weights = tuple(map(float, items))
    except (TypeError, ValueError, RuntimeError, OverflowError):  # what floats and tensors raise for what is no number
        pass
    if not weights or not all(map(LARGEST.__ge__, weights)) or not all(map(LEAST.__le__, weights)):
        raise ValueError(f"{name} must be numbers from 1e-8 to 1e8, one per class, got {short(values)}")
    return weights


def spell(values: Mapping[str, Any]) -> list[str]:
    """`k = 2.0` for each parameter of `Loss.to_dict`; of many class weights how many there are, and their range."""
    words = []
    for name, value in values.items():
        if isinstance(value, list) and len(value) > 4:
            value = f"{len(value)} numbers from {min(value):.4g} to {max(value):.4g}"
        words += [] if name in ("loss", "module") else [f"{name} = {value}"]
    return words


def short(value: Any) -> str:
    """A value in an error message: not a million numbers, and not an integer too long to be written."""
    try:
        text = reprlib.repr(value)
    except ValueError:  # of more than 4300 digits
        return f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= 100 else f"{text[:97]}..."
