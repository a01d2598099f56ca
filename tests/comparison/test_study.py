"""What a study is: its losses and runs, and which studies are refused."""

from typing import Any

import pytest

from hf_squareloss.comparison import LossChoice, Study, make_study

SMALL: dict[str, Any] = {"title": "small", "tasks": {"a": {"train_file": "a.tsv"}}, "models": {"m": {}}}


def a_study(**changed: Any) -> Study:
    return make_study({**SMALL, **changed}, "study.yaml")


def test_a_task_is_its_script_and_the_arguments_beside_it() -> None:
    study = a_study(tasks={"an4": {"script": "run_speech_recognition_ctc.py", "metric": "cer", "train_file": "a.tsv"}})
    task = study.tasks["an4"]
    assert (task.script, task.metric, task.arguments) == (
        "run_speech_recognition_ctc.py",
        "cer",
        {"train_file": "a.tsv"},
    )
    assert study.metric_of("an4") == "cer" and a_study().metric_of("a") == "accuracy"


def test_of_a_metric_that_is_not_known_the_study_or_the_task_says_which_side_is_best() -> None:
    tasks: dict[str, Any] = {
        "study's": {},
        "known": {"metric": "rmse"},
        "own": {"metric": "power", "greater_is_better": True},
        "reverse": {"greater_is_better": True},
    }
    study = a_study(metric="my_cost", greater_is_better=False, tasks=tasks)
    assert {task: study.greater_is_better_of(task) for task in tasks} == {
        "study's": False,
        "known": False,
        "own": True,
        "reverse": True,
    }
    assert all(task.arguments == {} for task in study.tasks.values())
    assert a_study().greater_is_better_of("a") is True


@pytest.mark.parametrize(
    "losses",
    [
        ["cross_entropy", {"square": {"k": [1, "auto"], "M": [1, 4]}}],
        {"cross_entropy": None, "square": {"k": [1, "auto"], "M": [1, 4]}},
    ],
)
def test_parameters_with_several_values_are_a_grid(losses: Any) -> None:
    choices = a_study(losses=losses).choices
    assert [choice.label for choice in choices] == [
        "cross_entropy",
        "square, k = 1, M = 1",
        "square, k = 1, M = 4",
        "square, k = auto, M = 1",
        "square, k = auto, M = 4",
    ]
    assert choices[2].arguments == {"loss": "square", "loss_parameters": ["k=1", "M=4"]}


def test_an_option_counts_once_however_it_is_spelt() -> None:
    study = a_study(
        tasks={"a": {"batch-size": 32, "train_file": "a.tsv"}}, models={"m": {"width": 8}}, arguments={"batch_size": 16}
    )
    assert study.arguments_of("a", "m") == {"batch-size": 32, "width": 8, "train_file": "a.tsv"}


def test_parameters_are_written_as_the_command_line_reads_them() -> None:
    from hf_squareloss.training import SquareLossTrainingArguments

    given = {"class_weights": (1.0, 2.0), "multi_label": True, "k": 2.5}
    choice = LossChoice("square", tuple(given.items()))
    arguments = SquareLossTrainingArguments("x", **choice.arguments)
    assert arguments.make_loss() == choice.make()


def test_the_number_of_runs_is_that_of_its_parts() -> None:
    assert a_study().size == 3 * (3 * 2 + 1)
    assert a_study(learning_rates=[1e-3]).size == 3 * 3
    assert a_study(seeds=[0]).size == 3 * 3
    assert a_study(tuning_seeds=[1], seeds=[0, 1, 2, 3, 4]).size == 3 * (3 + 4)
    assert a_study(tasks={"a": {}, "b": {}}, models={"m": {}, "n": {}}, label_noise=[0, 0.2]).size == 8 * 21


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"losses": ["squre"]}, "no loss is called 'squre'.*did you mean 'square'"),
        ({"losses": [{"square": {"kk": 1}}]}, "no parameter 'kk'"),
        ({"losses": [{"square": {"k": -1}}]}, "k must be a positive number"),
        ({"losses": ["square", {"square": {}}]}, "two losses are called 'square'"),
        ({"losses": [3]}, "a loss is a name"),
        ({"losses": [{"square": 3}]}, "parameters of square must be a mapping"),
        ({"seeds": [0, 0]}, "given twice"),
        ({"seeds": []}, "seeds: .*at least 1"),
        ({"learning_rates": [0.0]}, "learning_rates must be positive"),
        ({"label_noise": [2]}, "label_noise between 0 and 1"),
        ({"tuning_seeds": [7]}, "must be among the seeds"),
        ({"tuning_seeds": [0, 0]}, "given twice"),
        ({"tuning_seeds": [0], "learning_rates": [1e-3]}, "tuning_seeds would be ignored"),
        ({"arguments": {"seed": 1}}, "arguments gives seed: that is the study's own"),
        ({"models": {"m": {"learning_rate": 1}}}, "model m gives learning_rate"),
        ({"models": {"m": {"learning-rate": 1}}}, "model m gives learning_rate"),
        ({"arguments": {"hub_token": "x"}}, "HF_TOKEN"),
        ({"arguments": {"hub-token": "x"}}, "HF_TOKEN"),
        ({"arguments": {"batch-size": 1, "batch_size": 2}}, "arguments gives batch_size twice"),
        ({"metric": "my_cost"}, "metric 'my_cost' is not known: say by greater_is_better, true or false"),
        ({"tasks": {"a": {"metric": "power"}}, "metric": "my_cost", "greater_is_better": False}, "metric 'power'"),
        ({"metric": "acc", "greater_is_better": "up"}, "greater_is_better: "),
        ({"epochs": 3}, "epochs: "),
        ({"tasks": {}}, "tasks: "),
    ],
)
def test_what_makes_no_study_is_refused_by_name(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=f"study.yaml .*{says}"):
        a_study(**changed)


@pytest.mark.parametrize("given", [{"M": 4, "k": 2}, {"k": 2.0, "M": 4.0}, {"k": 2, "M": 4}])
def test_a_loss_has_one_label_however_it_is_written(given: dict[str, Any]) -> None:
    (choice,) = a_study(losses=[{"square": given}]).choices
    assert choice.label == "square, k = 2, M = 4" and choice == LossChoice("square", (("k", 2), ("M", 4)))


def test_a_loss_that_is_written_in_two_ways_is_one_loss_twice() -> None:
    with pytest.raises(ValueError, match="two losses are called 'square, k = 2, M = 4'"):
        a_study(losses=[{"square": {"k": 2, "M": 4}}, {"square": {"M": 4.0, "k": 2}}])
