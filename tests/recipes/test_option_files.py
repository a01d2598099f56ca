"""Options in a JSON or YAML file: the same as typed ones, which win over them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from text_options import refusals, text_classes

from hf_squareloss.recipes.cli import parse_arguments
from hf_squareloss.recipes.stages import choose_stages


@pytest.fixture(scope="module")
def classes() -> tuple[type[Any], ...]:
    return text_classes()


@pytest.fixture
def refusal(classes: tuple[type[Any], ...], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    return refusals(classes, capsys)


def test_a_file_may_spell_an_option_with_hyphens_but_not_cut_it_short(
    classes: tuple[type[Any], ...], refusal: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("learning-rate: 0.5\noutput_dir: out")
    assert parse_arguments(classes, [str(file)])[2].learning_rate == 0.5
    file.write_text("label_smoothing: 0.1")
    assert "there is no option label_smoothing; label_smoothing_factor is meant?" in refusal(str(file))
    file.write_text("learning-rate: 0.5\nlearning_rate: 0.1")
    assert "given twice" in refusal(str(file))


def test_what_is_typed_behind_a_file_wins(
    classes: tuple[type[Any], ...], refusal: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("learning_rate: 0.5\nmax_length: 7\nlabel_names: [a, b]\nsave_steps: 9")
    argv = [str(file), "--learning-rate=0.1", "--label_names", "c", "--max_seq_length", "8", "--output_dir", "out"]
    _, data, args = parse_arguments(classes, argv, {"save_steps": 3, "eval_steps": 4})
    assert (args.learning_rate, args.label_names, data.max_seq_length) == (0.1, ["c"], 8)
    assert (args.save_steps, args.eval_steps) == (9, 4)
    assert "in full" in refusal(str(file), "--learning_ra", "0.1")
    assert "--warmup_steeps" in refusal(str(file), "--warmup_steeps", "3")


@pytest.mark.parametrize("in_a_file", [False, True])
def test_an_evaluation_that_is_asked_for_does_not_train(
    in_a_file: bool, classes: tuple[type[Any], ...], tmp_path: Path
) -> None:
    def stages(*argv: str) -> list[bool]:
        given = ["--output_dir", str(tmp_path), "--eval_strategy", "epoch", *argv]
        if in_a_file:
            pairs = dict(zip(given[::2], given[1::2], strict=True))
            (tmp_path / "a.json").write_text(json.dumps({name[2:]: value for name, value in pairs.items()}))
            given = [str(tmp_path / "a.json")]
        args = parse_arguments(classes, given)[2]
        choose_stages(args, dict.fromkeys(("train", "validation"), Dataset.from_dict({"a": [1]})))
        return [args.do_train, args.do_eval, args.do_predict]

    assert stages("--do_eval", "True") == [False, True, False]
    assert stages("--do_eval", "True", "--do_train", "True") == [True, True, False]
    assert stages() == [True, True, False]  # an eval_strategy alone is no choice
    assert stages("--do_eval", "False") == [True, True, False]


def test_a_json_file_equals_the_command_line(classes: tuple[type[Any], ...], tmp_path: Path) -> None:
    values = {
        "model_name_or_path": "some/model",
        "task_name": "MRPC",
        "max_seq_length": 32,
        "loss": "square",
        "loss_k": "2",
        "loss_M": "paper",
        "learning_rate": 3e-4,
        "do_train": True,
        "output_dir": str(tmp_path / "out"),
        "seed": 3,
    }
    (tmp_path / "arguments.json").write_text(json.dumps(values))
    argv = [text for name, value in values.items() for text in (f"--{name}", str(value))]
    from_options = parse_arguments(classes, argv)
    from_json = parse_arguments(classes, [str(tmp_path / "arguments.json")])
    assert from_options[:2] == from_json[:2]
    assert from_options[2].to_dict() == from_json[2].to_dict()
    assert from_json[1].task_name == "mrpc"
    assert from_json[2].learning_rate == 3e-4
    other = parse_arguments(classes, [*argv, "--seed", "4"])
    assert other[2].to_dict() != from_json[2].to_dict()


YAML = """
# a comment
model_name_or_path: some/model
learning_rate: 2e-5
eval_strategy: no
do_train: true
loss_k: 2
class_weights: [1, 2.5]
train_file: null
lr_scheduler_kwargs: {num_cycles: 2}
seed: 07
report_to: none
output_dir: OUT
"""


@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_a_yaml_file_is_read_as_people_mean_it(suffix: str, classes: tuple[type[Any], ...], tmp_path: Path) -> None:
    path = tmp_path / f"arguments{suffix}"
    path.write_text(YAML.replace("OUT", str(tmp_path)))
    model, data, args = parse_arguments(classes, [str(path)])
    assert (model.model_name_or_path, data.train_file, args.learning_rate) == ("some/model", None, 2e-5)
    assert (args.eval_strategy, args.do_train, args.seed, args.lr_scheduler_kwargs) == (
        "no",
        True,
        7,
        {"num_cycles": 2},
    )
    assert args.make_loss().to_dict() == {"loss": "square", "k": 2.0, "class_weights": [1.0, 2.5]}
    (tmp_path / "a.json").write_text('{"learning_rate": "2e-5"}')
    assert parse_arguments(classes, [str(tmp_path / "a.json")])[2].learning_rate == 2e-5
    other = yaml.safe_load(YAML)  # YAML 1.1
    assert (other["learning_rate"], other["eval_strategy"]) == ("2e-5", False)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", "- 1"), ("a.yaml", "a: [1"), ("a.yaml", "1: 2"), ("a.json", "[1]"), ("a.json", "{"), ("a.yaml", ""),
     ("a.yaml", "warmup_steeps: 3"), ("a.yaml", "!!python/object/apply:os.getcwd []"), ("gone.yaml", None),
     ("a.yaml", "max_steps: many")],
)  # fmt: skip
def test_a_broken_file_is_refused_in_one_line(
    name: str, text: str | None, refusal: Callable[..., str], tmp_path: Path
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    assert refusal(str(tmp_path / name)).count("\n") == 1
