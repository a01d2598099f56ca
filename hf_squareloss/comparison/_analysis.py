"""The analysis of a study: every loss against the baseline on every problem, and over all tasks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from hf_squareloss.comparison._problems import Contender, Problem, baseline_label, problems, rank_of
from hf_squareloss.comparison._records import Results
from hf_squareloss.comparison._statistics import (
    Outcome,
    PairedComparison,
    PooledMean,
    PooledRatio,
    SpreadRatio,
    paired_comparison,
    pooled_mean,
    pooled_ratio,
    spread_ratio,
    standardised_advantages,
)
from hf_squareloss.metric_order import greater_is_better

CALIBRATION = ("ece", "brier", "nll", "calibrated_ece", "calibrated_brier", "calibrated_nll")


@dataclass(frozen=True)
class Comparison:
    """A loss against the baseline on one problem.

    Attributes:
        contender: the loss.
        outcome: that of `tuned`; None without an interval or where a run without any value is left out.
        tuned: the metric, each loss at its own best epoch.
        equal_epochs: the metric, the loss after as many epochs as the baseline needed for its best.
        calibration: ece, brier and nll, by the link and calibrated, where both were measured, each loss at its own best
            epoch.
        standardised: advantages per seed of `tuned` in standard deviations; None where nothing varies or a run without
            any value is left out.
        spread: of the metric over seeds, over that of the baseline; None as before.
        seconds_ratio, memory_ratio: geometric mean over common seeds of training time and peak memory over those of the
            baseline; None where they were not measured.
    """

    contender: Contender
    outcome: Outcome | None
    tuned: PairedComparison
    equal_epochs: PairedComparison
    calibration: Mapping[str, PairedComparison]
    standardised: tuple[float, ...] | None
    spread: SpreadRatio | None
    seconds_ratio: float | None
    memory_ratio: float | None


@dataclass(frozen=True)
class ProblemAnalysis:
    """A problem and its losses against the baseline; none where there is no baseline."""

    name: str
    problem: Problem
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Pooled:
    """A loss against the baseline over all tasks, each with one vote, however many models it has.

    A problem in which a run has no value is left out of means and ratios.

    Attributes:
        wins, ties, losses, undecided: numbers of problems; undecided are those without an interval, by one seed or
            because seeds do not differ, and those where a run without any value is left out.
        advantage: of `Comparison.standardised`; None where no problem has one.
        calibration: the same of ece, brier and nll.
        spread, seconds: geometric means of the ratios to the baseline.
    """

    label: str
    wins: int
    ties: int
    losses: int
    undecided: int
    advantage: PooledMean | None
    calibration: Mapping[str, PooledMean]
    spread: PooledRatio | None
    seconds: PooledRatio | None


@dataclass(frozen=True)
class Analysis:
    """What a study says.

    Attributes:
        title: the study's name.
        baseline: label of the loss that the others are compared to.
        main: label of the loss that the verdict is about: the square loss with the fewest parameters, else the first
            beside the baseline; None where there is no other loss.
        labels: every loss, the baseline first and the main one next.
        problems: in the order of the runs.
        pooled: label -> figures over all tasks, without label noise (or with the least there is).
        noisy: label noise -> label -> the same with so much noise: another question, so it is not averaged in.
    """

    title: str
    baseline: str
    main: str | None
    labels: tuple[str, ...]
    problems: tuple[ProblemAnalysis, ...]
    pooled: Mapping[str, Pooled]
    noisy: Mapping[float, Mapping[str, Pooled]]

    @property
    def pooled_problems(self) -> tuple[ProblemAnalysis, ...]:
        """The problems that `pooled` is about."""
        least = min(p.problem.label_noise for p in self.problems)
        return tuple(p for p in self.problems if p.problem.label_noise == least)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Their tasks."""
        return tuple(dict.fromkeys(p.problem.task for p in self.pooled_problems))


def analyse(results: Results, baseline: str | None = None, *, sources: Mapping[str, str] | None = None) -> Analysis:
    """Compare every loss of a study with the baseline, by problem and over tasks.

    Args:
        results: as `read_results` gives them.
        baseline: label of the loss that others are compared to; cross-entropy by default, the one with the fewest
            parameters, or the first label where there is none.
        sources: task -> name of the data that it is cut from; tasks of one source share one vote in `pooled`.

    Raises:
        ValueError: runs that cannot be compared, or a baseline that no run has.
    """
    found = problems(results.runs, baseline)
    baseline = baseline or baseline_label(results.runs)
    models = {problem.task: {p.model for p in found if p.task == problem.task} for problem in found}
    analysed = tuple(_analysed(problem, len(models[problem.task]) > 1) for problem in found)
    others = [run for run in results.runs if run.label != baseline]
    labels = dict.fromkeys(run.label for run in sorted(others, key=rank_of))
    main = next(iter(labels), None)
    least, *noise = sorted({problem.label_noise for problem in found})
    of_noise = {level: [p for p in analysed if p.problem.label_noise == level] for level in (least, *noise)}
    noisy = {level: _pooled_losses(labels, of_noise[level], sources or {}) for level in noise}
    pooled = _pooled_losses(labels, of_noise[least], sources or {})
    return Analysis(results.title, baseline, main, (baseline, *labels), analysed, pooled, noisy)


def _pooled_losses(
    labels: Iterable[str], analysed: Sequence[ProblemAnalysis], sources: Mapping[str, str]
) -> dict[str, Pooled]:
    compared = {c.contender.label for p in analysed for c in p.comparisons}
    return {label: _pooled(label, analysed, sources) for label in labels if label in compared}


def _analysed(problem: Problem, several_models: bool) -> ProblemAnalysis:
    words = [problem.task, *([problem.model] if several_models else [])]
    words += [f"{100 * problem.label_noise:g} % label noise"] if problem.label_noise else []
    base = problem.baseline
    others = [c for c in problem.contenders if base is not None and c.label != base.label]
    return ProblemAnalysis(", ".join(words), problem, tuple(_compared(problem, c, base) for c in others if base))


def _compared(problem: Problem, contender: Contender, baseline: Contender) -> Comparison:
    part, better = problem.part, problem.greater_is_better
    own, reference = contender.values(part), baseline.values(part)
    calibration = {
        name: paired_comparison(contender.values(part, name), baseline.values(part, name), greater_is_better=False)
        for name in CALIBRATION
        if contender.values(part, name) and baseline.values(part, name)
    }
    common = own.keys() & reference.keys()
    tuned = paired_comparison(own, reference, greater_is_better=better)
    complete = len(own) == len(contender.runs) and len(reference) == len(baseline.runs)
    return Comparison(
        contender=contender,
        outcome=tuned.outcome if complete else None,
        tuned=tuned,
        equal_epochs=paired_comparison(
            contender.values_at_epochs_of(baseline, part), reference, greater_is_better=better
        ),
        calibration=calibration,
        standardised=standardised_advantages(own, reference, greater_is_better=better) if complete else None,
        spread=spread_ratio([own[s] for s in sorted(common)], [reference[s] for s in sorted(common)])
        if complete
        else None,
        seconds_ratio=_ratio(contender.measured("seconds"), baseline.measured("seconds")),
        memory_ratio=_ratio(contender.measured("peak_memory_mb"), baseline.measured("peak_memory_mb")),
    )


def _ratio(own: Mapping[int, float], reference: Mapping[int, float]) -> float | None:
    logs = [math.log(own[s] / reference[s]) for s in own.keys() & reference.keys() if own[s] > 0 and reference[s] > 0]
    return math.exp(fmean(logs)) if logs else None


def _pooled(label: str, analysed: Sequence[ProblemAnalysis], sources: Mapping[str, str]) -> Pooled:
    found = [(p.problem, c) for p in analysed for c in p.comparisons if c.contender.label == label]
    outcomes = [comparison.outcome for _, comparison in found]

    def by_task(value: Callable[[Problem, Comparison], Any]) -> list[list[Any]]:
        """One list of values for each task that has any."""
        tasks: dict[str, list[Any]] = defaultdict(list)
        for problem, comparison in found:
            if (each := value(problem, comparison)) is not None:
                tasks[sources.get(problem.task, problem.task)].append(each)
        return list(tasks.values())

    calibration = {name: pooled_mean(by_task(_standardised_calibration(name))) for name in CALIBRATION}
    return Pooled(
        label=label,
        wins=outcomes.count("win"),
        ties=outcomes.count("tie"),
        losses=outcomes.count("loss"),
        undecided=outcomes.count(None),
        advantage=pooled_mean(by_task(lambda _, comparison: comparison.standardised)),
        calibration={name: mean for name, mean in calibration.items() if mean is not None},
        spread=pooled_ratio(by_task(lambda _, comparison: comparison.spread.ratio if comparison.spread else None)),
        seconds=pooled_ratio(by_task(lambda _, comparison: comparison.seconds_ratio)),
    )


def _standardised_calibration(name: str) -> Callable[[Problem, Comparison], tuple[float, ...] | None]:
    def standardised(problem: Problem, comparison: Comparison) -> tuple[float, ...] | None:
        if name not in comparison.calibration or problem.baseline is None:
            return None
        own, reference = (c.values(problem.part, name) for c in (comparison.contender, problem.baseline))
        return standardised_advantages(own, reference, greater_is_better=greater_is_better(name))

    return standardised
