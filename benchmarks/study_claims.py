"""The claims of the study, and what the runs say of each: a verdict follows from intervals, and from nothing else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from render_language import budget_of, budgets, of_chosen_rate, of_method
from scipy.stats import t
from study_figures import (
    PAPER,
    SQUARE,
    TUNED,
    advantage,
    domain_of,
    mass_errors,
    measured,
    plain_problems,
    points,
    robustness,
    source_of,
    whole_analysis,
)

from hf_squareloss.comparison import (
    PooledMean,
    ProblemAnalysis,
    Results,
    interval_text,
    number,
    paired_comparison,
    probability,
)

MANY = 1000  # votes: beyond, how many more makes no difference
MARGIN = 0.005  # of a metric from 0 to 1: what "as good" allows a loss to be worse by


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
            return "no figure yet" if self.value is None else "one source, no interval"
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
        cells = [self.figure, f"{value} [{interval(self.interval)}]", str(self.votes), probability(self.p_value)]
        needed = self.votes_to_decide
        few = "" if needed is None else f"{needed:,}" if needed <= MANY else f"more than {MANY:,}"
        where = " on this set" if self.votes == 1 and self.interval else ""
        return [*cells, f"{self.verdict}{where}", few]

    @property
    def votes_to_decide(self) -> int | None:
        """How many votes would leave the border out of the interval, if mean and deviation over votes stayed.

        The smallest n with t(n - 1) s / sqrt(n) < |mean - border|, s from the interval's width; of a ratio, in
        logarithms. None where an interval decides already, or none can; MANY + 1 where more than MANY are needed.
        """
        if self.value is None or self.interval is None or self.votes < 2:
            return None
        if not self.interval[0] <= self.border <= self.interval[1]:
            return None
        low, value, high, border = (
            math.log(each) if self.is_ratio else each
            for each in (self.interval[0], self.value, self.interval[1], self.border)
        )
        deviation = (high - low) / 2 * math.sqrt(self.votes) / float(t.ppf(0.975, self.votes - 1))
        more = range(self.votes + 1, MANY + 1)
        return next((n for n in more if t.ppf(0.975, n - 1) * deviation / math.sqrt(n) < abs(value - border)), MANY + 1)

    @property
    def is_ratio(self) -> bool:
        return self.border == 1.0


def claims(
    studies: Sequence[Results], large_vocabulary: Mapping[str, Any] | None = None
) -> list[tuple[str, list[Evidence]]]:
    """Each claim with what is measured of it; advantages are of the square loss with "auto" over cross-entropy.

    `large_vocabulary` is what language_modeling.py wrote.
    """
    whole = whole_analysis(studies)
    plain = plain_problems(whole)
    heard = [p for p in plain if domain_of(p) in ("text", "speech")]
    untuned = [p for p in heard if source_of(p) not in TUNED]
    seen = [p for p in plain if domain_of(p) == "vision"]
    pooled = whole.pooled.get(SQUARE)
    spread = pooled.spread if pooled else None
    return [
        (
            "As good or better in text and speech",
            [
                as_good("at most 0.5 points worse: points", heard),
                in_deviations("better: SD", heard),
                in_deviations("better, without the sets that `auto` was set on: SD", untuned),
            ],
        ),
        ("Cross-entropy ahead in vision", [in_deviations("SD", seen, above=False)]),
        (
            "The same after as many epochs as cross-entropy needed",
            [
                as_good("text and speech, at most 0.5 points worse: points", heard, equal_epochs=True),
                in_deviations("text and speech, better: SD", heard, equal_epochs=True),
                in_deviations("vision: SD", seen, above=False, equal_epochs=True),
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
                in_measure("Brier score: points", plain, "brier"),
                in_measure("negative log-likelihood: 0.01 nats", plain, "nll"),
                _evidence("calibration error, bins of equal mass: points", mass_errors(plain), scale=100),
            ],
        ),
        (
            "Better calibrated with the one number T that models are saved with",
            [
                in_measure("Brier score: points", plain, "calibrated_brier"),
                in_measure("negative log-likelihood: 0.01 nats", plain, "calibrated_nll"),
                in_measure("calibration error, bins of equal width: points", plain, "calibrated_ece"),
            ],
        ),
        (
            "`auto` is better than the paper's k and M, where they differ",
            [
                in_deviations("sets that `auto` was set on: SD", [p for p in plain if source_of(p) in TUNED], PAPER),
                in_deviations("the others: SD", [p for p in plain if source_of(p) not in TUNED], PAPER),
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
        (
            "With a large vocabulary it does more in the same time",
            in_equal_time(large_vocabulary) if large_vocabulary else [Evidence("points", None, None)],
        ),
    ]


def in_equal_time(results: Mapping[str, Any]) -> list[Evidence]:
    """Of every budget of time: next words named right, and perplexity of softmax(T f), over the seeds of one set."""
    measures = {"next words right: points": lambda test: 100 * test["accuracy"]}
    measures["logarithm of the perplexity: 0.01 nats"] = lambda test: -100 * math.log(test["calibrated"])
    found = []
    for budget in [each for each in budgets(results["runs"]) if each[0] == "equal_time"]:
        runs = [run for run in results["runs"] if budget_of(run) == budget]
        own, other = of_method(runs, SQUARE), of_method(runs, "cross_entropy")
        if {run["key"]["learning_rate"] for run in own} != {run["key"]["learning_rate"] for run in other}:
            raise ValueError(f"{budget}: both losses must be tuned over the same learning rates")
        chosen = [{run["key"]["seed"]: run["test"] for run in of_chosen_rate(each)} for each in (own, other)]
        for figure, measure in measures.items():
            values, reference = ({seed: measure(test) for seed, test in tests.items()} for tests in chosen)
            compared = paired_comparison(values, reference, greater_is_better=True)
            where = f"time of {budget[1]:,} steps, {len(compared.seeds)} seeds of a set that `auto` was looked for on"
            found.append(Evidence(f"{where}, {figure}", compared.mean, compared.interval, votes=1))
    return found


def as_good(figure: str, problems: Sequence[ProblemAnalysis], *, equal_epochs: bool = False) -> Evidence:
    """Whether the square loss is worse by less than the margin."""
    mean = points(problems, SQUARE, equal_epochs=equal_epochs)
    return _evidence(figure, mean, scale=100, border=-100 * MARGIN)


def in_deviations(
    figure: str,
    problems: Sequence[ProblemAnalysis],
    over: str | None = None,
    *,
    above: bool = True,
    equal_epochs: bool = False,
) -> Evidence:
    """The standardised advantage, which the one in points must not contradict."""
    other = points(problems, SQUARE, over, equal_epochs=equal_epochs)
    mean = advantage(problems, SQUARE, over, equal_epochs=equal_epochs)
    return _evidence(figure, mean, above=above, agrees=other.mean if other else None)


def in_measure(figure: str, problems: Sequence[ProblemAnalysis], name: str, *, scale: float = 100) -> Evidence:
    """The advantage in a measure of calibration, times `scale`."""
    return _evidence(figure, measured(problems, name), scale=scale)


def _evidence(figure: str, mean: PooledMean | None, *, scale: float = 1.0, **options: Any) -> Evidence:
    if mean is None:
        return Evidence(figure, None, None, **options)
    bounds = mean.interval and (scale * mean.interval[0], scale * mean.interval[1])
    p_value = None if options.get("border") else mean.p_value  # it is of zero
    return Evidence(figure, scale * mean.mean, bounds, mean.tasks, p_value=p_value, **options)


def interval(found: tuple[float, float] | None) -> str:
    return interval_text(found, signed=found is not None and found[0] < 0, digits=2)
