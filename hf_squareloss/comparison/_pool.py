"""Where runs are made: worker processes on this machine."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from typing import Any, Protocol

from hf_squareloss.comparison._execution import Order, Outcome, last_lines


class Pool(Protocol):
    """Makes runs, `size` of them at once.

    `submit` begins a run and does not wait; no more than `size` may be under way. `wait` gives the outcomes of runs
    that have ended, at least one where any is under way, unless `seconds` are over. The code of a run is None where its
    process died. `stop` ends the runs under way, so that they can go on another time if they have a checkpoint.
    """

    size: int

    def submit(self, order: Order) -> None: ...

    def wait(self, seconds: float) -> list[Outcome]: ...

    def stop(self, patience: float = 60.0) -> None: ...


class LocalPool:
    """Worker processes of this machine, each with a session of its own, so that Ctrl-C reaches this process alone.

    Args:
        workers: how many.
        threads: of each worker; None leaves it to torch.
    """

    def __init__(self, workers: int, threads: int | None = 1) -> None:
        self.size, self._threads = workers, threads
        self._idle: list[_Worker] = []
        self._busy: dict[str, tuple[_Worker, Order]] = {}
        self._news: queue.SimpleQueue[tuple[_Worker, str]] = queue.SimpleQueue()

    def submit(self, order: Order) -> None:
        worker = self._idle.pop() if self._idle else _Worker(self._threads, self._news)
        self._busy[order.key] = worker, order
        worker.send(order)

    def wait(self, seconds: float) -> list[Outcome]:
        outcomes: list[Outcome] = []
        end = time.monotonic() + seconds
        while self._busy and not outcomes and (left := end - time.monotonic()) > 0:
            try:
                outcomes += self._outcome(*self._news.get(timeout=left))
            except queue.Empty:
                break
        return outcomes

    def stop(self, patience: float = 60.0) -> None:
        """SIGTERM, upon which our scripts save a checkpoint behind the step under way; SIGKILL after `patience`.

        Also closes the workers that are idle.
        """
        for worker, _ in self._busy.values():
            worker.process.terminate()
        self._drain(patience)
        for worker in [*self._idle, *(worker for worker, _ in self._busy.values())]:
            worker.close()
        self._idle, self._busy = [], {}

    def _drain(self, patience: float) -> None:
        end = time.monotonic() + patience
        while self._busy and (left := end - time.monotonic()) > 0:
            self.wait(left)

    def _outcome(self, worker: _Worker, line: str) -> list[Outcome]:
        """What a worker said; an empty line is its end."""
        key = next((key for key, (other, _) in self._busy.items() if other is worker), None)
        if key is None:  # it died with nothing to do: nobody misses it
            self._idle = [other for other in self._idle if other is not worker]
            worker.close()
            return []
        _, order = self._busy.pop(key)
        if line:
            self._idle.append(worker)
            return [Outcome(**json.loads(line))]
        words = worker.last_words()
        worker.close()
        said = f"the worker died ({_death(worker.process.returncode)})"
        return [Outcome(key, None, "\n".join(filter(None, (last_lines(order.log) or words, said))))]


class _Worker:
    def __init__(self, threads: int | None, news: queue.SimpleQueue[tuple[_Worker, str]]) -> None:
        variables = {"TOKENIZERS_PARALLELISM": "false"} | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})
        session: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
        self._errors = tempfile.TemporaryFile()  # what it says where no run is under way
        self.process: Any = subprocess.Popen(
            [sys.executable, "-m", "hf_squareloss.comparison._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf8",
            env={**variables, **os.environ} if threads is None else {**os.environ, **variables},
            **session,
        )
        threading.Thread(target=self._read, args=(news,), daemon=True).start()

    def _read(self, news: queue.SimpleQueue[tuple[_Worker, str]]) -> None:
        for line in self.process.stdout:
            news.put((self, line))
        news.put((self, ""))

    def send(self, order: Order) -> None:
        try:
            self.process.stdin.write(json.dumps(asdict(order)) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # it has died: its reader says so
            pass

    def close(self) -> None:
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self._errors.close()

    def last_words(self) -> str:
        """The last line of what it said outside of runs."""
        self._errors.seek(0)
        return (self._errors.read().decode(errors="replace").strip().splitlines() or [""])[-1]


def _death(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
