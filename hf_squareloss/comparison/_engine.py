"""Carrying out a study: every run that is not there yet, on a pool, until all are there."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hf_squareloss.comparison._display import Display, shown_run
from hf_squareloss.comparison._execution import Order, Outcome, error_in
from hf_squareloss.comparison._orders import LOGS, WORK, Options, Orders, require_metric
from hf_squareloss.comparison._places import without_places
from hf_squareloss.comparison._pool import Pool
from hf_squareloss.comparison._problems import choose_learning_rate
from hf_squareloss.comparison._records import RUNS, RunRecord, read_runs, write_run
from hf_squareloss.comparison._results import write_study
from hf_squareloss.comparison._schedule import Planned, best_value, other_runs, tuning_runs
from hf_squareloss.comparison._scripts import find_script, is_recipe
from hf_squareloss.comparison._settings import refuse_changed_settings, runs_with_other_settings
from hf_squareloss.comparison._study import Study
from hf_squareloss.recipes.run_files import write_text

MODELS = "models"
_AGAIN = 1.0  # seconds: who signals a whole group of processes, as timeout does, signals this one twice
_TRIES = 2  # of a run whose worker dies; a script that refuses something would do so again


class Stopped(Exception):
    """A signal ended a study before its last run; says how to go on."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number = number


def carry_out(study: Study, options: Options, pool: Pool, *, seconds: float | None = None) -> list[RunRecord]:
    """Make every run of a study that its folder does not have; all of its runs that did not fail.

    Nothing is written before the folder is known to be this study's.

    Args:
        options: among them the folder: runs/ gets a file for each run, logs/ its output.
        pool: makes the runs; it is stopped at the end.
        seconds: no run begins later; None: no limit.

    Raises:
        ValueError: another study is at work in the folder, its runs have other settings, a script refuses its
            arguments, or what runs read is edited meanwhile.
        Stopped: SIGINT or SIGTERM came.
    """
    from hf_squareloss.recipes.folder_lock import folder_lock

    options.folder.mkdir(parents=True, exist_ok=True)
    with folder_lock(options.folder):
        try:
            with _signals() as received:
                records = _Carrying(study, options, pool, received, seconds).all()
        except BaseException:
            pool.stop(patience=0)  # what was worth waiting for has been waited for
            raise
        pool.stop()
        return records


class _Carrying:
    def __init__(self, study: Study, options: Options, pool: Pool, received: list[int], seconds: float | None) -> None:
        self.study, self.options, self.pool, self.received = study, options, pool, received
        self.orders = Orders(study, options)
        self.end = None if seconds is None else time.monotonic() + seconds
        self.display = Display(study.size, pool.size)
        self.waiting: deque[Planned] = deque()
        self.under_way: dict[str, tuple[Planned, Order, int]] = {}
        self.tuning: dict[tuple[Any, ...], list[Planned]] = {}
        self.records: dict[Planned, RunRecord] = {}
        self.failed: list[RunRecord] = []

    def all(self) -> list[RunRecord]:
        first = tuning_runs(self.study)
        there = read_runs(self.options.folder)
        planned = [self.orders.record(run) for run in first]
        refuse_changed_settings(self.options.folder, there, planned)
        for run, _ in runs_with_other_settings(there, planned):
            self._forget(run)
        self.there = {record.identity: record for record in there if record.status != "failed"}
        self._write_files()
        with self.display:
            self._rehearse(first)
            self._write_study()
            for run in first:
                self.tuning.setdefault(run.group, []).append(run)
            self._add(first)
            while self.waiting or self.under_way:
                self._fill()
                if not self.under_way:
                    break  # the time is over
                for outcome in self.pool.wait(1.0):
                    self._ended(*self.under_way[outcome.key], outcome)
                if self.received:
                    self._stop()
        self._say_which_models_are_missing()
        self._report_failures()
        order = {label: place for place, label in enumerate(choice.label for choice in self.study.choices)}
        return sorted(self.records.values(), key=lambda record: (record.problem, order[record.label], record.seed))

    # ---- before the first run ---------------------------------------------------------------------------------------
    def _write_files(self) -> None:
        for path, text in self.options.files.items():
            if not Path(path).is_file() or Path(path).read_bytes() != text.encode():
                write_text(path, text)

    def _write_study(self) -> None:
        if self.options.command is not None:
            content = without_places(self.study.model_dump(mode="json"))
            write_study(self.options.folder, self.options.command, content)

    def _forget(self, failed: RunRecord) -> None:
        """A run that failed with settings that have been put right since."""
        folder, key = self.options.folder, failed.identity
        (folder / RUNS / f"{key}.json").unlink(missing_ok=True)
        (folder / LOGS / f"{key}.txt").unlink(missing_ok=True)
        shutil.rmtree(folder / WORK / key, ignore_errors=True)

    def _rehearse(self, runs: list[Planned]) -> None:
        """A run of ours is rehearsed for each task and model that has no run yet."""
        tried = {record.problem[:2] for record in self.there.values()}
        for run in reversed(runs):  # the last has the most label noise
            place = run.task, run.model
            if place in tried or not is_recipe(find_script(self.study.tasks[run.task].script)):
                continue
            tried.add(place)
            order = self.orders.rehearsal(run)
            Path(order.log).unlink(missing_ok=True)
            outcome = self._alone(order)
            shutil.rmtree(order.folder, ignore_errors=True)
            where = f"{run.task} with {run.model}"
            if outcome.code != 0 and not outcome.diverged:
                raise ValueError(f"{where}: {error_in(outcome.last_lines)}")
            if not outcome.diverged:
                require_metric(outcome, self.study.metric_of(run.task), where)
            Path(order.log).unlink(missing_ok=True)

    def _alone(self, order: Order) -> Outcome:
        self.pool.submit(order)
        while not (outcomes := self.pool.wait(1.0)):
            if self.received:
                self._stop()
        return outcomes[0]

    # ---- one run after the other ------------------------------------------------------------------------------------
    def _add(self, runs: list[Planned]) -> None:
        """Take runs up: those that are there count at once, the others wait."""
        missing = []
        for run in runs:
            planned = self.orders.record(run)
            record = self.there.get(planned.identity)
            if record is None:
                missing.append(run)
            else:
                self.records[run] = self._renamed(record, planned)
                self.display.known(self.records[run])
        self.waiting.extend(missing)
        for group in {run.group: None for run in runs}:
            self._choose(group)

    def _renamed(self, record: RunRecord, planned: RunRecord) -> RunRecord:
        """A run that is there under the names that the study has today, which its identity does not know."""
        renamed = record.model_copy(update={"study": planned.study, "label": planned.label})
        if renamed != record:
            write_run(self.options.folder, renamed)
        return renamed

    def _choose(self, group: tuple[Any, ...]) -> None:
        """When the last tuning run of a loss has ended, its other seeds are next."""
        tuned = self.tuning.get(group)
        if tuned is None or not all(run in self.records or self._has_failed(run) for run in tuned):
            return
        del self.tuning[group]
        rate = choose_learning_rate(self.records[run] for run in tuned if run in self.records)
        if rate is not None:
            self._add(other_runs(self.study, tuned, rate))

    def _has_failed(self, run: Planned) -> bool:
        return self.orders.record(run).identity in {record.identity for record in self.failed}

    def _fill(self) -> None:
        while self.waiting and len(self.under_way) < self.pool.size:
            if self.end is not None and time.monotonic() > self.end:
                return
            self._begin(self.waiting.popleft(), tries=1)

    def _begin(self, run: Planned, tries: int) -> None:
        self._look_again(run)
        order = self.orders.order(run)
        if not self.orders.can_go_on(order):
            name = shown_run(self.orders.record(run))
            self.display.say(f"{name}: it was begun with another --keep_models or --metric, and starts anew.")
            shutil.rmtree(order.folder)
        self.under_way[order.key] = run, order, tries
        self.pool.submit(order)

    def _look_again(self, run: Planned) -> None:
        """ValueError where something that a run reads is edited while the study is at work."""
        changed = self.orders.changed_content(run)
        if not changed:
            return
        self.pool.stop(patience=0)
        for other, order, _ in self.under_way.values():
            if self.orders.changed_content(other):  # nobody knows which content it has read
                shutil.rmtree(order.folder, ignore_errors=True)
        raise ValueError(
            f"{run.task} with {run.model}: {', '.join(changed)} changed while the study was at work. The runs that "
            "are done had what was there before: put it back, or choose another --output_dir"
        )

    def _ended(self, run: Planned, order: Order, tries: int, outcome: Outcome) -> None:
        self._look_again(run)
        del self.under_way[order.key]
        if outcome.code is None and tries < _TRIES:
            self.display.say(f"{shown_run(self.orders.record(run))}: {outcome.last_lines.splitlines()[-1]}; once more")
            self._begin(run, tries + 1)
            return
        if outcome.code == 0:
            require_metric(outcome, self.study.metric_of(run.task), f"{run.task} with {run.model}")
        record = self.orders.record(run, outcome)
        write_run(self.options.folder, record)
        if record.status == "failed":
            self.failed.append(record)
        else:
            self.records[run] = record
            Path(order.log).unlink(missing_ok=True)
            if self.options.keep_models:
                self._keep_model(run.group)
            shutil.rmtree(order.folder, ignore_errors=True)
        self.display.ended(record)
        self._choose(run.group)

    def _keep_model(self, group: tuple[Any, ...]) -> RunRecord:
        """Of a loss's runs so far the one that is best on validation, and no other, has its model in models/."""
        records = [record for run, record in self.records.items() if run.group == group]
        work = {record.identity: self.options.folder / WORK / record.identity for record in records}
        best = max(records, key=lambda r: (best_value(r), work[r.identity].is_dir() or self._model(r).is_dir()))
        if work[best.identity].is_dir():
            for checkpoint in work[best.identity].glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
            shutil.rmtree(self._model(best), ignore_errors=True)
            work[best.identity].rename(self._model(best))
        for record in records:
            if record is not best:
                shutil.rmtree(self._model(record), ignore_errors=True)
        return best

    def _model(self, record: RunRecord) -> Path:
        (self.options.folder / MODELS).mkdir(exist_ok=True)
        return self.options.folder / MODELS / record.identity

    # ---- the end ----------------------------------------------------------------------------------------------------
    def _stop(self) -> None:
        count = len(self.under_way)
        self.display.say(f"Stopping: {count} runs under way save what they can. Ctrl-C again to wait no more.")
        self.pool.stop()
        done = f"{len(self.records)} of {self.study.size} runs are done, in {self.options.folder}"
        raise Stopped(self.received[0], f"{done}. The same command goes on.")

    def _say_which_models_are_missing(self) -> None:
        if not self.options.keep_models:
            return
        for group in {run.group: None for run in self.records}:
            best = self._keep_model(group)
            if not self._model(best).is_dir():
                self.display.say(
                    f"No model of {shown_run(best)}, which is the best: it was made without --keep_models. "
                    f"Without {RUNS}/{best.identity}.json it is made again."
                )

    def _report_failures(self) -> None:
        for record in self.failed:
            self.display.say(f"\nFailed: {shown_run(record)}. The end of {LOGS}/{record.identity}.txt:\n{record.error}")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted down, since a study ends between two runs; no other thread may do so."""
    received: list[int] = []
    first = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if not received:
            first = time.monotonic()
            received.append(number)
        elif time.monotonic() > first + _AGAIN:
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
