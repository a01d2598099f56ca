"""Checkpoints of a loop with Accelerate: written to their end, or not taken."""

from __future__ import annotations

import json
from pathlib import Path

from accelerate import Accelerator

from hf_squareloss.recipes.run_files import write_text

_FILES = "_files.json"  # name -> size of all the others, written last


def save_checkpoint(accelerator: Accelerator, folder: str | Path, step: int) -> None:
    """Save what was prepared or registered into checkpoint-<step>, in all processes; then the list of its files."""
    path = Path(folder, f"checkpoint-{step}")
    if accelerator.is_main_process:
        (path / _FILES).unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(path))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        write_text(path / _FILES, json.dumps(_sizes(path)))


def choose_checkpoint(folder: str | Path, given: str | None = None) -> tuple[str | None, str]:
    """The newest checkpoint in `folder` that was written to its end, or None; and a line about each passed over.

    Args:
        given: a checkpoint that must be whole, in place of the newest.

    Raises:
        ValueError: `given` is no checkpoint of such a loop, or was not written to its end.
    """
    if given is not None:
        fault = _fault(Path(given))
        if fault:
            raise ValueError(f"no run can go on from {given}: {fault}")
        return given, ""
    said = []
    for path in sorted((p for p in Path(folder).glob("checkpoint-*") if _step(p) >= 0), key=_step, reverse=True):
        fault = _fault(path)
        if not fault:
            return str(path), "\n".join(said)
        said.append(f"{path} is passed over: {fault}")
    return None, "\n".join(said)


def steps_done(checkpoint: str | None) -> int:
    """The optimizer steps before a checkpoint; none without one."""
    return 0 if checkpoint is None else _step(Path(checkpoint))


def _fault(path: Path) -> str:
    """Why no run can go on from there; empty where one can."""
    if _step(path) < 0:
        return "it is not called checkpoint-<step>"
    try:
        sizes = json.loads((path / _FILES).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return "it was not written to its end"
    there = _sizes(path)
    torn = [name for name, size in sizes.items() if there.get(name) != size]
    return f"{torn[0]} is missing or was cut off" if torn else ""


def _sizes(path: Path) -> dict[str, int]:
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(_FILES)]
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in files}


def _step(path: Path) -> int:
    step = path.name.removeprefix("checkpoint-")
    return int(step) if step.isdigit() else -1
