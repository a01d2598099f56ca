"""Changes of a model's configuration from the command line, for models from scratch."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any


def override_config(config: Any, words: Iterable[str]) -> None:
    """Write new values into a config.

    Args:
        words: NAME=VALUE, or several with commas between, as transformers' own examples have it. A value is JSON
            (12, 0.1, true, [16,32]) or, where it is none, text.

    Raises:
        ValueError: no such entry, no value, or one of another type than the config has.

    Example: `override_config(ResNetConfig(), ["depths=[2,2],hidden_sizes=[16,32]", "layer_type=basic"])`
    """
    for name, value in read_overrides(config, words).items():
        setattr(config, name, value)


def read_overrides(config: Any, words: Iterable[str]) -> dict[str, Any]:
    """Name -> new value, as `override_config` reads them; the config stays as it is."""
    there, values = config.to_dict(), {}
    for part in (part for word in words for part in re.split(r",(?![^\[]*\])", word)):
        name, equals, text = part.partition("=")
        if not equals:
            raise ValueError(f"config_overrides: expected NAME=VALUE, got {part!r}")
        if name not in there:
            raise ValueError(f"config_overrides: the config of a {config.model_type} has no entry {name!r}")
        value = _value(text)
        if not _is_like(value, there[name]):
            raise ValueError(f"config_overrides: {name} is {there[name]!r} in a {config.model_type}, got {value!r}")
        values[name] = value
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_like(value: Any, old: Any) -> bool:
    """A number for a number (a fraction only for a fraction), and else the same type; anything for None."""
    if old is None:
        return True
    if isinstance(old, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    kinds = (list, tuple) if isinstance(old, list | tuple) else type(old)
    return isinstance(value, kinds) and isinstance(value, bool) == isinstance(old, bool)
