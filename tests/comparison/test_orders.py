"""What scripts are told: ours with what a study records, others with the four options that they must have."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from foreign_script import write_script

from hf_squareloss.comparison import Options, Order, Outcome, RunRecord, Study, make_study
from hf_squareloss.comparison._orders import Orders
from hf_squareloss.comparison._schedule import tuning_runs
from hf_squareloss.comparison._scripts import from_words
from hf_squareloss.recipes.run_files import RUN, write_object


def a_study(script: str) -> Study:
    return make_study(
        {
            "title": "a study",
            "tasks": {"task": {"script": script, "metric": "nll"}},
            "models": {"model": {}},
            "losses": [{"square": {"k": [2]}}],
            "learning_rates": [1e-3],
            "arguments": {"eval_strategy": "steps"},
        },
        "here",
    )


def first_order(folder: Path, *, script: str = "run_glue.py", **options: Any) -> Order:
    study = a_study(script)
    return Orders(study, Options(folder, **options)).order(tuning_runs(study)[0])


def first_record(folder: Path, outcome: Outcome) -> RunRecord:
    study = a_study("run_glue.py")
    return Orders(study, Options(folder)).record(tuning_runs(study)[0], outcome)


def test_a_script_of_ones_own_gets_its_four_options(tmp_path: Path) -> None:
    order = first_order(tmp_path, script=str(write_script(tmp_path)))
    assert from_words(order.arguments) == {
        "loss": "square",
        "loss_parameters": "k=2",
        "learning_rate": "0.001",
        "seed": "0",
        "output_dir": str(tmp_path / "work" / order.key),
        "eval_strategy": "steps",
    }


def test_ours_record_every_epoch_unless_told_otherwise(tmp_path: Path) -> None:
    arguments = from_words(first_order(tmp_path).arguments)
    assert arguments["record_epochs"] is arguments["do_train"] is True
    assert arguments["eval_strategy"] == "steps" and arguments["report_to"] == "none"


def test_a_tracker_has_the_runs_of_a_study_together(tmp_path: Path) -> None:
    order = first_order(tmp_path, report_to="trackio")
    arguments = from_words(order.arguments)
    assert (arguments["report_to"], arguments["project"]) == ("trackio", "a study")
    assert arguments["run_name"] == "task, model, square, k = 2, lr 0.001, seed 0"
    assert order.environment["WANDB_PROJECT"] == order.environment["WANDB_RUN_GROUP"] == "a study"
    assert order.environment["TENSORBOARD_LOGGING_DIR"] == str(tmp_path / "tensorboard" / order.key)


def test_kept_models_are_the_best_by_the_metric_of_the_task(tmp_path: Path) -> None:
    arguments = from_words(first_order(tmp_path, keep_models=True).arguments)
    assert (arguments["metric_for_best_model"], arguments["greater_is_better"]) == ("validation_nll", "False")
    assert arguments["load_best_model_at_end"] is True


@pytest.mark.parametrize("keep_models", [False, True])
def test_a_run_goes_on_as_it_was_begun(tmp_path: Path, keep_models: bool) -> None:
    study = a_study("run_glue.py")
    for now in (False, True):
        orders = Orders(study, Options(tmp_path, keep_models=now))
        order = orders.order(tuning_runs(study)[0])
        assert orders.can_go_on(order)
        identity: dict[str, Any] = {"load_best_model_at_end": keep_models, "calibrate": keep_models, "warmup_steps": 3}
        identity |= {"metric_for_best_model": "validation_nll", "greater_is_better": False} if keep_models else {}
        write_object(Path(order.folder, RUN), {"identity": identity})
        assert orders.can_go_on(order) == (now == keep_models)
        shutil.rmtree(order.folder)


@pytest.mark.parametrize(("continued", "overhead"), [(False, 2.0), (True, None)])
def test_what_a_run_needs_beside_training_is_known_of_runs_in_one_piece(
    tmp_path: Path, continued: bool, overhead: float | None
) -> None:
    entry = {"epoch": 1.0, "validation": {"nll": 0.5}, "test": None, "seconds": 3.0}
    # Of a run that went on from a checkpoint, training counts the seconds of both processes, the whole those of one.
    outcome = Outcome("key", 0, "", [entry], training_seconds=20.0, seconds=25.0, continued=continued)
    assert first_record(tmp_path, outcome).overhead_seconds == overhead
