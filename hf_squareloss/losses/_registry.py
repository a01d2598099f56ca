"""Losses by name, for command lines and config.json."""

import difflib
from dataclasses import fields
from typing import Any

from hf_squareloss.losses._base import Loss
from hf_squareloss.losses._cross_entropy import CrossEntropy
from hf_squareloss.losses._square import SquareLoss
from hf_squareloss.losses._squentropy import Squentropy

LOSSES: dict[str, type[Loss]] = {
    "cross_entropy": CrossEntropy,
    "square": SquareLoss,
    "squentropy": Squentropy,
}


def make_loss(name: str, **parameters: Any) -> Loss:
    """The loss called `name` with `parameters`, or a ValueError that names the nearest valid name or parameter.

    Example:
        >>> make_loss("square", k=1.0, M=2.0).M
        2.0
    """
    if name not in LOSSES:
        raise ValueError(f"no loss is called {name!r}{_nearest(name, LOSSES)}; there are {', '.join(LOSSES)}")
    valid = [field.name for field in fields(LOSSES[name])]
    for parameter in parameters:
        if parameter not in valid:
            raise ValueError(f"the loss {name!r} has no parameter {parameter!r}{_nearest(parameter, valid)}")
    values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in parameters.items()}
    return LOSSES[name](**values)


def _nearest(word: str, valid: Any) -> str:
    near = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.4)
    return f" (did you mean {near[0]!r}?)" if near else ""
