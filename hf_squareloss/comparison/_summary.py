"""The rows that examples/compare_losses.py shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

METRICS = ("accuracy", "f1", "matthews_correlation", "pearson", "ece", "nll", "cer", "wer")


@dataclass(frozen=True)
class Row:
    """One loss at the learning rate chosen for it.

    Attributes:
        values: metric -> one value per seed, in the order of `seeds`.
        seconds: training time per seed, in seconds.
        p_value: two-sided paired t-test of the first metric over the seeds against the first loss; None for that loss,
            with fewer than two common seeds, or when all differences are the same.
        interval: the 95 % confidence interval of the mean difference that it tests, this loss less the first; None
            where the p-value is.
    """

    loss: str
    learning_rate: float
    seeds: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    seconds: tuple[float, ...]
    p_value: float | None
    interval: tuple[float, float] | None


def metric_of(results: Mapping[str, Any]) -> str:
    """The metric that a comparison was made for, which chose its learning rates."""
    return results.get("metric", METRICS[0])


def summary(results: Mapping[str, Any], part: str | None = None) -> list[Row]:
    """One `Row` per loss, from the runs at the chosen learning rate.

    Args:
        results: as read by `read_results`.
        part: "validation" or "test"; None takes test where every chosen run has it.
    """
    chosen = {
        loss: sorted(
            (r for r in results["runs"] if r["loss"] == loss and r["learning_rate"] == rate), key=lambda r: r["seed"]
        )
        for loss, rate in results["chosen"].items()
    }
    runs = [run for group in chosen.values() for run in group]
    part = part or ("test" if all("test" in run for run in runs) else "validation")
    wanted = dict.fromkeys((metric_of(results), *METRICS))
    names = [name for name in wanted if all(name in run[part] for run in runs)]
    rows: list[Row] = []
    for loss, group in chosen.items():
        values = {name: tuple(run[part][name] for run in group) for name in names}
        seeds = tuple(run["seed"] for run in group)
        p_value, interval = None, None
        if rows and names and seeds == rows[0].seeds:
            p_value, interval = _paired_test(rows[0].values[names[0]], values[names[0]])
        seconds = tuple(run["seconds"] for run in group)
        rows.append(Row(loss, results["chosen"][loss], seeds, values, seconds, p_value, interval))
    return rows


def spread(values: tuple[float, ...] | list[float], digits: int = 4) -> str:
    """Mean and standard deviation over the seeds: "0.8123 ± 0.0040"."""
    deviation = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{deviation}"


def _paired_test(
    first: tuple[float, ...], second: tuple[float, ...]
) -> tuple[float, tuple[float, float]] | tuple[None, None]:
    """The p-value of the t-test of paired differences and their mean's 95 % interval."""
    from scipy.stats import ttest_rel

    differences = {round(a - b, 12) for a, b in zip(first, second, strict=True)}
    if len(first) < 2 or len(differences) < 2:
        return None, None
    result: Any = ttest_rel(second, first)
    interval = result.confidence_interval(0.95)
    return float(result.pvalue), (float(interval.low), float(interval.high))
