"""Checkpoints in an output directory: which one is whole, and whose loss it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerState

from hf_squareloss.config import KEY
from hf_squareloss.losses import Loss

_RUN = "run_settings.json"


def last_complete_checkpoint(output_dir: str | Path, world_size: int = 1) -> str | None:
    """The newest checkpoint that was written to its end, or None.

    The Trainer writes trainer_state.json last; with several processes each also writes its random state, which a kill
    can cut off after that.
    """
    found = sorted(Path(output_dir).glob("checkpoint-*"), key=_step, reverse=True)
    return next((str(path) for path in found if _is_complete(path, world_size)), None)


def refuse_other_loss(output_dir: str | Path, loss: Loss) -> None:
    """ValueError when `output_dir`, or its last whole checkpoint, holds a model trained with another loss."""
    for folder in (last_complete_checkpoint(output_dir), output_dir):
        folder = Path(folder or output_dir)
        adapter = (_read(folder / "adapter_config.json").get("auto_mapping") or {}).get(KEY) or {}
        there = adapter.get(KEY) or _read(folder / "config.json").get(KEY)
        if there is None:
            continue
        if {**there, "version": None} != {**loss.to_dict(), "version": None}:
            raise ValueError(
                f"{folder} already holds a run with another loss: {there} there, {loss.to_dict()} now. "
                "Choose another output_dir or remove that one."
            )


def refuse_other_run(output_dir: str | Path, settings: Mapping[str, Any]) -> None:
    """ValueError when the run in `output_dir` had other settings: resuming it would give neither run."""
    there = _read(Path(output_dir) / _RUN)
    if last_complete_checkpoint(output_dir) is None and not (Path(output_dir) / "config.json").exists():
        return
    for name, value in settings.items():
        if name in there and there[name] != value:
            raise ValueError(
                f"{output_dir} already holds a run with {name}={there[name]!r}, now {value!r}. "
                "Choose another output_dir or remove that one."
            )


def record_run(output_dir: str | Path, settings: Mapping[str, Any]) -> None:
    """Write what `refuse_other_run` compares."""
    path = Path(output_dir) / _RUN
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf8")
    unfinished.replace(path)


def _read(path: Path) -> dict[str, Any]:
    """The content of a JSON file; empty where it is missing or was cut off by a kill."""
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}


def _step(path: Path) -> int:
    suffix = path.name.removeprefix("checkpoint-")
    return int(suffix) if suffix.isdigit() else -1


def _is_complete(path: Path, world_size: int) -> bool:
    try:
        TrainerState.load_from_json(str(path / "trainer_state.json"))
    except (OSError, ValueError, TypeError):
        return False
    if world_size == 1:
        return True
    return all((path / f"rng_state_{rank}.pth").is_file() for rank in range(world_size))
