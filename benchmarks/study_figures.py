"""The study's figures over tasks: advantages of a loss pooled over sources of data, each of which has one vote."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hf_squareloss.comparison import (
    Analysis,
    Contender,
    PooledMean,
    Problem,
    ProblemAnalysis,
    Results,
    analyse,
    merged_results,
    pooled_mean,
    standardised_advantages,
)

SQUARE, PAPER = "square", "square, k = paper, M = paper"
# The script that trains a task says which of the paper's domains it belongs to.
DOMAINS = {
    "run_glue.py": "text",
    "run_language_modeling.py": "text",
    "run_audio_classification.py": "speech",
    "run_speech_recognition_ctc.py": "speech",
    "run_image_classification.py": "vision",
}
# Tasks of the same rows or recordings have one vote together. SST-2 holds many of the sentences of the movie reviews.
SOURCES = {"trec50": "trec", "movie": "sst2", "fsdd_strings": "fsdd", "characters": "20newsgroups"}
# Whose validation parts the rules for "auto" were set on, or looked at for.
TUNED = {"sst2", "trec", "banking77", "20newsgroups", "an4"}


# ---- over tasks -----------------------------------------------------------------------------------------------------
def advantage(
    problems: Sequence[ProblemAnalysis], label: str, over: str | None = None, *, equal_epochs: bool = False
) -> PooledMean | None:
    """The mean standardised advantage of a loss over another one, cross-entropy by default.

    With `equal_epochs` the loss has been trained for as many epochs as the other one needed for its best.
    """

    def standardised(own: Contender, other: Contender, problem: Problem) -> Any:
        values, reference = _values(own, other, problem, equal_epochs)
        return standardised_advantages(values, reference, greater_is_better=problem.greater_is_better)

    return _pooled(problems, label, over, standardised)


def points(
    problems: Sequence[ProblemAnalysis], label: str, over: str | None = None, *, equal_epochs: bool = False
) -> PooledMean | None:
    """The same in units of each task's metric, accuracies and error rates alike."""

    def differences(own: Contender, other: Contender, problem: Problem) -> list[float]:
        return list(_by_seed(own, other, problem, equal_epochs).values())

    return _pooled(problems, label, over, differences)


def measured(problems: Sequence[ProblemAnalysis], name: str) -> PooledMean | None:
    """The mean advantage in a measure of calibration, of which less is better, in its own unit."""

    def differences(own: Contender, other: Contender, problem: Problem) -> list[float]:
        return _differences(own.values(problem.part, name), other.values(problem.part, name), -1)

    return _pooled(problems, SQUARE, None, differences)


def mass_errors(problems: Sequence[ProblemAnalysis]) -> PooledMean | None:
    """The mean advantage in calibration error by 15 bins of equal mass, from the runs' reliability diagrams."""

    def errors(contender: Contender, part: str) -> dict[int, float]:
        found = {seed: mass_error(run, part) for seed, run in contender.runs.items()}
        return {seed: error for seed, error in found.items() if error is not None}

    def differences(own: Contender, other: Contender, problem: Problem) -> list[float]:
        return _differences(errors(own, problem.part), errors(other, problem.part), -1)

    return _pooled(problems, SQUARE, None, differences)


def robustness(whole: Analysis, share: float) -> PooledMean | None:
    """How much less than cross-entropy the square loss loses by a share of wrong labels, in units of the metric."""
    without = {(p.problem.task, p.problem.model): p.problem for p in plain_problems(whole)}

    def differences(own: Contender, other: Contender, problem: Problem) -> list[float]:
        clean = {c.label: c for c in without[problem.task, problem.model].contenders}
        before = _by_seed(clean[own.label], clean[other.label], problem)
        return [advantage - before[seed] for seed, advantage in _by_seed(own, other, problem).items() if seed in before]

    noisy = [p for p in whole.problems if p.problem.label_noise == share]
    return _pooled([p for p in noisy if (p.problem.task, p.problem.model) in without], SQUARE, None, differences)


def _by_seed(own: Contender, other: Contender, problem: Problem, equal_epochs: bool = False) -> dict[int, float]:
    """Seed -> the advantage of one loss over another in units of the metric."""
    values, reference = _values(own, other, problem, equal_epochs)
    seeds = sorted(values.keys() & reference.keys())
    differences = _differences(values, reference, 1 if problem.greater_is_better else -1)
    return dict(zip(seeds, differences, strict=True))


def _values(
    own: Contender, other: Contender, problem: Problem, equal_epochs: bool
) -> tuple[dict[int, float], dict[int, float]]:
    values = own.values_at_epochs_of(other, problem.part) if equal_epochs else own.values(problem.part)
    return values, other.values(problem.part)


def _differences(values: Mapping[int, float], reference: Mapping[int, float], sign: int) -> list[float]:
    """In the order of the seeds that both have."""
    return [sign * (values[seed] - reference[seed]) for seed in sorted(values.keys() & reference.keys())]


def mass_error(run: Any, part: str) -> float | None:
    """sum_b (n_b / N) |accuracy_b - confidence_b| of a run's reliability diagram; None where it has none."""
    bins = (run.reliability or {}).get(part)
    if bins is None:
        return None
    filled = [each for each in zip(bins.count, bins.accuracy, bins.confidence, strict=True) if each[0]]
    return sum(n * abs(accuracy - confidence) for n, accuracy, confidence in filled) / sum(bins.count)


def _pooled(
    problems: Sequence[ProblemAnalysis],
    label: str,
    over: str | None,
    values: Callable[[Contender, Contender, Problem], Any],
) -> PooledMean | None:
    """`pooled_mean` over the sources of the values of each problem that has both losses, and all of their runs."""
    sources: dict[str, list[Any]] = {}
    for found in problems:
        problem = found.problem
        of_label = {contender.label: contender for contender in problem.contenders}
        own, other = of_label.get(label), problem.baseline if over is None else of_label.get(over)
        if own is None or other is None:
            continue
        if any(len(each.values(problem.part)) < len(each.runs) for each in (own, other)):
            continue  # a run without any value: the problem has no verdict either
        if each := values(own, other, problem):
            sources.setdefault(source_of(found), []).append(each)
    return pooled_mean(list(sources.values()))


# ---- problems -------------------------------------------------------------------------------------------------------
def whole_analysis(studies: Sequence[Results], name: str = "the study") -> Analysis:
    return analyse(merged_results(studies, name), sources=SOURCES)


def plain_problems(whole: Analysis) -> list[ProblemAnalysis]:
    """Those without label noise."""
    return [p for p in whole.problems if p.problem.label_noise == 0]


def source_of(found: ProblemAnalysis) -> str:
    """Whose rows or recordings a problem has."""
    return SOURCES.get(found.problem.task, found.problem.task)


def domain_of(found: ProblemAnalysis) -> str:
    run = next(iter(found.problem.contenders[0].runs.values()))
    return DOMAINS[run.settings["script"]]


def at_an_edge(problems: Sequence[ProblemAnalysis]) -> list[str]:
    """Problem and loss where the chosen learning rate is the smallest or largest that was tried."""
    return [
        f"{found.name}, {contender.label} ({contender.learning_rate:g})"
        for found in problems
        for contender in found.problem.contenders
        if len(contender.tuning) > 2 and contender.learning_rate in (min(contender.tuning), max(contender.tuning))
    ]
