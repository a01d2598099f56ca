"""What scripts are told: ours with what a study records, others with the four options that they must have."""

from pathlib import Path
from typing import Any

from foreign_script import write_script

from hf_squareloss.comparison import Options, Order, make_study
from hf_squareloss.comparison._orders import Orders
from hf_squareloss.comparison._schedule import tuning_runs
from hf_squareloss.comparison._scripts import from_words


def first_order(folder: Path, *, script: str = "run_glue.py", **options: Any) -> Order:
    study = make_study(
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
    return Orders(study, Options(folder, **options)).order(tuning_runs(study)[0])


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
