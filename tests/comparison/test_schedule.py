"""Which runs are made, and which learning rate is chosen."""

import math
from typing import Any

from studies import a_run

from hf_squareloss.comparison import RunRecord, Study, make_study
from hf_squareloss.comparison._schedule import best_value, other_runs, tuning_runs


def a_study(**changed: Any) -> Study:
    given = {"title": "t", "tasks": {"a": {}, "b": {}}, "models": {"m": {}}, "losses": ["square", "cross_entropy"]}
    return make_study({**given, "learning_rates": [1, 2, 3], "seeds": [5, 6, 7, 8], **changed}, "here")


def with_values(rate: float, values: list[float | None], **changed: Any) -> RunRecord:
    epochs = [{"epoch": i + 1.0, "validation": {"accuracy": value}} for i, value in enumerate(values)]
    return a_run(learning_rate=rate, epochs=epochs, **changed)


def test_every_loss_is_tuned_with_the_same_runs() -> None:
    study = a_study()
    runs = tuning_runs(study)
    assert len(set(runs)) == len(runs) == 2 * 2 * 3 * 2
    of_loss = {label: {(r.task, r.learning_rate, r.seed) for r in runs if r.choice.label == label}
               for label in ("square", "cross_entropy")}  # fmt: skip
    assert of_loss["square"] == of_loss["cross_entropy"]
    assert {run.seed for run in runs} == {5, 6}
    rest = other_runs(study, [run for run in runs if run.group == runs[0].group], 2)
    assert [(run.seed, run.learning_rate, run.group) for run in rest] == [(s, 2, runs[0].group) for s in (7, 8)]
    assert len(runs) + 4 * len(rest) == study.size


def test_a_part_of_the_runs_has_all_losses() -> None:
    assert {run.choice.label for run in tuning_runs(a_study())[:2]} == {"square", "cross_entropy"}


def test_the_best_epoch_is_the_value_of_a_run() -> None:
    assert best_value(with_values(1, [0.1, 0.9, 0.2])) == 0.9
    assert best_value(with_values(1, [0.9, None], status="diverged")) == 0.9
    assert best_value(with_values(1, [None], status="diverged")) == -math.inf
    errors = [{"epoch": 1.0, "validation": {"nll": 0.2}}, {"epoch": 2.0, "validation": {"nll": 0.1}}]
    assert best_value(a_run(epochs=errors, metric="nll", greater_is_better=False)) == -0.1
