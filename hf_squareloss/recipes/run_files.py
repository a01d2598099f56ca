"""The JSON files of a run's folder: their names, and reading and writing them so that a kill does no harm."""

from __future__ import annotations

import json
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


def write_object(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one go: there is the old one, or the whole new one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf8")
    unfinished.replace(path)
