"""Programs of their own for tests that need real processes: started with limits, and never left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

EXAMPLES = Path(__file__).parents[2] / "examples"
ACCELERATE = str(Path(sys.executable).with_name("accelerate"))


def environment(home: Path, **changes: str) -> dict[str, str]:
    """This process's environment with its own caches: one thread, and logs that can be read while it runs."""
    logs = {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "PYTHONUNBUFFERED": "1"}
    return os.environ | {"HF_HOME": str(home), "OMP_NUM_THREADS": "1", **logs, **changes}


@contextmanager
def started(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The running command, its output in `log`; at the end it and all its descendants are gone."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, start_new_session=True)
        try:
            yield process
        finally:
            kill_tree(process)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the process and its descendants: torch's launcher puts its workers into sessions of their own."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    for child in family:
        if child.is_running():
            child.kill()
    process.wait(30)


def run(command: list[str], env: dict[str, str], log: Path, timeout: float = 120) -> str:
    """Run to the end and return the output; fails unless the exit status is 0."""
    with started(command, env, log) as process:
        return finish(process, log, timeout)


def finish(process: subprocess.Popen[bytes], log: Path, timeout: float = 120) -> str:
    """Wait for the end of a started command and return its output; fails unless the exit status is 0."""
    status = process.wait(timeout)
    assert status == 0, f"exit status {status}:\n{log.read_text()[-4000:]}"
    return log.read_text()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
