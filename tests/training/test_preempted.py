"""Two processes under `accelerate launch`: one lock for both, one step at which both stop, and one checkpoint."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import ACCELERATE, EXAMPLES, environment, free_port, started
from tiny_text_model import save_tiny_model, write_toy_files

from hf_squareloss.recipes.folder_lock import folder_lock
from hf_squareloss.training import last_complete_checkpoint


def wait_for(happened: Callable[[], bool], log: Path) -> None:
    end = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.05)


def test_two_processes_hold_one_folder_and_stop_at_one_step(tmp_path: Path) -> None:
    write_toy_files(tmp_path)
    out, log = tmp_path / "out", tmp_path / "log"
    options = f"""
        --model_name_or_path {save_tiny_model(tmp_path / "model")} --train_file {tmp_path / "train.tsv"}
        --output_dir {out} --max_steps 100000 --save_steps 100000 --logging_steps 10 --do_train --use_cpu
        --enable_jit_checkpoint
    """
    script = [str(EXAMPLES / "run_glue.py"), *options.split()]
    launch = [
        ACCELERATE,
        "launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
    ]
    command = [*launch, "--dynamo_backend", "no", "--main_process_port", str(free_port()), *script]
    env = environment(tmp_path / "home", ACCELERATE_USE_CPU="true")
    with started(command, env, log) as process:
        wait_for(lambda: b"'loss'" in log.read_bytes() or process.poll() is not None, log)
        assert process.poll() is None, log.read_text()[-4000:]
        with pytest.raises(ValueError, match=r"another run is at work in .*out \(process \d+ on "), folder_lock(out):
            pass
        process.terminate()
        assert process.wait(60) != 0
    kept = last_complete_checkpoint(out, world_size=2)
    assert kept is not None and [str(path) for path in out.glob("checkpoint-*")] == [kept]
    assert log.read_text().count(f"{kept} is kept. The same command goes on from there.") == 1
    assert not (out / "model.safetensors").exists() and not (out / "train_results.json").exists()
