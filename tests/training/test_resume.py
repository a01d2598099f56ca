"""A run of examples/run_glue.py that is killed and started again by the same command ends with the same weights."""

import json
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import EXAMPLES, environment, finish, run, started
from tiny_text_model import save_tiny_model, write_toy_files

STEPS, SAVE_STEPS = 80, 20


def command(folder: Path, name: str) -> list[str]:
    options = f"""
        --model_name_or_path {folder / "model"} --train_file {folder / "train.tsv"} --output_dir {folder / name}
        --max_steps {STEPS} --save_steps {SAVE_STEPS} --per_device_train_batch_size 4 --learning_rate 5e-3
        --logging_steps 1 --do_train --use_cpu
    """
    return [sys.executable, str(EXAMPLES / "run_glue.py"), *options.split()]


def kill(folder: Path, name: str, log: Path, when: Callable[[], bool]) -> None:
    """Run, and SIGKILL as soon as `when` is true."""
    end = time.monotonic() + 100
    with started(command(folder, name), environment(folder / "home"), log) as process:
        while not when():
            assert process.poll() is None, f"the run ended before the kill:\n{log.read_text()[-4000:]}"
            assert time.monotonic() < end, "waited for the moment to kill in vain"
            time.sleep(0.002)
        process.kill()
        assert process.wait(30) == -signal.SIGKILL
    assert not (folder / name / "model.safetensors").exists()


def whole_checkpoints(output: Path) -> list[int]:
    """The steps of the checkpoints whose trainer_state.json, which is written last, can be read to its end."""
    states = output.glob("checkpoint-*/trainer_state.json")
    return sorted(int(path.parent.name.split("-")[1]) for path in states if is_json(path))


def is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except json.JSONDecodeError:
        return False


def losses(output: Path) -> list[float]:
    history = json.loads((output / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def test_a_run_killed_twice_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    write_toy_files(tmp_path)
    save_tiny_model(tmp_path / "model")  # with dropout: a random state that is not restored shows in the weights
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    first, second, third, whole = (tmp_path / f"{name}.log" for name in ("first", "second", "third", "whole"))
    with started(command(tmp_path, undisturbed.name), environment(tmp_path / "home"), whole) as process:
        kill(tmp_path, killed.name, first, lambda: b"'loss'" in first.read_bytes())
        assert whole_checkpoints(killed) == []
        kill(tmp_path, killed.name, second, lambda: len(whole_checkpoints(killed)) == 2)
        finish(process, whole)
    *_, newest = whole_checkpoints(killed)
    assert newest < STEPS

    # What a kill in the middle of a save leaves: half of the weights, and no trainer_state.json.
    torn = killed / f"checkpoint-{newest + SAVE_STEPS}"
    torn.mkdir(exist_ok=True)
    weights = (killed / f"checkpoint-{newest}" / "model.safetensors").read_bytes()
    (torn / "model.safetensors").write_bytes(weights[: len(weights) // 2])

    output = run(command(tmp_path, killed.name), environment(tmp_path / "home"), third)
    steps_run = len(re.findall(r"'loss': '\d", output))
    assert steps_run == STEPS - newest  # resumed, and not from the start
    assert len(losses(killed)) == STEPS and losses(killed) == losses(undisturbed)
    train_loss = [json.loads((run / "train_results.json").read_text())["train_loss"] for run in (killed, undisturbed)]
    assert train_loss[0] == pytest.approx(train_loss[1], rel=1e-6)  # of all steps, not of the last part
    final = (killed / "model.safetensors").read_bytes()
    assert final == (undisturbed / "model.safetensors").read_bytes()
    assert final != weights
