"""The statistics of a comparison: differences paired by seed, spread over seeds, and both over several tasks.

An advantage is a difference to the baseline, counted so that a positive one is better, whichever way the metric counts.
Numbers in, numbers out; docs/statistics.md says why each of them was chosen and how often its interval errs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, Literal

Interval = tuple[float, float]
Outcome = Literal["win", "tie", "loss"]

CONFIDENCE = 0.95
FEW_SEEDS = 5  # below this, intervals are wide and the permutation test cannot reach 0.05
_RESAMPLES = 9_999
_DECIMALS = 12  # differences of metrics that agree so far are the same


@dataclass(frozen=True)
class PairedComparison:
    """Advantages of a loss over the baseline, one per seed that both have.

    Attributes:
        seeds: the seeds, in order.
        advantages: one per seed, in the metric's units; positive is better.
        mean: their mean; None without a seed.
        interval: Student's 95 % interval of the mean; None with one seed or where all advantages are the same.
        bca: the 95 % BCa bootstrap interval, too narrow below about 20 seeds; None where `interval` is.
        p_value: two-sided, of the exact sign-flip permutation test; at least 2 / 2^seeds.
        outcome: "win" or "loss" where the interval lies on one side of zero, "tie" where it holds zero or all
            advantages are zero, None where there is no interval.
    """

    seeds: tuple[int, ...]
    advantages: tuple[float, ...]
    mean: float | None
    interval: Interval | None
    bca: Interval | None
    p_value: float | None
    outcome: Outcome | None


def paired_comparison(
    values: dict[int, float], baseline: dict[int, float], *, greater_is_better: bool
) -> PairedComparison:
    """Compare two losses seed by seed.

    a_s = +-(value_s - baseline_s), mean = (1/n) sum_s a_s, interval = mean +- t_{0.975, n-1} sd(a) / sqrt(n)

    Args:
        values: seed -> value of the loss.
        baseline: seed -> value of the baseline; seeds that only one of them has do not count.
        greater_is_better: gives the sign.

    Source: Student, Biometrika 6, 1908 (interval); Efron, JASA 82, 1987 (BCa); Fisher, The Design of Experiments, 1935,
    section 21 (sign flips).

    Example:
        >>> found = paired_comparison({0: 0.8, 1: 0.9}, {0: 0.75, 1: 0.8}, greater_is_better=True)
        >>> f"{found.mean:.3f} {found.p_value}"
        '0.075 0.5'
    """
    seeds = tuple(sorted(values.keys() & baseline.keys()))
    sign = 1.0 if greater_is_better else -1.0
    advantages = tuple(round(sign * (values[seed] - baseline[seed]), _DECIMALS) for seed in seeds)
    interval = mean_interval(advantages)
    return PairedComparison(
        seeds=seeds,
        advantages=advantages,
        mean=fmean(advantages) if advantages else None,
        interval=interval,
        bca=bca_interval(advantages),
        p_value=sign_flip_p_value(advantages),
        outcome=_outcome(advantages, interval),
    )


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Student's 95 % interval of the mean; None with fewer than two values or where all are the same."""
    if not _vary(values):
        return None
    from scipy.stats import t

    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def bca_interval(values: Sequence[float]) -> Interval | None:
    """The 95 % BCa bootstrap interval of the mean, the same for the same values; None as for `mean_interval`.

    Source: Efron, Better Bootstrap Confidence Intervals, JASA 82, 1987; by scipy.stats.bootstrap.
    """
    if not _vary(values):
        return None
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (list(values),),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=_RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return (float(found.low), float(found.high)) if math.isfinite(found.low + found.high) else None


def sign_flip_p_value(advantages: Sequence[float]) -> float | None:
    """How often a random sign for each advantage gives a mean as far from zero; None with fewer than two values.

    p = #{s in {-1, 1}^n : |sum_i s_i a_i| >= |sum_i a_i|} / 2^n

    All 2^n signs count for n <= 13; beyond, 9,999 of them drawn at random.
    """
    if len(advantages) < 2:
        return None
    import numpy as np
    from scipy.stats import permutation_test

    result: Any = permutation_test(
        (list(advantages),),
        np.mean,
        permutation_type="samples",
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(result.pvalue)


@dataclass(frozen=True)
class SpreadRatio:
    """The standard deviation over seeds of a loss, over that of the baseline; below one: the loss varies less.

    Attributes:
        ratio: s / s_baseline.
        interval: its 95 % interval were both normal and independent: sqrt of s^2 / s_baseline^2 over quantiles of F.
    """

    ratio: float
    interval: Interval


def spread_ratio(values: Sequence[float], baseline: Sequence[float]) -> SpreadRatio | None:
    """The ratio of two standard deviations; None with fewer than two values or where either does not vary.

    ratio = s / s_0, interval = [ratio / sqrt(F_{0.975}), ratio / sqrt(F_{0.025})]

    F has n - 1 and n_0 - 1 degrees of freedom. Deviations paired by seed are not independent, which makes it too wide.

    Source: Snedecor and Cochran, Statistical Methods, section on the comparison of two variances.
    """
    if not _vary(values) or not _vary(baseline):
        return None
    from scipy.stats import f

    ratio, freedom = stdev(values) / stdev(baseline), (len(values) - 1, len(baseline) - 1)
    high, low = (float(f.ppf(0.5 + side * CONFIDENCE / 2, *freedom)) for side in (1, -1))
    return SpreadRatio(ratio, (ratio / math.sqrt(high), ratio / math.sqrt(low)))


def standardised_advantages(
    values: dict[int, float], baseline: dict[int, float], *, greater_is_better: bool
) -> tuple[float, ...] | None:
    """Advantages per seed in standard deviations over seeds, without the bias of few seeds; their mean is Hedges' g.

    g_s = J a_s / sqrt((s^2 + s_0^2) / 2), J = 1 - 3 / (4 (2n - 2) - 1), s and s_0 over the n seeds that both have

    None with fewer than two common seeds or where neither loss varies.

    Source: Hedges, Journal of Educational Statistics 6, 1981, with its approximation of J.
    """
    seeds = sorted(values.keys() & baseline.keys())
    own, other = [values[seed] for seed in seeds], [baseline[seed] for seed in seeds]
    if not _vary(own) and not _vary(other):
        return None
    scale = math.sqrt((stdev(own) ** 2 + stdev(other) ** 2) / 2)
    unbiased = 1 - 3 / (4 * (2 * len(seeds) - 2) - 1)
    sign = 1.0 if greater_is_better else -1.0
    return tuple(sign * unbiased * (a - b) / scale for a, b in zip(own, other, strict=True))


@dataclass(frozen=True)
class PooledMean:
    """A mean over tasks.

    Attributes:
        tasks: number of tasks with a value.
        mean: over the tasks.
        interval: Student's 95 % interval over the tasks' means, whose scatter holds that of tasks and of seeds; None
            with one task.
        bootstrap: the 95 % percentile interval when tasks and, within them, seeds are resampled; None with one task.
        p_value: two-sided, of Wilcoxon's signed-rank test over the tasks; at least 2 / 2^tasks.
    """

    tasks: int
    mean: float
    interval: Interval | None
    bootstrap: Interval | None
    p_value: float | None


def pooled_mean(tasks: Sequence[Sequence[Sequence[float]]]) -> PooledMean | None:
    """The mean over tasks of the mean over a task's problems of the mean over seeds.

    Args:
        tasks: for each task, for each of its problems (models, label noise), one value per seed.

    Returns:
        None without a task.

    Source: Wilcoxon, Biometrics Bulletin 1, 1945; Demsar, JMLR 7, 2006 (which tests fit comparisons over data sets).
    """
    if not tasks:
        return None
    means = [fmean(fmean(problem) for problem in task) for task in tasks]
    interval = mean_interval(means)
    return PooledMean(
        tasks=len(means),
        mean=fmean(means),
        interval=interval,
        bootstrap=_two_stage_bootstrap(tasks) if interval else None,
        p_value=_wilcoxon(means),
    )


@dataclass(frozen=True)
class PooledRatio:
    """A geometric mean of ratios over tasks, with Student's 95 % interval of the mean logarithm; None with one task."""

    tasks: int
    ratio: float
    interval: Interval | None


def pooled_ratio(tasks: Sequence[Sequence[float]]) -> PooledRatio | None:
    """The geometric mean over tasks of the geometric mean over a task's problems; None without a task.

    ratio = exp((1/T) sum_t mean_p log ratio_tp), interval = exp of Student's interval of the T logarithms

    Args:
        tasks: for each task, one ratio per problem, all above zero.
    """
    if not tasks:
        return None
    logs = [fmean(math.log(ratio) for ratio in task) for task in tasks]
    interval = mean_interval(logs)
    bounds = (math.exp(interval[0]), math.exp(interval[1])) if interval else None
    return PooledRatio(len(logs), math.exp(fmean(logs)), bounds)


def _two_stage_bootstrap(tasks: Sequence[Sequence[Sequence[float]]]) -> Interval:
    import numpy as np

    generator = np.random.default_rng(0)
    # (tasks, resamples): each task's mean when its problems' seeds are drawn anew
    means = np.stack(
        [
            np.mean([generator.choice(problem, (_RESAMPLES, len(problem))).mean(1) for problem in task], axis=0)
            for task in tasks
        ]
    )
    drawn = generator.integers(0, len(tasks), means.shape)
    # A task that is drawn twice has other seeds each time.
    of_resample = generator.permuted(np.tile(np.arange(_RESAMPLES), (len(tasks), 1)), axis=1)
    low, high = np.quantile(means[drawn, of_resample].mean(0), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _wilcoxon(values: Sequence[float]) -> float | None:
    rounded = [round(value, _DECIMALS) for value in values]
    if len(values) < 2 or not any(rounded):
        return None
    from scipy.stats import wilcoxon

    result: Any = wilcoxon(rounded)
    return float(result.pvalue)


def _vary(values: Sequence[float]) -> bool:
    return len({round(value, _DECIMALS) for value in values}) > 1


def _outcome(advantages: Sequence[float], interval: Interval | None) -> Outcome | None:
    if interval is None:
        return "tie" if len(advantages) > 1 and not any(advantages) else None
    return "win" if interval[0] > 0 else "loss" if interval[1] < 0 else "tie"
