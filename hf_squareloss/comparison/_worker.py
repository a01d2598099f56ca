"""A process that makes run after run: imports, and what libraries keep in memory, are paid once.

It reads an order per line from its standard input, and writes an outcome per line. The end of its input, which comes
when its parent dies too, ends it and all that it started.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from typing import Any

from hf_squareloss.comparison._execution import Order, execute


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf8")
    os.dup2(2, 1)  # what a script prints is no answer
    stdout: Any = sys.stdout
    stdout.reconfigure(line_buffering=True)  # a log should end where its run was killed
    orders: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    busy = threading.Event()

    def read() -> None:
        for line in sys.stdin:
            orders.put(line)
        if busy.is_set():
            _end_at_once()
        orders.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (line := orders.get()) is not None:
        busy.set()
        outcome = execute(Order(**json.loads(line)))
        answers.write(json.dumps(asdict(outcome)) + "\n")
        answers.flush()
        busy.clear()


def _end_at_once() -> None:
    """With the processes that this one has started, of which it is the leader where it began a session of its own."""
    getpgrp: Any = vars(os).get("getpgrp")
    if getpgrp is not None and getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
