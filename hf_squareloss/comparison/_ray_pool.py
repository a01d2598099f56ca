"""Where runs are made: a Ray cluster, each run a task with its resources."""

from __future__ import annotations

import logging
import time
from importlib import import_module
from typing import Any

from hf_squareloss.comparison._execution import Order, Outcome, execute, last_lines


class RayPool:
    """As `Pool`. Ray's processes stay alive between runs, and share nothing but the folders that all nodes see.

    Args:
        address: of the cluster, "auto" for the one that this machine belongs to, as for `ray.init`.
        gpus_per_run: may be a fraction; without GPUs a run takes one processor.

    Raises:
        ModuleNotFoundError: Ray is not installed (extra `ray`).
        ValueError: there is no cluster, or it has no room for one run.
    """

    def __init__(self, address: str, gpus_per_run: float = 0.0) -> None:
        self._ray: Any = import_module("ray")  # not where the types are checked: it is an extra of 240 MB
        ray = self._ray
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            raise ValueError(f"there is no Ray cluster at {address}: {error}") from error
        self._task = ray.remote(num_cpus=1, num_gpus=gpus_per_run, max_retries=0)(execute)
        there = ray.cluster_resources()
        name, each = ("GPU", gpus_per_run) if gpus_per_run else ("CPU", 1)
        self.size = int(there.get(name, 0) / each)
        if self.size < 1:
            ray.shutdown()
            raise ValueError(f"the cluster has {there.get(name, 0):g} {name}s, and a run takes {each:g}")
        self._busy: dict[Any, Order] = {}

    def submit(self, order: Order) -> None:
        self._busy[self._task.remote(order)] = order

    def wait(self, seconds: float) -> list[Outcome]:
        if not self._busy:
            return []
        ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=seconds)
        return [self._outcome(reference) for reference in ready]

    def stop(self, patience: float = 60.0) -> None:
        for reference in self._busy:
            self._ray.cancel(reference, force=patience <= 0)  # as Ctrl-C in it
        end = time.monotonic() + patience
        while self._busy and (left := end - time.monotonic()) > 0:
            self.wait(left)
        for reference in self._busy:
            self._ray.cancel(reference, force=True)
        self._busy = {}
        self._ray.shutdown()

    def _outcome(self, reference: Any) -> Outcome:
        order = self._busy.pop(reference)
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            said = f"the worker died ({type(error).__name__})"
            return Outcome(order.key, None, "\n".join(filter(None, (last_lines(order.log), said))))
