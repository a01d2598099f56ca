"""What validation chooses: the epoch of a run, the learning rate of a loss; and what is then compared."""

import math
from typing import Any

import pytest
from studies import a_run

from hf_squareloss.comparison import RunRecord, baseline_label, best_epoch, choose_learning_rate, problems


def of_epochs(*values: tuple[float, float | None], metric: str = "accuracy", **changed: Any) -> RunRecord:
    """A run with (validation, test) after each epoch."""
    epochs = [
        {"epoch": place + 1, "validation": {metric: v}, "test": None if t is None else {metric: t}}
        for place, (v, t) in enumerate(values)
    ]
    return a_run(metric=metric, epochs=epochs, **changed)


def test_the_best_epoch_is_the_earliest_of_the_best_on_validation() -> None:
    run = of_epochs((0.5, 0.9), (0.8, 0.1), (0.8, 0.2), (math.nan, 0.99))
    assert best_epoch(run) == 1
    errors = of_epochs((0.5, 0.9), (0.2, 0.1), (0.8, 0.2), metric="cer", greater_is_better=False)
    assert best_epoch(errors) == 1
    assert best_epoch(of_epochs((math.nan, 0.1), status="diverged")) is None


def test_the_learning_rate_with_the_best_mean_over_the_seeds_that_all_rates_have() -> None:
    def at(rate: float, *values: float) -> list[RunRecord]:
        return [of_epochs((v, 0.0), learning_rate=rate, seed=seed) for seed, v in enumerate(values)]

    # Seed 2, which the first rate alone has, would turn the choice around.
    assert choose_learning_rate([*at(1e-4, 0.7, 0.7, 1.0), *at(3e-4, 0.6, 0.9)]) == 3e-4
    assert choose_learning_rate([*at(1e-4, 0.7, 0.7), *at(3e-4, 0.7, 0.7)]) == 1e-4
    diverged = [*at(1e-4, 0.2, 0.2), *at(3e-4, 0.9), of_epochs((math.nan, 0), learning_rate=3e-4, seed=1)]
    assert choose_learning_rate(diverged) == 1e-4
    failed = a_run(status="failed", epochs=[], learning_rate=1e-5)
    assert choose_learning_rate([failed, *at(1e-4, 0.7)]) == 1e-4 and choose_learning_rate([failed]) is None


def test_a_lower_error_rate_is_the_better_one() -> None:
    runs = [
        of_epochs((v, 0.0), metric="cer", greater_is_better=False, learning_rate=rate)
        for rate, v in ((0.1, 0.4), (0.2, 0.3))
    ]
    assert choose_learning_rate(runs) == 0.2


def test_the_three_columns_of_the_paper() -> None:
    """Each at its own best epoch, and the square loss after as many epochs as cross-entropy needed."""
    square = of_epochs((0.5, 0.41), (0.6, 0.42), (0.7, 0.43))
    cross_entropy = of_epochs((0.5, 0.31), (0.9, 0.32), (0.7, 0.33), loss="cross_entropy")
    (problem,) = problems([square, cross_entropy])
    base, own = problem.contenders
    assert base is problem.baseline and base.label == "cross_entropy" and problem.part == "test"
    assert base.values("test") == {0: 0.32} and own.values("test") == {0: 0.43}
    assert own.values_at_epochs_of(base, "test") == {0: 0.42}
    # A run that had not as many epochs has no value there.
    short = problems([of_epochs((0.5, 0.4)), cross_entropy])[0].contenders[1]
    assert short.values_at_epochs_of(base, "test") == {}


def test_validation_counts_until_every_chosen_run_has_a_test_part() -> None:
    tested, untested = of_epochs((0.5, 0.4)), of_epochs((0.5, None), loss="cross_entropy")
    assert problems([tested, untested])[0].part == "validation"
    diverged = of_epochs((math.nan, None), loss="cross_entropy", status="diverged")
    assert problems([tested, diverged])[0].part == "test"


def test_a_diverged_run_counts_as_far_as_it_came_and_a_failed_one_does_not() -> None:
    runs = [
        of_epochs((0.8, 0.7), (math.nan, math.nan), seed=0, status="diverged"),
        of_epochs((math.nan, math.nan), seed=1, status="diverged"),
        a_run(seed=2, status="failed", epochs=[], error="killed"),
    ]
    (contender,) = problems(runs)[0].contenders
    assert contender.values("test") == {0: 0.7} and contender.diverged == (0, 1)
    assert list(contender.runs) == [0, 1] and [run.seed for run in contender.failed] == [2]


def test_task_model_and_noise_make_a_problem() -> None:
    runs = [a_run(), a_run(task="rte"), a_run(model="bert"), a_run(label_noise=0.2)]
    assert len(problems(runs)) == 4 and len(problems([a_run(), a_run(seed=1)])) == 1


def test_the_baseline_is_cross_entropy_with_fewest_parameters() -> None:
    plain, smoothed = a_run(loss="cross_entropy"), a_run(loss="cross_entropy", label="a", parameters={"smoothing": 0.1})
    assert baseline_label([a_run(), smoothed, plain]) == "cross_entropy"
    assert baseline_label([a_run(), a_run(loss="brier")]) == "brier"
    (problem,) = problems([a_run(), plain], baseline="square")
    assert problem.baseline is not None and problem.baseline.label == "square" == problem.contenders[0].label
    elsewhere = problems([a_run(), plain, a_run(task="rte")])
    assert [p.baseline is None for p in elsewhere] == [False, True]


@pytest.mark.parametrize(
    ("runs", "named"),
    [
        ([a_run(), of_epochs((0.5, 0.5), metric="f1", loss="brier")], "accuracy, f1"),
        ([a_run(), a_run(loss="brier", label="square")], "'square'.*brier and square"),
        (
            [a_run(), a_run(loss="brier", settings={"epochs": 3})],
            r"mrpc.*square and brier differ in epochs \(None, 3\).*names of their own.*runs/mrpc",
        ),
        (
            [a_run(parameters={"k": 2}), a_run(parameters={"k": 3})],
            r"two runs of 'square'.*differ in k \(2, 3\).*names of their own.*runs/mrpc",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(runs: list[RunRecord], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        problems(runs)


def test_a_baseline_that_no_run_has_is_refused() -> None:
    with pytest.raises(ValueError, match="'hinge'.*square"):
        problems([a_run()], baseline="hinge")


def test_metrics_are_those_that_every_run_has_and_not_the_loss() -> None:
    first = a_run(epochs=[{"epoch": 1, "validation": {"accuracy": 1, "nll": 1, "loss": 1, "f1": 1}}])
    second = a_run(epochs=[{"epoch": 1, "validation": {"accuracy": 1, "nll": 1, "loss": 1}}], loss="brier")
    none = a_run(epochs=[{"epoch": 1, "validation": {"accuracy": None}}], loss="focal", status="diverged")
    assert problems([first, second, none])[0].metrics == ("accuracy", "nll")
    assert problems([none])[0].metrics == ("accuracy",)
