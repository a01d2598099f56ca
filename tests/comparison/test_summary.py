"""Statistics over seeds against their definitions."""

import math
from typing import Any

import pytest
import torch

from hf_squareloss.comparison import (
    METRICS,
    environment,
    metric_of,
    spread,
    summary,
)
from hf_squareloss.metric_order import greater_is_better


def run(loss: str, rate: float, seed: int, validation: float, test: float | None = None) -> dict[str, Any]:
    made = {"loss": loss, "learning_rate": rate, "seed": seed, "seconds": 10.0 + seed}
    made["validation"] = {"accuracy": validation, "ece": 0.1}
    return made if test is None else made | {"test": {"accuracy": test, "ece": 0.2}}


RESULTS = {
    "chosen": {"cross_entropy": 0.1, "square": 0.2},
    "runs": [
        run("cross_entropy", 0.1, 0, 0.80, 0.70),
        run("cross_entropy", 0.2, 0, 0.70),
        run("square", 0.1, 0, 0.60),
        run("square", 0.2, 0, 0.81, 0.73),
        # out of order on purpose: seeds are paired, not positions
        run("cross_entropy", 0.1, 2, 0.82, 0.74),
        run("cross_entropy", 0.1, 1, 0.79, 0.72),
        run("square", 0.2, 1, 0.83, 0.74),
        run("square", 0.2, 2, 0.84, 0.78),
    ],
}


def test_only_the_chosen_runs_count_in_the_order_of_their_seeds() -> None:
    cross_entropy, square = summary(RESULTS)
    assert cross_entropy.seeds == square.seeds == (0, 1, 2)
    assert cross_entropy.values["accuracy"] == (0.70, 0.72, 0.74)
    assert square.values["accuracy"] == (0.73, 0.74, 0.78)
    assert square.seconds == (10.0, 11.0, 12.0) and square.learning_rate == 0.2


def test_paired_p_value_is_that_of_students_t() -> None:
    differences = [0.03, 0.02, 0.04]
    mean = sum(differences) / 3
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / 2)
    t = mean / (deviation / math.sqrt(3))
    # Student's t with two degrees of freedom has the closed form P(|T| > t) = 1 - t / sqrt(2 + t^2).
    cross_entropy, square = summary(RESULTS)
    assert cross_entropy.p_value is None
    assert square.p_value == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-6)
    # Its 97.5 % quantile: the t with 1 - t / sqrt(2 + t^2) = 0.05.
    reach = math.sqrt(2 * 0.95**2 / (1 - 0.95**2)) * deviation / math.sqrt(3)
    assert cross_entropy.interval is None
    assert square.interval == pytest.approx((mean - reach, mean + reach), rel=1e-6)


def test_no_p_value_where_there_is_none() -> None:
    one_seed = {"chosen": {"a": 0.1, "b": 0.1}, "runs": [run("a", 0.1, 0, 0.5), run("b", 0.1, 0, 0.6)]}
    assert [(row.p_value, row.interval) for row in summary(one_seed)] == [(None, None)] * 2
    other_seeds = {"chosen": {"a": 0.1, "b": 0.1}, "runs": [run("a", 0.1, 0, 0.5), run("b", 0.1, 1, 0.6)]}
    assert summary(other_seeds)[1].p_value is None


def test_validation_is_shown_until_every_chosen_run_was_tested() -> None:
    untested = {"chosen": RESULTS["chosen"], "runs": [dict(r) for r in RESULTS["runs"]]}
    untested["runs"][-1].pop("test")
    assert summary(untested)[0].values["accuracy"] == (0.80, 0.79, 0.82)
    assert summary(RESULTS, "validation")[0].values["accuracy"] == (0.80, 0.79, 0.82)


def test_the_metric_of_a_comparison_and_its_better_side() -> None:
    assert metric_of(RESULTS) == "accuracy" and metric_of({"metric": "cer"}) == "cer"
    assert [name for name in METRICS if not greater_is_better(name)] == ["ece", "nll", "cer", "wer"]


def test_spread_is_mean_and_sample_deviation() -> None:
    assert spread([1.0, 2.0, 3.0], digits=2) == "2.00 ± 1.00"
    assert spread([0.5]) == "0.5000"


def test_environment_names_what_figures_depend_on() -> None:
    found = environment()
    assert found["torch"] == torch.__version__ and found["threads"] == torch.get_num_threads()
    assert found["commit"] is None or len(found["commit"].removesuffix("-dirty")) == 40
