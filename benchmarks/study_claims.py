"""The claims of the study, and what the runs say of each: a verdict follows from intervals, and from nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_squareloss.comparison import (
    Analysis,
    Contender,
    PooledMean,
    Problem,
    ProblemAnalysis,
    Results,
    analyse,
    interval_text,
    merged_results,
    number,
    pooled_mean,
    probability,
    standardised_advantages,
)

SQUARE, PAPER = "square", "square, k = paper, M = paper"
MARGIN = 0.005  # of a metric from 0 to 1: what "as good" allows a loss to be worse by
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
# Whose validation parts the rule for "auto" was set on.
TUNED = {"sst2", "trec", "trec50", "banking77", "20newsgroups"}


@dataclass(frozen=True)
class Evidence:
    """What is measured of a claim.

    Attributes:
        figure: the estimate in words, without its interval.
        value, interval: the estimate and its 95 % interval; None where there are too few tasks.
        votes: number of sources that it is over.
        above: whether the claim is that the value is above `border`.
        agrees: the same in another unit, which must not have the other sign; None where there is none.
        p_value: of Wilcoxon's test, for information.
    """

    figure: str
    value: float | None
    interval: tuple[float, float] | None
    votes: int = 0
    above: bool = True
    border: float = 0.0
    agrees: float | None = None
    p_value: float | None = None

    @property
    def verdict(self) -> str:
        if self.interval is None or self.value is None:
            return "no figure yet"
        if self.interval[0] <= self.border <= self.interval[1]:
            return "undecided"
        is_above = self.interval[0] > self.border
        if self.agrees is not None and (self.agrees > 0) != is_above:
            return "undecided"
        return "supported" if is_above == self.above else "not supported"

    @property
    def cells(self) -> list[str]:
        """What a table shows of it."""
        value = number(self.value, signed=self.border <= 0, digits=2)
        return [self.figure, f"{value} [{interval(self.interval)}]", str(self.votes), probability(self.p_value)]


def claims(studies: Sequence[Results]) -> list[tuple[str, list[Evidence]]]:
    """Each claim with what is measured of it; advantages are of the square loss with "auto" over cross-entropy."""
    whole = whole_analysis(studies)
    plain = plain_problems(whole)
    heard = [p for p in plain if domain_of(p) in ("text", "speech")]
    untuned = [p for p in heard if p.problem.task not in TUNED]
    seen = [p for p in plain if domain_of(p) == "vision"]
    pooled = whole.pooled.get(SQUARE)
    spread = pooled.spread if pooled else None
    return [
        (
            "As good or better in text and speech",
            [
                _evidence("at most 0.5 points worse: points", points(heard, SQUARE), scale=100, border=-100 * MARGIN),
                in_deviations("better: SD", heard),
                in_deviations("better, without the sets that `auto` was set on: SD", untuned),
            ],
        ),
        ("Cross-entropy ahead in vision", [in_deviations("SD", seen, above=False)]),
        (
            "The same after as many epochs as cross-entropy needed",
            [
                _evidence("text and speech: SD", equal_epochs(heard)),
                _evidence("vision: SD", equal_epochs(seen), above=False),
            ],
        ),
        (
            "Depends less on the seed",
            [
                Evidence(
                    "ratio of deviations over seeds",
                    spread.ratio if spread else None,
                    spread.interval if spread else None,
                    spread.tasks if spread else 0,
                    above=False,
                    border=1.0,
                )
            ],
        ),
        (
            "Better calibrated through its own link",
            [
                _evidence("Brier score: points", measured(plain, "brier"), scale=100),
                _evidence("negative log-likelihood: 0.01 nats", measured(plain, "nll"), scale=100),
                _evidence("calibration error, bins of equal mass: points", mass_errors(plain), scale=100),
            ],
        ),
        (
            "`auto` is better than the paper's k and M, where they differ",
            [
                in_deviations("sets that `auto` was set on: SD", [p for p in plain if p.problem.task in TUNED], PAPER),
                in_deviations("the others: SD", [p for p in plain if p.problem.task not in TUNED], PAPER),
            ],
        ),
        (
            "Loses less than cross-entropy by wrong training labels",
            [
                _evidence(f"{100 * share:g} % of them wrong: points", robustness(whole, share), scale=100)
                for share in sorted({p.problem.label_noise for p in whole.problems} - {0.0})
            ]
            or [Evidence("points", None, None)],
        ),
    ]


def in_deviations(
    figure: str, problems: Sequence[ProblemAnalysis], over: str | None = None, *, above: bool = True
) -> Evidence:
    """The standardised advantage, which the one in points must not contradict."""
    other = points(problems, SQUARE, over)
    return _evidence(figure, advantage(problems, SQUARE, over), above=above, agrees=other.mean if other else None)


def _evidence(figure: str, mean: PooledMean | None, *, scale: float = 1.0, **options: Any) -> Evidence:
    if mean is None:
        return Evidence(figure, None, None, **options)
    bounds = mean.interval and (scale * mean.interval[0], scale * mean.interval[1])
    return Evidence(figure, scale * mean.mean, bounds, mean.tasks, p_value=mean.p_value, **options)


# ---- over tasks -----------------------------------------------------------------------------------------------------
def advantage(problems: Sequence[ProblemAnalysis], label: str, over: str | None = None) -> PooledMean | None:
    """The mean standardised advantage of a loss over another one, cross-entropy by default."""

    def standardised(own: Contender, other: Contender, problem: Problem) -> Any:
        values, reference = own.values(problem.part), other.values(problem.part)
        return standardised_advantages(values, reference, greater_is_better=problem.greater_is_better)

    return _pooled(problems, label, over, standardised)


def equal_epochs(problems: Sequence[ProblemAnalysis]) -> PooledMean | None:
    """The same of the square loss after as many epochs as cross-entropy needed for its best."""

    def standardised(own: Contender, other: Contender, problem: Problem) -> Any:
        values = own.values_at_epochs_of(other, problem.part)
        reference = other.values(problem.part)
        return standardised_advantages(values, reference, greater_is_better=problem.greater_is_better)

    return _pooled(problems, SQUARE, None, standardised)


def points(problems: Sequence[ProblemAnalysis], label: str, over: str | None = None) -> PooledMean | None:
    """The mean advantage over another loss in units of each task's metric, accuracies and error rates alike."""

    def differences(own: Contender, other: Contender, problem: Problem) -> list[float]:
        return list(_by_seed(own, other, problem).values())

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


def _by_seed(own: Contender, other: Contender, problem: Problem) -> dict[int, float]:
    """Seed -> the advantage of one loss over another in units of the metric."""
    values, reference = own.values(problem.part), other.values(problem.part)
    seeds = sorted(values.keys() & reference.keys())
    differences = _differences(values, reference, 1 if problem.greater_is_better else -1)
    return dict(zip(seeds, differences, strict=True))


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
            sources.setdefault(SOURCES.get(problem.task, problem.task), []).append(each)
    return pooled_mean(list(sources.values()))


# ---- problems -------------------------------------------------------------------------------------------------------
def whole_analysis(studies: Sequence[Results], name: str = "the study") -> Analysis:
    return analyse(merged_results(studies, name), sources=SOURCES)


def plain_problems(whole: Analysis) -> list[ProblemAnalysis]:
    """Those without label noise."""
    return [p for p in whole.problems if p.problem.label_noise == 0]


def domain_of(found: ProblemAnalysis) -> str:
    run = next(iter(found.problem.contenders[0].runs.values()))
    return DOMAINS[run.settings["script"]]


def interval(found: tuple[float, float] | None) -> str:
    return interval_text(found, signed=found is not None and found[0] < 0, digits=2)


def at_an_edge(problems: Sequence[ProblemAnalysis]) -> list[str]:
    """Problem and loss where the chosen learning rate is the smallest or largest that was tried."""
    return [
        f"{found.name}, {contender.label} ({contender.learning_rate:g})"
        for found in problems
        for contender in found.problem.contenders
        if len(contender.tuning) > 2 and contender.learning_rate in (min(contender.tuning), max(contender.tuning))
    ]
