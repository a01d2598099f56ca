"""The tables of an analysis, as text in cells; Markdown and HTML show the same ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from hf_squareloss.comparison._analysis import CALIBRATION, Analysis, Pooled, ProblemAnalysis
from hf_squareloss.comparison._problems import Contender, best_epoch, value_at
from hf_squareloss.comparison._records import Results, RunRecord
from hf_squareloss.comparison._results import shared
from hf_squareloss.comparison._statistics import PairedComparison
from hf_squareloss.comparison._words import interval_text, number, probability
from hf_squareloss.metric_order import known_order

Row = tuple[str, ...]
NOTHING = "–"


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first `names` columns are names, and the others hold figures."""

    header: Row
    rows: tuple[Row, ...]
    names: int = 1


def spread_text(values: Sequence[float], digits: int = 4) -> str:
    """Mean and standard deviation: "0.8123 ± 0.0040"; a dash without a value."""
    if not values:
        return NOTHING
    deviation = f" ± {number(stdev(values), digits=digits)}" if len(values) > 1 else ""
    return number(fmean(values), digits=digits) + deviation


def arrow(metric: str, greater: bool | None = None) -> str:
    """The metric with the direction of better, where that is known: "accuracy ↑"."""
    greater = known_order(metric) if greater is None else greater
    return metric if greater is None else f"{metric} {'↑' if greater else '↓'}"


def overview(analysis: Analysis) -> Table:
    """A row for each problem and each loss beside the baseline."""
    rows = []
    for found in analysis.problems:
        problem, base = found.problem, found.problem.baseline
        for each in found.comparisons:
            assert base is not None
            values = [spread_text(list(c.values(problem.part).values())) for c in (base, each.contender)]
            metric = arrow(problem.metric, problem.greater_is_better)
            row = (found.name, each.contender.label, metric, *values, *_compared(each.tuned))
            rows.append((*row, each.outcome or "no verdict"))
    header = ("problem", "loss", "metric", analysis.baseline, "this loss", "advantage", "95 % interval", "p", "outcome")
    return Table(header, tuple(rows), names=3)


def losses(found: ProblemAnalysis) -> Table:
    """Each loss at its own best epochs, and its advantage over the baseline."""
    problem = found.problem
    of_label = {c.contender.label: c for c in found.comparisons}
    rows = []
    for contender in problem.contenders:
        values = list(contender.values(problem.part).values())
        row = (contender.label, _rate(contender), _seeds(contender), spread_text(values), _epochs(contender))
        if each := of_label.get(contender.label):
            bca = interval_text(each.tuned.bca, signed=True)
            rows.append((*row, *_compared(each.tuned), bca, each.outcome or "no verdict"))
        else:
            rows.append((*row, *([NOTHING] * 5)))
    metric = arrow(problem.metric, problem.greater_is_better)
    header = ("loss", "learning rate", "seeds", metric, "best epoch", "advantage", "95 % interval", "p", "95 % BCa")
    return Table((*header, "outcome"), tuple(rows))


def equal_epochs(found: ProblemAnalysis) -> Table | None:
    """Each loss after as many epochs as the baseline needed for its best; None where there is nothing to compare."""
    problem, base = found.problem, found.problem.baseline
    if base is None or not found.comparisons:
        return None
    rows = [
        (
            each.contender.label,
            spread_text(list(each.contender.values_at_epochs_of(base, problem.part).values())),
            *_compared(each.equal_epochs),
        )
        for each in found.comparisons
    ]
    metric = arrow(problem.metric, problem.greater_is_better)
    header = ("loss", f"{metric} at {base.label}'s best epoch", "advantage", "95 % interval", "p")
    return Table(header, tuple(rows))


def metrics(found: ProblemAnalysis) -> Table | None:
    """The other metrics at the same epochs, as mean ± standard deviation; None where there are none."""
    names = [name for name in found.problem.metrics[1:] if name not in CALIBRATION]
    rows = tuple(
        (c.label, *(spread_text(list(c.values(found.problem.part, name).values())) for name in names))
        for c in found.problem.contenders
    )
    return Table(("loss", *map(arrow, names)), rows) if names else None


def calibration(found: ProblemAnalysis) -> Table | None:
    """Calibration by each loss's own link, and calibrated; a row per measure. None where it was not measured."""
    of_label = {c.contender.label: c for c in found.comparisons}
    rows = []
    for name in (name for name in CALIBRATION if name in found.problem.metrics):
        for contender in found.problem.contenders:
            each = of_label.get(contender.label)
            compared = _compared(each.calibration[name]) if each and name in each.calibration else (NOTHING,) * 3
            values = list(contender.values(found.problem.part, name).values())
            rows.append((contender.label, arrow(name), spread_text(values), *compared))
    return (
        Table(("loss", "measure", "value", "advantage", "95 % interval", "p"), tuple(rows), names=2) if rows else None
    )


def spread(found: ProblemAnalysis) -> Table:
    """How much the metric differs between seeds."""
    of_label = {c.contender.label: c.spread for c in found.comparisons}
    rows = []
    for contender in found.problem.contenders:
        values, ratio = list(contender.values(found.problem.part).values()), of_label.get(contender.label)
        deviation = number(stdev(values)) if len(values) > 1 else NOTHING
        figures = (number(ratio.ratio, digits=2), interval_text(ratio.interval, digits=2)) if ratio else (NOTHING,) * 2
        rows.append((contender.label, deviation, *figures))
    return Table(("loss", "deviation over seeds", "ratio to baseline", "95 % interval"), tuple(rows))


def cost(found: ProblemAnalysis) -> Table:
    """Time and memory of a run."""
    of_label = {c.contender.label: c for c in found.comparisons}
    rows = []
    for contender in found.problem.contenders:
        each = of_label.get(contender.label)
        seconds, overhead, memory = (
            list(contender.measured(name).values()) for name in ("seconds", "overhead_seconds", "peak_memory_mb")
        )
        rows.append(
            (
                contender.label,
                f"{fmean(seconds):.1f}" if seconds else NOTHING,
                number(each.seconds_ratio, digits=2) if each else NOTHING,
                f"{fmean(overhead):.1f}" if overhead else NOTHING,
                f"{fmean(memory):.0f}" if memory else NOTHING,
                number(each.memory_ratio, digits=2) if each else NOTHING,
            )
        )
    titles = ("seconds", "times baseline", "seconds beside training", "peak memory, MiB", "times baseline")
    return Table(("loss", *titles), tuple(rows))


def tuning(found: ProblemAnalysis) -> Table:
    """The mean best value on validation by learning rate; the chosen one is marked."""
    contenders = found.problem.contenders
    rates = sorted({rate for c in contenders for rate in c.tuning})

    def cell(contender: Contender, rate: float) -> str:
        if rate not in contender.tuning:
            return NOTHING
        value = contender.tuning[rate]
        return ("diverged" if value is None else number(value)) + (" ✓" if rate == contender.learning_rate else "")

    rows = tuple((c.label, str(len(c.tuning_seeds)), *(cell(c, rate) for rate in rates)) for c in contenders)
    return Table(("loss", "tuning seeds", *(f"{rate:g}" for rate in rates)), rows)


def over_tasks(analysis: Analysis) -> Table | None:
    """Every loss against the baseline over all tasks; None with one task."""
    if len(analysis.tasks) < 2:
        return None
    rows = []
    for name, pooled in _pooled_rows(analysis):
        counts = (pooled.wins, pooled.ties, pooled.losses, pooled.undecided)
        row: Row = (name, *map(str, counts))
        if mean := pooled.advantage:
            bounds = (interval_text(each, signed=True, digits=2) for each in (mean.interval, mean.bootstrap))
            size = number(mean.mean, signed=True, digits=2)
            rows.append((*row, str(mean.tasks), size, *bounds, probability(mean.p_value)))
        else:
            rows.append((*row, "0", *([NOTHING] * 4)))
    header = ("loss", "better", "tie", "worse", "no verdict", "tasks", "advantage, SD")
    return Table((*header, "95 % interval", "95 % bootstrap", "p, Wilcoxon"), tuple(rows))


def ratios_over_tasks(analysis: Analysis) -> Table | None:
    """Spread over seeds and training time over all tasks; None with one task."""
    if len(analysis.tasks) < 2:
        return None
    rows = []
    for name, pooled in _pooled_rows(analysis):
        row: Row = (name,)
        for ratio in (pooled.spread, pooled.seconds):
            figures = (number(ratio.ratio, digits=2), interval_text(ratio.interval, digits=2)) if ratio else None
            row += figures or (NOTHING, NOTHING)
        rows.append(row)
    header = ("loss", "spread over seeds, ratio", "95 % interval", "seconds, ratio", "95 % interval")
    return Table(header, tuple(rows))


def calibration_over_tasks(analysis: Analysis) -> Table | None:
    """Advantages in calibration over all tasks, a row per loss and measure; None with one task or without any."""
    rows = []
    for name, pooled in _pooled_rows(analysis) if len(analysis.tasks) > 1 else ():
        for measure, mean in pooled.calibration.items():
            figures = (number(mean.mean, signed=True, digits=2), interval_text(mean.interval, signed=True, digits=2))
            rows.append((name, arrow(measure), str(mean.tasks), *figures, probability(mean.p_value)))
    header = ("loss", "measure", "tasks", "advantage, SD", "95 % interval", "p, Wilcoxon")
    return Table(header, tuple(rows), names=2) if rows else None


def _pooled_rows(analysis: Analysis) -> list[tuple[str, Pooled]]:
    """Name and figures of every loss, and of every share of label noise that several tasks have."""
    rows = list(analysis.pooled.items())
    for noise, of_label in analysis.noisy.items():
        tasks = {p.problem.task for p in analysis.problems if p.problem.label_noise == noise}
        shown = of_label.items() if len(tasks) > 1 else ()
        rows += [(f"{label}, {100 * noise:g} % label noise", pooled) for label, pooled in shown]
    return rows


def every_run(runs: Sequence[RunRecord]) -> Table:
    """One row per run, the failed ones too."""
    rows = []
    for run in runs:
        place = best_epoch(run)
        epoch = NOTHING if place is None else f"{run.epochs[place].epoch:g}"
        values = (number(value_at(run, place, part)) for part in ("validation", "test"))
        noise = f", {100 * run.label_noise:g} % label noise" if run.label_noise else ""
        status = run.status + (f": {run.error.strip().splitlines()[-1]}" if run.error and run.error.strip() else "")
        row = (run.task + noise, run.model, run.label, f"{run.learning_rate:g}", str(run.seed), epoch, *values)
        rows.append((*row, NOTHING if run.seconds is None else f"{run.seconds:.0f}", status))
    header = ("task", "model", "loss", "learning rate", "seed", "best epoch", "validation", "test", "seconds", "status")
    return Table(header, tuple(rows), names=3)


def settings_of_problems(analysis: Analysis, results: Results) -> list[tuple[str, Table]]:
    """Name of a problem -> what all of its runs share and other problems' do not."""
    found = []
    for each in analysis.problems:
        problem = each.problem
        runs = [r for r in results.runs if r.problem == (problem.task, problem.model, problem.label_noise)]
        own = {"model": problem.model} | shared([run.settings for run in runs])
        found.append((each.name, settings({n: v for n, v in own.items() if n not in results.settings})))
    return found


def settings(values: Mapping[str, Any]) -> Table:
    """Names and values; lists and objects as JSON."""
    rows = tuple((n, v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)) for n, v in values.items())
    return Table(("setting", "value"), rows, names=2)


def _compared(paired: PairedComparison) -> tuple[str, str, str]:
    """Mean advantage, its interval and the p-value."""
    return number(paired.mean, signed=True), interval_text(paired.interval, signed=True), probability(paired.p_value)


def _rate(contender: Contender) -> str:
    return NOTHING if contender.learning_rate is None else f"{contender.learning_rate:g}"


def _seeds(contender: Contender) -> str:
    diverged = f", {len(contender.diverged)} diverged" if contender.diverged else ""
    failed = f", {len(contender.failed)} failed" if contender.failed else ""
    return f"{len(contender.runs)}{diverged}{failed}"


def _epochs(contender: Contender) -> str:
    """Mean number of epochs until the best one."""
    places = {run.seed: best_epoch(run) for run in contender.runs.values()}
    epochs = [contender.runs[seed].epochs[place].epoch for seed, place in places.items() if place is not None]
    return f"{fmean(epochs):.3g}" if epochs else NOTHING


# What is shown of each problem, in this order.
OF_PROBLEM: tuple[tuple[str, Callable[[ProblemAnalysis], Table | None]], ...] = (
    ("Losses, each at its own best epoch", losses),
    ("After as many epochs as the baseline", equal_epochs),
    ("Other metrics", metrics),
    ("Calibration", calibration),
    ("Spread over seeds", spread),
    ("Time and memory of a run", cost),
    ("Learning rates, on validation", tuning),
)
