"""A study analysed: figures of every loss, one vote per task, and words that fit them."""

import math
from typing import Any

import pytest
from studies import RATES, a_run, grid_study, made_up_study, runs_of, whole_study

from hf_squareloss.comparison import Analysis, RunRecord, analyse, results_of, verdict, warnings
from hf_squareloss.comparison._tables import over_tasks, ratios_over_tasks
from hf_squareloss.comparison._words import interval_text, number, probability


def analysed(runs: list[RunRecord], **options: Any) -> Analysis:
    return analyse(results_of(runs, title="a study"), **options)


@pytest.fixture(scope="module")
def whole() -> Analysis:
    return analysed(whole_study())


def test_a_study_with_everything_that_goes_wrong(whole: Analysis) -> None:
    assert whole.baseline == "cross_entropy" and whole.main == "square"
    assert whole.labels == ("cross_entropy", "square", "squentropy")
    by_name = {p.name: p for p in whole.problems}
    assert "trec-6, 40 % label noise" in by_name and by_name["without a test part"].problem.part == "validation"
    square = by_name["rte"].comparisons[0]
    assert square.contender.diverged == (3, 4) and square.tuned.seeds == (0, 1, 2, 4)
    assert square.outcome is None  # seed 3, without any value, is left out
    alone = by_name["one seed"].comparisons[0]
    assert (alone.tuned.interval, alone.tuned.p_value, alone.outcome, alone.spread) == (None, None, None, None)
    assert by_name["an4"].comparisons[0].calibration == {}
    assert all(
        c.contender.learning_rate == RATES[1] for p in whole.problems for c in p.comparisons if p.name != "one seed"
    )


def test_counts_are_of_problems_and_means_are_of_tasks(whole: Analysis) -> None:
    pooled = whole.pooled["square"]
    assert pooled.wins + pooled.ties + pooled.losses + pooled.undecided == len(whole.pooled_problems) == 7
    assert pooled.advantage is not None
    assert pooled.advantage.tasks == 5  # not "one seed", nor rte, where a run has no value; trec-6 once
    assert set(pooled.calibration) == {"ece", "brier", "nll"}
    assert pooled.seconds is not None and pooled.seconds.ratio == pytest.approx(1, abs=0.05)


def test_tasks_of_one_source_share_a_vote() -> None:
    runs = made_up_study({"a": 1.0, "b": 2.0, "c": 3.0})
    apart, together = analysed(runs).pooled["square"], analysed(runs, sources={"b": "a"}).pooled["square"]
    assert apart.advantage is not None and together.advantage is not None
    assert (apart.advantage.tasks, together.advantage.tasks) == (3, 2)
    means = [sum(c.standardised) / 5 for p in analysed(runs).problems for c in p.comparisons if c.standardised][::2]
    assert together.advantage.mean == pytest.approx(((means[0] + means[1]) / 2 + means[2]) / 2)


def test_a_problem_with_a_run_without_any_value_is_in_no_mean() -> None:
    runs = made_up_study({"a": 1.0, "b": 2.0, "c": 3.0})
    lost = next(r for r in runs if (r.task, r.loss, r.seed) == ("c", "square", 4))
    epochs = [{"epoch": 1.0, "validation": {"accuracy": None}, "test": {"accuracy": None}}]
    gone = type(lost).model_validate({**lost.model_dump(), "status": "diverged", "epochs": epochs})
    found = analysed([gone if run is lost else run for run in runs])
    square = found.pooled["square"]
    assert square.advantage is not None and square.advantage.tasks == 2 and square.undecided == 1
    assert square.advantage == analysed([run for run in runs if run.task != "c"]).pooled["square"].advantage
    (said,) = [line for line in warnings(found) if "never had a finite value" in line]
    assert said.endswith(": c, square.") and not any("count as they are" in line for line in warnings(found))


def test_label_noise_is_not_averaged_in() -> None:
    tasks = {"a": 3.0, "b": 3.0, "c": 3.0}
    clean = made_up_study(tasks)
    noisy = made_up_study(dict.fromkeys(tasks, -3.0), noise=0.4)
    alone, both = analysed(clean), analysed(clean + noisy)
    assert both.pooled == alone.pooled and alone.noisy == {} and verdict(both) == verdict(alone)
    assert list(both.noisy) == [0.4] and both.noisy[0.4] == analysed(noisy).pooled
    assert both.noisy[0.4]["square"].losses > 0 == both.pooled["square"].losses
    rows = [row[0] for table in (over_tasks(both), ratios_over_tasks(both)) if table for row in table.rows]
    assert rows == 2 * ["square", "squentropy", "square, 40 % label noise", "squentropy, 40 % label noise"]


def test_the_warnings_name_what_they_are_about(whole: Analysis) -> None:
    said = "\n".join(warnings(whole))
    for kind, about in [
        ("diverged", "rte, square"),
        ("failed", "mrpc, squentropy"),
        ("Fewer than 5 seeds", "one seed"),
        ("No test part", "without a test part"),
        ("different seeds", "mrpc"),
    ]:
        assert any(kind in line and about in line for line in said.splitlines()), kind
    assert warnings(analysed(made_up_study())) == []


def test_more_warnings() -> None:
    two_rates = [r for r in made_up_study() if r.learning_rate != RATES[0]]
    assert warnings(analysed(two_rates)) == []  # they have nothing but edges
    tuned_longer = [r for r in made_up_study() if r.loss == "square" or r.learning_rate == RATES[1]]
    assert any("different numbers of runs" in line for line in warnings(analysed(tuned_longer)))
    rates = [a_run(learning_rate=lr, epochs=[{"epoch": 1, "validation": {"accuracy": lr}}]) for lr in (0.1, 0.2, 0.3)]
    assert any("lie beyond: square" in line for line in warnings(analysed(rates)))
    assert any("best of them looks better" in line for line in warnings(analysed(grid_study())))
    assert any(
        "no run of the baseline" in w for w in warnings(analysed([a_run(loss="cross_entropy"), a_run(task="b")]))
    )


def test_other_environments_are_warned_of() -> None:
    base = [a_run(loss="cross_entropy", environment={"torch": "2.13", "threads": 1})]
    assert not any("environments" in w for w in warnings(analysed(base + [a_run(environment=base[0].environment)])))
    found = warnings(analysed(base + [a_run(environment={"torch": "2.14"})]))
    assert "Losses were run in different environments (threads, torch)." in found


def test_ratios_of_time_and_memory_are_geometric_means_over_common_seeds() -> None:
    base = [a_run(loss="cross_entropy", seed=s, seconds=10.0, peak_memory_mb=None) for s in (0, 1)]
    own = [a_run(seed=0, seconds=5.0), a_run(seed=1, seconds=20.0), a_run(seed=2, seconds=1000.0)]
    (comparison,) = analysed(base + own).problems[0].comparisons
    assert comparison.seconds_ratio == pytest.approx(1.0) and comparison.memory_ratio is None


@pytest.mark.parametrize(
    ("square", "said"),
    [
        ((0.80, 0.81, 0.83), "square is better than cross_entropy: an advantage of +0.1133 in accuracy"),
        ((0.60, 0.61, 0.62), "square is worse than cross_entropy: an advantage of −0.0900"),
        ((0.70, 0.71, 0.69), "cannot be told apart"),
        ((0.80, 0.80, 0.80), "the same for every seed, so there is no verdict"),
        ((0.80,), "one seed has no interval, so there is no verdict"),
        ((0.80, 0.81, math.nan), "runs without any value are left out, so there is no verdict"),
    ],
)
def test_the_verdict_on_one_task(square: tuple[float, ...], said: str) -> None:
    runs = runs_of("square", *square) + runs_of("cross_entropy", 0.70, 0.70, 0.70)
    assert said in verdict(analysed(runs))


def test_the_verdict_over_tasks() -> None:
    strong = made_up_study({f"task {i}": 3.0 for i in range(4)})
    assert "square is better than cross_entropy by" in verdict(analysed(strong))
    assert "4 tasks; better on 4, worse on 0, undecided on 0 of 4 problems" in verdict(analysed(strong))
    assert "square is worse" in verdict(analysed(made_up_study({f"task {i}": -3.0 for i in range(4)})))
    assert "cannot be told apart over the tasks" in verdict(analysed(made_up_study({f"t{i}": 0.0 for i in range(4)})))


def test_without_a_comparison_there_is_no_verdict() -> None:
    assert "no comparison" in verdict(analysed([a_run()]))
    assert "no comparison" in verdict(analysed([a_run(loss="cross_entropy"), a_run(task="b")]))
    one_seed_each = made_up_study({"a": 1.0, "b": 1.0}, seeds=1)
    assert "no verdict" in verdict(analysed(one_seed_each)) and "1 more" in verdict(analysed(one_seed_each))
    failed = [a_run(loss=loss, status="failed", epochs=[], error="killed") for loss in ("cross_entropy", "square")]
    assert "no verdict" in verdict(analysed(failed)) and any(
        "No run has ended" in w for w in warnings(analysed(failed))
    )


def test_zero_variance_and_no_difference() -> None:
    runs = runs_of("square", 0.7, 0.7, 0.7) + runs_of("cross_entropy", 0.7, 0.7, 0.7)
    analysis = analysed(runs)
    assert analysis.problems[0].comparisons[0].outcome == "tie" and analysis.pooled["square"].advantage is None
    assert "cannot be told apart: they have the same accuracy with every seed (3 seeds)" in verdict(analysis)


def test_numbers_for_people() -> None:
    assert [number(v) for v in (0.81254, -0.5, 123.456, None)] == ["0.8125", "−0.5000", "123.5", "–"]
    assert number(0.01, signed=True) == "+0.0100" and interval_text((-1.0, 0.5), digits=1) == "−1.0 to 0.5"
    assert [probability(p) for p in (0.0625, 0.001, None)] == ["0.06", "< 0.01", "–"]
