"""From runs to what is compared: per problem, each loss at the learning rate and the epochs that validation chose."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from hf_squareloss.comparison._records import MEANING, RunRecord

Part = Literal["validation", "test"]
BASELINE, SUBJECT = "cross_entropy", "square"


def best_epoch(run: RunRecord) -> int | None:
    """The place of the epoch with the best finite value on validation, the earliest of equals; None without one."""
    sign = 1 if run.greater_is_better else -1
    values = {place: run.epochs[place].validation.get(run.metric) for place in range(len(run.epochs))}
    finite = {place: sign * value for place, value in values.items() if value is not None}
    return max(finite, key=lambda place: (finite[place], -place)) if finite else None


def value_at(run: RunRecord, place: int | None, part: Part, metric: str | None = None) -> float | None:
    """The value of a metric (the run's own by default) after the epoch at a place; None where there is none."""
    if place is None:
        return None
    epoch = run.epochs[place]
    measured = epoch.test if part == "test" else epoch.validation
    return (measured or {}).get(metric or run.metric)


def choose_learning_rate(runs: Iterable[RunRecord]) -> float | None:
    """The learning rate of one loss on one problem: the best mean on validation, each run at its best epoch.

    The mean is over the tuning seeds, those that every learning rate has; where there are none, over the seeds that
    each has. A learning rate with a run that has no finite value loses to those without. Of equals, the smallest is
    taken. Failed runs do not count.

    Args:
        runs: of one loss with its parameters on one problem, at any learning rates.

    Returns:
        The learning rate; None where no run ended.

    Example:
        >>> choose_learning_rate([]) is None
        True
    """
    return max((table := tuning_table(runs)), key=lambda rate: (_rank(table[rate]), -rate), default=None)


def tuning_table(runs: Iterable[RunRecord]) -> dict[float, dict[int, float]]:
    """Learning rate -> tuning seed -> best value on validation, larger is better, -inf where there is none."""
    table: dict[float, dict[int, float]] = defaultdict(dict)
    for run in runs:
        if run.status != "failed":
            value = value_at(run, best_epoch(run), "validation")
            better = value if run.greater_is_better or value is None else -value
            table[run.learning_rate][run.seed] = -math.inf if better is None else better
    common = set.intersection(*(set(of_rate) for of_rate in table.values())) if table else set()
    if not common:
        return dict(sorted(table.items()))
    return {rate: {seed: table[rate][seed] for seed in sorted(common)} for rate in sorted(table)}


def _rank(values: Mapping[int, float]) -> float:
    return fmean(values.values())


@dataclass(frozen=True)
class Contender:
    """One loss with its parameters on one problem, at its learning rate.

    Attributes:
        label: what tables call it.
        learning_rate: chosen by `choose_learning_rate`; None where every run failed.
        tuning: learning rate -> mean best value on validation over the tuning seeds; None where a run has none.
        tuning_seeds: the seeds of that mean.
        runs: the runs at the chosen learning rate by seed, without failed ones.
        failed: the runs that failed, at any learning rate.
    """

    label: str
    loss: str
    parameters: Mapping[str, Any]
    learning_rate: float | None
    tuning: Mapping[float, float | None]
    tuning_seeds: tuple[int, ...]
    runs: Mapping[int, RunRecord]
    failed: tuple[RunRecord, ...]

    @property
    def diverged(self) -> tuple[int, ...]:
        """Seeds whose run diverged."""
        return tuple(seed for seed, run in self.runs.items() if run.status == "diverged" or best_epoch(run) is None)

    @property
    def without_value(self) -> tuple[int, ...]:
        """Those of them whose run had no finite value after any epoch."""
        return tuple(seed for seed, run in self.runs.items() if best_epoch(run) is None)

    def values(self, part: Part, metric: str | None = None) -> dict[int, float]:
        """Seed -> value at the run's own best epoch, where it is finite."""
        found = {seed: value_at(run, best_epoch(run), part, metric) for seed, run in self.runs.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def values_at_epochs_of(self, other: Contender, part: Part) -> dict[int, float]:
        """Seed -> value after as many epochs as the other loss's run of that seed needed for its best."""
        found: dict[int, float] = {}
        for seed in self.runs.keys() & other.runs.keys():
            place = best_epoch(other.runs[seed])
            epochs = None if place is None else other.runs[seed].epochs[place].epoch
            own = next((i for i, e in enumerate(self.runs[seed].epochs) if e.epoch == epochs), None)
            value = value_at(self.runs[seed], own, part)
            if value is not None:
                found[seed] = value
        return dict(sorted(found.items()))

    def measured(self, name: Literal["seconds", "overhead_seconds", "peak_memory_mb"]) -> dict[int, float]:
        """Seed -> seconds or memory of the run, where it was measured."""
        found = {seed: getattr(run, name) for seed, run in self.runs.items()}
        return {seed: value for seed, value in found.items() if value is not None}


@dataclass(frozen=True)
class Problem:
    """A task, a model and a share of label noise, on which losses are compared.

    Attributes:
        metric: chose epochs and learning rates, on validation.
        part: "test" where every finished run at a chosen learning rate has a test part, else "validation".
        contenders: the losses; the baseline first.
        baseline: the loss that others are compared to; None where this problem has no run of it.
    """

    task: str
    model: str
    label_noise: float
    metric: str
    greater_is_better: bool
    part: Part
    contenders: tuple[Contender, ...]
    baseline: Contender | None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that every run has, the problem's own first; `loss` has another meaning for each loss."""
        runs = [run for contender in self.contenders for run in contender.runs.values()]
        found = [names for run in runs if (names := _measured(run, self.part))]
        return (self.metric, *sorted(set.intersection(*found) - {self.metric, "loss"})) if found else (self.metric,)


def rank_of(loss: RunRecord | Contender) -> tuple[Any, ...]:
    """The order of losses: the square loss first, each with few parameters first, numbers in their order."""
    values = [
        (name, isinstance(v, str), v if isinstance(v, int | float) else str(v)) for name, v in loss.parameters.items()
    ]
    return loss.loss != SUBJECT, loss.loss, len(loss.parameters), sorted(values), loss.label


def baseline_label(runs: Iterable[RunRecord]) -> str:
    """The label that others are compared to: cross-entropy, with the fewest parameters; else the first one."""
    return min(runs, key=lambda run: (run.loss != BASELINE, len(run.parameters), run.label)).label


def problems(runs: Sequence[RunRecord], baseline: str | None = None) -> list[Problem]:
    """The problems that the runs belong to, each with its losses.

    Args:
        runs: of a study.
        baseline: the label of the loss that others are compared to; that of `baseline_label` by default.

    Raises:
        ValueError: runs of one problem with two metrics or of one label with two losses, a seed twice, or a baseline
            that no run has.
    """
    labels = {run.label for run in runs}
    if baseline is not None and baseline not in labels:
        raise ValueError(f"no run has the label {baseline!r}: there are {', '.join(sorted(labels))}")
    by_problem: dict[Any, list[RunRecord]] = defaultdict(list)
    for run in runs:
        by_problem[run.problem].append(run)
    return [_problem(of_problem, baseline or baseline_label(runs)) for of_problem in by_problem.values()]


def _problem(runs: Sequence[RunRecord], baseline: str) -> Problem:
    first, where = runs[0], f"{runs[0].task}, {runs[0].model}"
    metrics = {(run.metric, run.greater_is_better) for run in runs}
    if len(metrics) > 1:
        raise ValueError(f"the runs of {where} do not agree on the metric: {', '.join(sorted(m for m, _ in metrics))}")
    if other := next((run for run in runs if _compared_settings(run) != _compared_settings(first)), None):
        raise ValueError(
            f"the runs of {where} are of different settings, so their losses cannot be compared: {first.label} and "
            f"{other.label} differ in {_difference(first, other, parameters=False)}: give the tasks names of "
            f"their own, or remove one of runs/{first.identity}.json and runs/{other.identity}.json"
        )
    by_label: dict[str, list[RunRecord]] = defaultdict(list)
    for run in runs:
        by_label[run.label].append(run)
    contenders = {label: _contender(label, of_label, where) for label, of_label in by_label.items()}
    ordered = sorted(contenders.values(), key=lambda c: (c.label != baseline, rank_of(c)))
    counted = [run for contender in ordered for run in contender.runs.values() if run.status == "finished"]
    tested = counted and all(epoch.test is not None for run in counted for epoch in run.epochs)
    part: Part = "test" if tested else "validation"
    metric, greater_is_better = metrics.pop()
    task, model, noise = first.problem
    return Problem(task, model, noise, metric, greater_is_better, part, tuple(ordered), contenders.get(baseline))


def _contender(label: str, runs: Sequence[RunRecord], where: str) -> Contender:
    losses = {run.loss for run in runs}
    if len(losses) > 1:
        raise ValueError(f"the label {label!r} of {where} stands for {' and '.join(sorted(losses))}: give each its own")
    rate, table = choose_learning_rate(runs), tuning_table(runs)
    chosen: dict[int, RunRecord] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        if run.learning_rate == rate and run.status != "failed":
            if run.seed in chosen:
                raise ValueError(
                    f"{where}: two runs of {label!r} have learning rate {rate:g} and seed {run.seed}, and differ in "
                    f"{_difference(chosen[run.seed], run)}: give the two tasks names of their own, or remove one of "
                    f"runs/{chosen[run.seed].identity}.json and runs/{run.identity}.json"
                )
            chosen[run.seed] = run
    sign = 1 if runs[0].greater_is_better else -1
    means = {each: sign * _rank(values) for each, values in table.items()}
    return Contender(
        label=label,
        loss=runs[0].loss,
        parameters=runs[0].parameters,
        learning_rate=rate,
        tuning={each: mean if math.isfinite(mean) else None for each, mean in means.items()},
        tuning_seeds=tuple(sorted(set().union(*table.values()))),
        runs=chosen,
        failed=tuple(run for run in runs if run.status == "failed"),
    )


def _measured(run: RunRecord, part: Part) -> set[str]:
    """The metrics of the run's best epoch."""
    place = best_epoch(run)
    epoch = None if place is None else run.epochs[place]
    return set((epoch.test if part == "test" else epoch.validation) or {}) if epoch else set()


def _compared_settings(run: RunRecord) -> dict[str, Any]:
    """The settings that all losses of a problem must share."""
    return {name: value for name, value in run.settings.items() if name != MEANING}


def _difference(one: RunRecord, other: RunRecord, *, parameters: bool = True) -> str:
    """The settings, and parameters, that two runs do not share, with the values of both."""
    first, second = ({**run.settings, **(run.parameters if parameters else {})} for run in (one, other))
    names = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    names = names if parameters else [name for name in names if name != MEANING]
    return ", ".join(f"{name} ({first.get(name)!r}, {second.get(name)!r})" for name in names)
