"""Names and values from a JSON or YAML file: options of a script, or a study."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, ClassVar

import yaml


class _Yaml12(yaml.SafeLoader):
    """YAML 1.2, as people write it: `no` is a text, 2e-5 a number. PyYAML reads 1.1, and takes the last of two keys."""

    yaml_implicit_resolvers: ClassVar[Any] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Yaml12.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def read_options(path: Path) -> dict[str, Any]:
    """Names and values from a JSON or YAML file.

    Raises:
        ValueError: it cannot be parsed, holds something else, or a name twice in YAML.
    """
    text = path.read_text(encoding="utf8")
    try:
        values = json.loads(text) if path.suffix == ".json" else yaml.load(text, _Yaml12)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise ValueError("it must hold option names with their values")
    return values
