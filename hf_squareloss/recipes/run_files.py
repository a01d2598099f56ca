"""The JSON files of a run's folder: their names, and reading and writing them so that a kill does no harm."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUN = "_run.json"  # what the run is; an underscore: the Trainer pushes no such file
EPOCHS = "epochs.json"  # what validation and test measured at every evaluation


def read_object(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file; empty where it is missing, was cut off or is something else."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_object(path: str | Path, content: Mapping[str, Any], *, allow_nan: bool = True) -> Path:
    """Write a JSON file, whole or not at all.

    Args:
        allow_nan: NaN and infinities as Python writes them; otherwise they are refused (ValueError), as JSON has none.
    """
    return write_text(path, json.dumps(content, indent=1, allow_nan=allow_nan) + "\n")


def write_text(path: str | Path, text: str) -> Path:
    """Write a file so that another process sees the old one or the whole new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    unfinished.write_text(text, encoding="utf8", newline="\n")  # the same content on every machine
    unfinished.replace(path)
    return path
