"""One run at a time in an output folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

FILE = "_run.lock"  # an underscore: the Trainer pushes no such file
OWNER = "_run.owner"  # who holds it: on Windows nobody else can read the lock's own file


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Hold the folder; the system lets go of it when this process ends, however it ends.

    Only the main process of a run takes it. It is flock, on Windows LockFileEx (filelock).

    Raises:
        ValueError: another process holds it; says which.
    """
    lock, owner = FileLock(Path(folder, FILE)), Path(folder, OWNER)
    owner.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            f"another run is at work in {folder} ({_read(owner) or 'it has just begun'}): wait for its end, "
            "or choose another --output_dir"
        ) from error
    try:
        owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n", encoding="utf8")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _read(owner: Path) -> str:
    try:
        return owner.read_text(encoding="utf8").strip()
    except OSError:
        return ""
