"""One run of a script in this process: its output into a log, and what it left in its folder."""

from __future__ import annotations

import gc
import os
import re
import runpy
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hf_squareloss.recipes.run_files import EPOCHS, RUN, read_object

_LAST_LINES = 12
_ERROR = re.compile(r"[\w.]*(Error|Exception|Interrupt)\b|\S+: error: ")
# Of a metric's name, the first that fits: a Trainer whose eval_dataset has names puts them behind eval_.
_PREFIXES = {"eval_validation_": "validation", "eval_test_": "test", "eval_": "validation", "test_": "test"}
_NO_METRICS = re.compile(r"(.*_)?(runtime|samples|\w+_per_second|model_preparation_time|mem_\w+)")


@dataclass(frozen=True)
class Order:
    """A run to be made.

    Attributes:
        key: names it among the orders of a study.
        folder: the run's own, `output_dir` of the script, which is made here.
        log: file that gets all output, behind what it holds already.
        environment: variables for this run.
    """

    key: str
    script: str
    arguments: list[str]
    folder: str
    log: str
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What became of an order.

    Attributes:
        code: exit status of the script; None if the process died in it.
        epochs: an entry per evaluation: epoch, validation, test, and reliability where our scripts recorded them.
        diverged: the script says that the loss was not finite.
        training_seconds: without evaluation; None where the script does not say.
        seconds: of the whole run.
        peak_memory_mb: of this process in the run, or of its GPU, in 2^20 bytes; None where the system does not say.
        last_lines: of its output.
        environment: of the machine that made it.
        continued: whether another process had begun the run, whose seconds are not among `seconds`.
    """

    key: str
    code: int | None
    last_lines: str
    epochs: list[dict[str, Any]] = field(default_factory=list)
    diverged: bool = False
    training_seconds: float | None = None
    seconds: float | None = None
    peak_memory_mb: float | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    continued: bool = False


def execute(order: Order) -> Outcome:
    """Run the script of an order as the main program, in this process."""
    folder = Path(order.folder)
    continued = folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    _forget_peak_memory()
    with _output_into(order.log), _environment(order.environment):
        code = _run(order.script, order.arguments)
        _end_trackers()
        _collect()
    epochs, training_seconds = read_outputs(folder)
    return Outcome(
        key=order.key,
        code=code,
        last_lines=last_lines(order.log),
        epochs=epochs,
        diverged="diverged_at_step" in read_object(folder / RUN),
        training_seconds=training_seconds,
        seconds=time.monotonic() - start,
        peak_memory_mb=_peak_memory_mb(),
        environment=_environment_of_this_process(),
        continued=continued,
    )


def read_outputs(folder: Path) -> tuple[list[dict[str, Any]], float | None]:
    """The evaluations of a run, and its seconds of training without them; none where it has written nothing.

    They are in epochs.json, which our scripts write for a study; or else in trainer_state.json of any Trainer, and
    all_results.json: eval_NAME or eval_validation_NAME of validation, test_NAME or eval_test_NAME of test. Where test
    was not measured at every evaluation, the last one is all that there is: no other has both parts.
    """
    final = {**read_object(folder / "train_results.json"), **read_object(folder / "all_results.json")}
    entries = read_object(folder / EPOCHS).get("epochs", [])
    if not entries:
        entries = _with_final(_from_log(read_object(folder / "trainer_state.json").get("log_history", [])), final)
    seconds = final.get("train_runtime")
    if seconds is not None:
        seconds -= sum(entry.get("seconds", 0.0) for entry in entries)
    return entries, seconds


def last_lines(log: str | Path, count: int = _LAST_LINES) -> str:
    """The end of a log; empty where there is none."""
    try:
        lines = Path(log).read_text(encoding="utf8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join([line for line in lines if line.strip()][-count:])


def error_in(lines: str) -> str:
    """The error at the end of an output, on one line: what stands before it is where it came from."""
    found = lines.splitlines()
    begins = [place for place, line in enumerate(found) if _ERROR.match(line)]
    return " ".join(found[begins[-1] if begins else -1 :]) or "it ended without a word"


# ---- running --------------------------------------------------------------------------------------------------------
def _run(script: str, arguments: list[str]) -> int:
    """The exit status of a script that is run as `python SCRIPT ARGUMENTS` would."""
    argv, path, modules = sys.argv, list(sys.path), set(sys.modules)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    try:
        runpy.run_path(script, run_name="__main__")
        return 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)  # noqa: T201
        return 1
    except BaseException:  # whatever it is ends this run, not the study
        traceback.print_exc()
        return 1
    finally:
        sys.argv, sys.path[:] = argv, path
        # That of --enable_jit_checkpoint (transformers 5.24) stays: it holds its Trainer, and the handler before it.
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
        _forget_neighbours(Path(script).parent, set(sys.modules) - modules)


def _forget_neighbours(folder: Path, names: set[str]) -> None:
    """Modules beside a script: one of the same name beside another script is another module."""
    files = {name: Path(getattr(sys.modules[name], "__file__", None) or "/") for name in names if "." not in name}
    beside = {name for name, file in files.items() if folder in (file.parent, file.parent.parent)}
    for name in names:
        if name.split(".")[0] in beside:
            del sys.modules[name]


@contextmanager
def _output_into(log: str) -> Iterator[None]:
    """All that this process writes goes into a file, what libraries and child processes write too."""
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with open(log, "ab") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _end_trackers() -> None:
    """A tracker that a run has begun must not get the next one's figures: transformers 5.24 leaves wandb's run open."""
    wandb: Any = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()


def _collect() -> None:
    """Free what the run has left."""
    gc.collect()
    _exempt_modules()


@cache
def _exempt_modules() -> None:
    """What stays after the first run, which is modules, is not looked through again: that took half a second a run."""
    gc.freeze()


# ---- what it left ---------------------------------------------------------------------------------------------------
def _from_log(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    entries: dict[float, dict[str, Any]] = {}
    for line in history:
        parts = _parts({name: value for name, value in line.items() if name.startswith("eval_")})
        if parts:
            entry = entries.setdefault(line.get("epoch", 0.0), {"epoch": line.get("epoch", 0.0), "seconds": 0.0})
            for part, values in parts.items():
                entry[part] = entry.get(part, {}) | values
            entry["seconds"] += sum(value for name, value in line.items() if name.endswith("_runtime"))
    return [entry for entry in entries.values() if "validation" in entry]


def _with_final(entries: list[dict[str, Any]], final: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The evaluations in training; or the one behind it, where it alone has a test part or is the only one."""
    last = {"epoch": 1.0, **(entries[-1] if entries else {}), **_parts(final)}
    whole = bool(entries) and ("test" not in last or all("test" in entry for entry in entries))
    if whole or "validation" not in last:
        return entries
    seconds = sum(entry["seconds"] for entry in entries)
    return [last | {"epoch": final.get("epoch", last["epoch"]), "seconds": seconds}]


def _parts(values: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Part -> metric -> value, of the parts that were measured."""
    parts: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        part, prefix = next(((part, prefix) for prefix, part in _PREFIXES.items() if name.startswith(prefix)), ("", ""))
        metric = name.removeprefix(prefix)
        if part and isinstance(value, int | float) and not _NO_METRICS.fullmatch(metric):
            parts.setdefault(part, {})[metric] = value
    return parts


# ---- this process ---------------------------------------------------------------------------------------------------
def _forget_peak_memory() -> None:
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): sets the peak to what is in use now
    except OSError:
        pass


def _peak_memory_mb() -> float | None:
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found[1]) / 2**10 if found else None


@cache
def _environment_of_this_process() -> dict[str, Any]:
    from hf_squareloss.comparison import environment

    return environment()
