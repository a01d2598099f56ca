"""The command line: old spellings are explained, a JSON file is the same as options, refusals are one line."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from example_scripts import load_example
from processes import EXAMPLES, environment
from tiny_text_model import save_tiny_model
from transformers import AutoConfig, AutoModelForSequenceClassification

from hf_squareloss import SquareLossTrainingArguments
from hf_squareloss.recipes.cli import OLD_SPELLINGS, parse_arguments, run_script, show_table
from hf_squareloss.recipes.stages import choose_stages
from hf_squareloss.training import PushError


@pytest.fixture(scope="module")
def classes() -> tuple[type[Any], ...]:
    run_glue = load_example("run_glue")
    return (run_glue.ModelArguments, run_glue.DataArguments, SquareLossTrainingArguments)


@pytest.fixture
def refusal(classes: tuple[type[Any], ...], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Parse what must be refused, and return the message."""

    def refuse(*argv: str) -> str:
        with pytest.raises(SystemExit) as exit:
            parse_arguments(classes, argv)
        assert exit.value.code == 2
        return capsys.readouterr().err

    return refuse


@pytest.mark.parametrize("old", OLD_SPELLINGS)
def test_old_spellings_are_refused_with_the_new_one(old: str, refusal: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "arguments.json").write_text(json.dumps({old: "1"}))
    forms = ([f"--{old}", "1"], [f"--{old}=1"], [f"--{old.replace('_', '-')}=1"], [str(tmp_path / "arguments.json")])
    for argv in forms:
        message = refusal(*argv)
        assert message.count("\n") == 1
        assert f"--{old} is gone" in message
        assert OLD_SPELLINGS[old] in message


def test_old_spellings_are_no_options_and_the_new_ones_are(classes: tuple[type[Any], ...]) -> None:
    current = {field.name for each in classes for field in fields(each)}
    assert {"loss", "task_name", "model_name_or_path", "eval_strategy"} <= current
    assert not OLD_SPELLINGS.keys() & current
    recommended = {name for text in OLD_SPELLINGS.values() for name in re.findall(r"--(\w+)", text)}
    assert recommended <= current


def test_an_unknown_option_is_refused(refusal: Callable[..., str], tmp_path: Path) -> None:
    assert "--warmup_steeps" in refusal("--warmup_steeps", "3")
    (tmp_path / "arguments.json").write_text('{"warmup_steeps": 3}')
    assert "warmup_steeps" in refusal(str(tmp_path / "arguments.json"))


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


def test_help_has_groups_with_ours_first(
    classes: tuple[type[Any], ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run_glue.py"])
    with pytest.raises(SystemExit) as exit:
        parse_arguments(classes, ["--help"])
    assert exit.value.code == 0
    text = capsys.readouterr().out
    titles = re.findall(r"^options of the (\w+):$", text, re.MULTILINE)
    assert titles == ["loss", "data", "model", "Trainer"]
    groups = dict(zip(titles, re.split(r"^options of the \w+:$", text, flags=re.MULTILINE)[1:], strict=True))
    for option, title in (("loss_k", "loss"), ("class_weights", "loss"), ("task_name", "data"), ("seed", "Trainer"),
                          ("model_name_or_path", "model"), ("no_trust", "none")):  # fmt: skip
        assert [name for name, part in groups.items() if f"  --{option}" in part] == (
            [title] if title != "none" else []
        )
    assert len(text.split("options:")[0].splitlines()) < 10  # no usage of six hundred lines


def test_a_percent_sign_in_a_help_text_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass
    class ShareArguments:
        share: int = field(default=9, metadata={"help": "50% of what is there, or 100 %."})

    with pytest.raises(SystemExit, match="0"):
        parse_arguments((ShareArguments,), ["--help"])
    assert "50% of what is there, or 100 %. (default: 9)" in capsys.readouterr().out


def test_defaults_give_way_to_options(classes: tuple[type[Any], ...], tmp_path: Path) -> None:
    defaults = {"learning_rate": 1e-2, "max_seq_length": 40, "output_dir": str(tmp_path), "do_train": True}
    (tmp_path / "arguments.json").write_text('{"max_seq_length": 50, "do_train": false}')
    for argv in (["--max_seq_length", "50", "--do_train", "False"], [str(tmp_path / "arguments.json")]):
        _, data, args = parse_arguments(classes, argv, defaults)
        assert (data.max_seq_length, args.do_train) == (50, False)
        assert (args.learning_rate, args.output_dir) == (1e-2, str(tmp_path))
    _, data, args = parse_arguments(classes, [], defaults)
    assert (data.max_seq_length, args.do_train) == (40, True)


def test_the_process_arguments_are_taken(classes: tuple[type[Any], ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run_glue.py", "--seed", "5"])
    assert parse_arguments(classes)[2].seed == 5


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seed", "seven"], "argument --seed: invalid int value"),
        (["--loss", "sqare"], "did you mean 'square'"),
        (["--loss", "crossentropy"], "did you mean 'cross_entropy'"),
        (["--loss_k", "many"], "k must be a positive number"),
        (["--loss", "cross_entropy", "--loss_k", "2"], "no parameter 'k'"),
        *((["--loss_parameters", f"{name}=x"], f"no parameter '{name}'") for name in ("name", "self", "cls", "args")),
        *((["--loss_parameters", f"{name}=x"], f"'{name}' is none") for name in ("loss", "module", "version")),
        (["--loss_parameters", "k=1e308"], "k must be a positive number from 1e-8 to 1e8"),
        (["--loss_parameters", "label_smoothing=x"], "label_smoothing must be"),
        (["--class_weights", "1,x"], "class_weights must be"),
        (["--loss_parameters", "k=" + "9" * 5000], "k must be"),
        (["--task_name", "mrcp"], "no GLUE task"),
        (["--task_name", "mrpc", "--train_file", "a.csv"], "exclude each other"),
        (["--dataset_name", "a/b", "--test_file", "a.csv"], "exclude each other"),
        (["--task_name", "mrpc", "--dataset_name", "a/b"], "exclude each other"),
    ],
)
def test_values_are_refused_in_one_line(argv: list[str], message: str, refusal: Callable[..., str]) -> None:
    found = refusal(*argv)
    assert message in found
    assert found.count("\n") == 1


def test_a_table_on_the_screen(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("The title", {"accuracy": 0.87654321, "the model": "outputs/x", "steps": 12})
    shown = capsys.readouterr().out
    for text in ("The title", "accuracy", "0.8765 ", "outputs/x", " 12 "):
        assert text in shown
    assert "0.87654" not in shown


def test_a_narrow_screen_cuts_nothing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    show_table("Title", {"the same with the other loss": "accelerate launch examples/run_glue.py --loss square" * 2})
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 40


MISSING = ModuleNotFoundError("No module named 'gone'", name="gone")
NO_AUDIO = ModuleNotFoundError("No module named 'soundfile'", name="soundfile")
NO_IMAGES = ModuleNotFoundError("No module named 'PIL'", name="PIL")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("k must be\n  positive"), 2, "k must be positive"),
        (FloatingPointError("step 3: the loss overflowed"), 1, "step 3: the loss overflowed"),
        (PushError("nothing was pushed"), 1, "nothing was pushed"),
        (FileNotFoundError("no such data set"), 1, "no such data set"),
        (MISSING, 1, "No module named 'gone'"),
        (NO_AUDIO, 1, "No module named 'soundfile'; pip install soundfile brings it"),
        (NO_IMAGES, 1, "No module named 'PIL'; pip install pillow brings it"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
@pytest.mark.parametrize("level", ["WARNING", "DEBUG"])
def test_what_is_refused_ends_in_one_line(
    error: Exception,
    code: int,
    line: str,
    level: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def main() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["examples/run.py"])
    with caplog.at_level(level, "hf_squareloss"), pytest.raises(SystemExit) as exit:
        run_script(main)
    assert exit.value.code == code
    assert capsys.readouterr().err == f"run.py: error: {line}\n"
    assert ("Traceback" in caplog.text) == (level == "DEBUG")


def test_another_process_says_it_where_the_first_did_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    for rank, waits in (("0", []), ("1", [30.0])):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(SystemExit):
            run_script(lambda: int("x"))
        assert waited == waits and "invalid literal" in capsys.readouterr().err


def test_two_processes_say_it_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "from hf_squareloss.recipes.cli import run_script; run_script(lambda: int('x'))"
    )
    command = [str(Path(sys.executable).with_name("torchrun")), "--nproc_per_node=2", str(tmp_path / "script.py")]
    env = environment(tmp_path, PYTHONPATH=str(EXAMPLES.parent))
    said = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert said.returncode != 0 and said.stderr.count("script.py: error: invalid literal") == 1
    assert "in run_script" not in said.stderr  # the traceback that is left is the launcher's


def test_a_head_of_another_size_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_tiny_model(tmp_path)  # of two classes

    def main() -> None:
        config = AutoConfig.from_pretrained(tmp_path, num_labels=5)
        AutoModelForSequenceClassification.from_pretrained(tmp_path, config=config)

    with pytest.raises(SystemExit, match="2"):
        run_script(main)
    assert "--ignore_mismatched_sizes" in capsys.readouterr().err.splitlines()[-1]


def test_all_else_has_a_traceback() -> None:
    def no_such_thing() -> None:
        raise RuntimeError("no such thing")

    with pytest.raises(RuntimeError, match="no such thing"):
        run_script(no_such_thing)
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 / 0)


def test_a_script_leaves_no_process_group(tmp_path: Path) -> None:
    main = f"torch.distributed.init_process_group('gloo', init_method='file://{tmp_path}/group', rank=0, world_size=1)"
    code = [
        "import torch",
        "from hf_squareloss.recipes.cli import run_script",
        f"run_script(lambda: {main})",
        "print(torch.distributed.is_initialized())",
    ]
    for lines, left in ((code, "False"), ([code[0], main, code[-1]], "True")):
        output = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True)
        assert output.stdout.split()[-1] == left
