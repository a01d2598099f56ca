"""Checkpoints in an output directory: which one is whole, and whose loss it holds."""

from __future__ import annotations

import json
from pathlib import Path

from transformers.trainer_callback import TrainerState

from hf_squareloss.losses import Loss
from hf_squareloss.saved_loss import KEY


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
        config = Path(folder or output_dir) / "config.json"
        if not config.is_file() or KEY not in json.loads(config.read_text()):
            continue
        there = json.loads(config.read_text())[KEY]
        if {**there, "version": None} != {**loss.to_dict(), "version": None}:
            raise ValueError(
                f"{config.parent} already holds a run with another loss: {there} there, {loss.to_dict()} now. "
                "Choose another output_dir or remove that one."
            )


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
