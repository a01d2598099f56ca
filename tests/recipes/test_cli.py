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
from processes import EXAMPLES, environment
from text_options import refusals, text_classes
from tiny_text_model import save_tiny_model
from transformers import AutoConfig, AutoModelForSequenceClassification

from hf_squareloss.recipes.cli import OLD_SPELLINGS, parse_arguments, run_script, show_table
from hf_squareloss.training import PushError


@pytest.fixture(scope="module")
def classes() -> tuple[type[Any], ...]:
    return text_classes()


@pytest.fixture
def refusal(classes: tuple[type[Any], ...], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    return refusals(classes, capsys)


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
