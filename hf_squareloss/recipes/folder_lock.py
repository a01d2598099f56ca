"""One run at a time in an output folder."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FILE = "_run.lock"  # an underscore: the Trainer pushes no such file


@contextmanager
def folder_lock(folder: str | Path) -> Iterator[None]:
    """Hold the folder; the system lets go of it when this process ends, however it ends.

    Only the main process of a run takes it. Windows has no such lock: there nothing is held.

    Raises:
        ValueError: another process holds it; says which.
    """
    if sys.platform == "win32":
        yield
        return
    import fcntl

    path = Path(folder, FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ValueError(
                f"another run is at work in {folder} ({file.read().strip() or 'it has just begun'}): wait for its end, "
                "or choose another --output_dir"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
