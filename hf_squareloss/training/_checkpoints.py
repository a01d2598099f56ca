"""Checkpoints in an output directory: which one can be read to its end, and whose loss it holds."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.trainer_callback import TrainerState
from transformers.utils import logging

from hf_squareloss.config import KEY
from hf_squareloss.losses import Loss

logger = logging.get_logger(__name__)

_ARCHIVES = ("*.pt", "*.pth", "pytorch_model*.bin", "adapter_model*.bin", "optimizer*.bin")  # torch.save's zip files
_WEIGHTS = ("model*.safetensors", "pytorch_model*", "*adapter_model.*", "*/adapter_model.*", "global_step*")
_OPTIMIZERS = ("optimizer*", "global_step*")  # a folder with FSDP or DeepSpeed
_BESIDE = ("version", "calibration")  # what config.json says beside the loss
_UNFINISHED = "checkpoint-is-incomplete.txt"  # transformers' own mark, with enable_jit_checkpoint


def last_complete_checkpoint(output_dir: str | Path, world_size: int = 1) -> str | None:
    """The newest checkpoint whose weights, optimizer, scheduler and random state can be read, or None.

    Names each newer one that is passed over in a warning of the log, with the reason.

    Args:
        world_size: the processes of the run, each of which writes its random state.
    """
    for path in _newest_first(output_dir):
        fault = _fault(path, world_size)
        if fault is None:
            return str(path)
        logger.warning_once(f"{path} is passed over: {fault}")
    return None


def require_resumable(checkpoint: str | Path) -> None:
    """ValueError for a checkpoint of weights alone: training would go on with a new optimizer, at a new rate.

    The last checkpoint of a finished run will do: nothing is left to train.
    """
    lacks, state = missing_parts(checkpoint), _state(Path(checkpoint))
    if lacks and (state is None or state.global_step < state.max_steps):
        raise ValueError(
            f"{checkpoint} lacks {' and '.join(lacks)} (--save_only_model leaves them out), so no run can go on from "
            "it as it was. Remove the output folder to train anew, or start another run from these weights: "
            f"--model_name_or_path {checkpoint} with another --output_dir"
        )


def newest_weights(output_dir: str | Path) -> str | None:
    """The newest checkpoint with a state and weights, whatever else it lacks."""
    paths = (path for path in _newest_first(output_dir) if _state(path) and "weights" not in missing_parts(path))
    return next(map(str, paths), None)


def missing_parts(checkpoint: str | Path) -> list[str]:
    """Which of weights, optimizer and scheduler a checkpoint has no file of."""
    path = Path(checkpoint)

    def there(patterns: tuple[str, ...]) -> bool:
        return any(True for pattern in patterns for _ in path.glob(pattern))

    deepspeed = there(("global_step*",))  # its scheduler may be in there
    return [
        *([] if there(_WEIGHTS) else ["weights"]),
        *([] if there(_OPTIMIZERS) else ["the optimizer's state"]),
        *([] if deepspeed or (path / "scheduler.pt").is_file() else ["the scheduler's state"]),
    ]


def refuse_other_loss(output_dir: str | Path, loss: Loss, *, resumed_from: str | Path | None = None) -> None:
    """ValueError when the model in `output_dir`, in its checkpoints or in `resumed_from` has another loss."""
    for folder in (resumed_from, *_newest_first(output_dir)[:1], output_dir):
        config = {} if folder is None else _read(Path(folder) / "config.json") or _adapter_entry(Path(folder))
        there = config.get(KEY)
        if not there:
            if config and folder == resumed_from:
                raise ValueError(
                    f"{folder} does not say with which loss it was trained: no run with one can go on there"
                )
            continue
        saved, now = ({k: v for k, v in d.items() if k not in _BESIDE} for d in (there, loss.to_dict()))
        if saved != now:
            raise ValueError(
                f"{folder} already holds a run with another loss: {saved} there, {now} now. "
                "Choose another output_dir or remove that one."
            )


def _adapter_entry(folder: Path) -> dict[str, Any]:
    """What an adapter's config says, as a model's config.json would (`hf_squareloss.config.write_adapter`)."""
    values = _read(folder / "adapter_config.json")
    return values | ((values.get("auto_mapping") or {}).get(KEY) or {})


def _fault(path: Path, world_size: int) -> str | None:
    """Why no run can go on from this checkpoint; None where one can."""
    if (path / _UNFINISHED).exists():
        return "it was not written to its end"
    if _state(path) is None:
        return "its trainer_state.json, which is written last, is missing or cannot be read"
    missing = [*missing_parts(path), *_missing_random_states(path, world_size)]
    if missing:
        return f"it lacks {', '.join(missing)}"
    return next(_unreadable(path), None)


def _missing_random_states(path: Path, world_size: int) -> list[str]:
    """A run with another number of processes may go on from it: then there is no telling how many there should be."""
    if (path / "rng_state.pth").is_file():
        return []
    ranks = range(world_size) if world_size > 1 else range(1)
    return [f"the random state of process {n}" for n in ranks if not (path / f"rng_state_{n}.pth").is_file()]


def _unreadable(path: Path) -> Iterator[str]:
    """A message for each file that was cut off or spoilt. Archives are read through, weights' headers alone."""
    for file in sorted({*path.glob("*.safetensors"), *path.glob("*/adapter_model.safetensors")}):
        try:
            with safe_open(file, "pt") as weights:  # checks the header against the file's size
                weights.keys()
        except (OSError, SafetensorError) as error:
            yield f"its {file.name} cannot be read ({error})"
    for file in sorted({file for pattern in _ARCHIVES for file in path.glob(pattern) if file.is_file()}):
        try:
            with zipfile.ZipFile(file) as archive:
                spoilt = archive.testzip()
        except (OSError, ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
            yield f"its {file.name} cannot be read ({error})"
        else:
            if spoilt is not None:
                yield f"its {file.name} cannot be read (wrong checksum)"
    for file in sorted(path.glob("*.index.json")):
        shards = _read(file).get("weight_map", {})
        lost = sorted({shard for shard in shards.values() if not (path / shard).is_file()})
        if lost or not shards:
            yield f"its {file.name} cannot be read" if not shards else f"it lacks {', '.join(lost)}"
    for name in ("config.json", "adapter_config.json"):
        if (path / name).exists() and not _read(path / name):
            yield f"its {name} cannot be read"


def _state(path: Path) -> TrainerState | None:
    try:
        state = TrainerState.load_from_json(str(path / "trainer_state.json"))
    except (OSError, ValueError, TypeError):
        return None
    return state if state.global_step == _step(path) else None


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where it is missing, was cut off or is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _newest_first(output_dir: str | Path) -> list[Path]:
    return sorted((p for p in Path(output_dir).glob("checkpoint-*") if _step(p) >= 0), key=_step, reverse=True)


def _step(path: Path) -> int:
    suffix = path.name.removeprefix("checkpoint-")
    return int(suffix) if suffix.isdigit() else -1
