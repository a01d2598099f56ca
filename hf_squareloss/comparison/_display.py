"""A study on the screen: a line per run, and in a terminal the progress, the time left and the best of each loss."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from hf_squareloss.comparison._analysis import analyse
from hf_squareloss.comparison._records import RunRecord
from hf_squareloss.comparison._results import results_of
from hf_squareloss.comparison._schedule import best_value
from hf_squareloss.comparison._tables import losses
from hf_squareloss.comparison._words import verdict, warnings

_IN_THE_REPORT = ("seeds", "best epoch", "p", "95 % BCa")  # alone: a screen has 80 columns


class Display:
    """What a study says while it runs.

    Args:
        total: runs of the whole study.
        workers: runs at once.
    """

    def __init__(self, total: int, workers: int) -> None:
        self.console = Console(soft_wrap=True)
        self._total, self._workers, self._done = total, workers, 0
        self._start, self._made = time.monotonic(), 0
        self._best: dict[str, RunRecord] = {}
        self._bar = Progress(TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        self._task = self._bar.add_task("", total=total)
        self._live = Live(console=self.console, refresh_per_second=2) if self.console.is_terminal else None

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False)

    def known(self, record: RunRecord) -> None:
        """A run that was made before."""
        self._count(record)

    def ended(self, record: RunRecord) -> None:
        """A run that has just been made."""
        self._made += 1
        self._count(record)
        seconds = f", {record.seconds:.0f} s" if record.seconds is not None else ""
        outcome = shown_value(record) if record.status == "finished" else record.status
        self.say(f"{self._done} of {self._total}: {shown_run(record)}: {outcome}{seconds}")
        if self._made == 1 and self._done < self._total:
            self.say(f"The whole will take {shown_time(self.seconds_left)} with {_workers(self._workers)}.")

    @property
    def seconds_left(self) -> float:
        """By the runs made so far; those under way count as not begun."""
        each = (time.monotonic() - self._start) / max(self._made, 1)
        if self._made < self._workers:  # they began together
            each /= self._workers / max(self._made, 1)
        return each * (self._total - self._done)

    def _count(self, record: RunRecord) -> None:
        self._done += 1
        best = self._best.get(record.label)
        if record.status != "failed" and (best is None or best_value(record) > best_value(best)):
            self._best[record.label] = record
        left = f"about {shown_time(self.seconds_left)} left" if self._made and self._done < self._total else ""
        self._bar.update(self._task, completed=self._done, description=left)
        if self._live is not None:
            self._live.update(Group(self._bar, self._table()))

    def _table(self) -> Table:
        table = Table("loss", "best on validation", "by", title_justify="left")
        for label, record in self._best.items():
            table.add_row(label, shown_value(record), shown_run(record, loss=False))
        return table


def shown_run(record: RunRecord, *, loss: bool = True) -> str:
    """What a run is, in words."""
    noise = f", label noise {record.label_noise:g}" if record.label_noise else ""
    name = f", {record.label}" if loss else ""
    return f"{record.task}, {record.model}{noise}{name}, learning rate {record.learning_rate:g}, seed {record.seed}"


def shown_value(record: RunRecord) -> str:
    """The best value on validation."""
    value = best_value(record)
    return f"{record.metric} {value if record.greater_is_better else -value:.4f}"


def shown_time(seconds: float) -> str:
    """A time in the unit that fits it.

    Example:
        >>> [shown_time(seconds) for seconds in (1, 100, 4000, 40000)]
        ['1 second', '2 minutes', '67 minutes', '11 hours']
    """
    if seconds < 90:
        count = max(round(seconds), 1)
        return f"{count} second{'s' if count > 1 else ''}"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"


def _workers(count: int) -> str:
    return "one worker" if count == 1 else f"{count} workers"


def show_results(records: list[RunRecord]) -> None:
    """The verdict, what to bear in mind, and the losses of each problem, as the report of the study has them."""
    console, analysis = Console(), analyse(results_of(records, title=records[0].study))
    for found in analysis.problems:
        whole = losses(found)
        table = Table(title=found.name, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
        shown = [place for place, name in enumerate(whole.header) if name not in _IN_THE_REPORT]
        for place in shown:
            table.add_column(whole.header[place].replace("learning ", "learning\n"), no_wrap=place > 0)
        for row in whole.rows:
            table.add_row(*(row[place] for place in shown))
        console.print(table)
    for sentence in (verdict(analysis), *warnings(analysis)):
        console.print(sentence, highlight=False, markup=False)
