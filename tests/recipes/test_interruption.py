"""Real signals: what a run that is stopped keeps and says, and that it goes on to the end of an undisturbed one."""

import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from processes import EXAMPLES, environment, started
from tiny_text_model import save_tiny_model, write_toy_files
from transformers import AutoModelForSequenceClassification, TrainerCallback, set_seed

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments
from hf_squareloss.recipes.stages import run_stages

ROWS = Dataset.from_dict({"input_ids": [[1, 2], [3, 4], [5, 6]] * 8, "labels": [0, 1, 0] * 8})
STEPS = 9
Results = dict[str, float]


class SignalAt(TrainerCallback):
    """Sends this process a signal in the middle of a step (counted from 1), or in an evaluation for None."""

    def __init__(self, number: signal.Signals, step: int | None) -> None:
        self.number, self.step = number, step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step + 1 == self.step:
            os.kill(os.getpid(), self.number)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.step is None:
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def run(model: Path, folder: Path, *callbacks: TrainerCallback, **options: Any) -> None:
    given = {"max_steps": STEPS, "save_steps": 4, "use_cpu": True, "disable_tqdm": True, "report_to": "none", **options}
    args = SquareLossTrainingArguments(output_dir=str(folder), do_train=True, do_eval=True, logging_steps=2, **given)
    set_seed(args.seed)
    network = AutoModelForSequenceClassification.from_pretrained(model)  # with dropout
    trainer = SquareLossTrainer(network, args, train_dataset=ROWS, eval_dataset=ROWS, callbacks=[*callbacks])
    run_stages(trainer, {"train": ROWS, "validation": ROWS}, (), list)


def results(folder: Path, stage: str = "train") -> Results:
    return json.loads((folder / f"{stage}_results.json").read_text())


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(model, folder)
    return folder


@pytest.mark.parametrize(
    ("number", "jit", "status", "kept"),
    [
        (signal.SIGTERM, True, 143, "step 6 of 9: .*checkpoint-6 is kept. The same command goes on from there"),
        (signal.SIGTERM, False, 143, "step 5 of 9: .*checkpoint-4 is kept. The same command goes on from there"),
        (signal.SIGINT, True, 130, "step 5 of 9: .*checkpoint-4 is kept. The same command goes on from there"),
    ],
)
def test_a_stopped_run_is_not_finished_and_goes_on(
    number: signal.Signals,
    jit: bool,
    status: int,
    kept: str,
    model: Path,
    undisturbed: Path,
    tmp_path: Path,
    capfd: Any,
) -> None:
    folder = tmp_path / "out"
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(SystemExit) as stopped:
        run(model, folder, SignalAt(number, step=6), enable_jit_checkpoint=jit)
    assert stopped.value.code == status
    _, said = capfd.readouterr()
    assert re.search(f"Stopped by {number.name} at {kept}", said)
    checkpoint = "checkpoint-6" if jit and status == 143 else None
    assert left(folder) == {"_run.json", "_run.lock", "checkpoint-4"} | ({checkpoint} if checkpoint else set())
    if not jit:
        assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before
    run(model, folder)
    assert (folder / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    assert results(folder)["train_loss"] == pytest.approx(results(undisturbed)["train_loss"], rel=1e-6)
    assert results(folder, "eval")["eval_loss"] == results(undisturbed, "eval")["eval_loss"]


def test_without_a_checkpoint_it_is_said_that_nothing_was_kept(model: Path, tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(SystemExit):
        run(model, tmp_path, SignalAt(signal.SIGTERM, step=3))
    assert "at step 2 of 9: there is no checkpoint to go on from (--save_steps)" in capfd.readouterr().err


def test_in_evaluation_the_training_is_kept(model: Path, tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(model, tmp_path, SignalAt(signal.SIGTERM, step=None), enable_jit_checkpoint=True)
    assert stopped.value.code == 143 and "checkpoint-9 is kept" in capfd.readouterr().err
    trained = results(tmp_path)
    assert "eval_results.json" not in left(tmp_path)
    run(model, tmp_path)
    assert results(tmp_path) == trained and "eval_results.json" in left(tmp_path)


def test_the_time_is_that_of_the_whole_run(model: Path, tmp_path: Path) -> None:
    class Slow(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            time.sleep(0.5 if state.global_step == 1 else 0)

    with pytest.raises(SystemExit):
        run(model, tmp_path, Slow(), SignalAt(signal.SIGTERM, step=6))
    run(model, tmp_path)
    found = results(tmp_path)
    assert 0.5 < found["train_runtime"] < 20
    assert found["train_steps_per_second"] == pytest.approx(STEPS / found["train_runtime"], rel=0.02)
    assert found["train_samples_per_second"] == pytest.approx(STEPS * 8 / found["train_runtime"], rel=0.02)


def test_a_script_that_is_preempted(tmp_path: Path) -> None:
    """By a process of its own: the exit status, the message, no traceback, nothing that a finished run leaves."""
    write_toy_files(tmp_path)
    options = f"""
        --model_name_or_path {save_tiny_model(tmp_path / "model")} --train_file {tmp_path / "train.tsv"}
        --validation_file {tmp_path / "validation.tsv"} --output_dir {tmp_path / "out"} --max_steps 100000
        --save_steps 100000 --logging_steps 20 --use_cpu --enable_jit_checkpoint
    """
    command, log = [sys.executable, str(EXAMPLES / "run_glue.py"), *options.split()], tmp_path / "log"
    with started(command, environment(tmp_path / "home"), log) as process:
        end = time.monotonic() + 100
        while b"'loss'" not in log.read_bytes():
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        process.terminate()
        assert process.wait(60) == 143
    said = log.read_text()
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    assert f"{checkpoint} is kept. The same command goes on from there." in said and "Traceback" not in said
    assert left(tmp_path / "out") == {"_run.json", "_run.lock", checkpoint.name}
