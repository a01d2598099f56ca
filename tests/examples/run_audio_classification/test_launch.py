"""examples/run_audio_classification.py under `accelerate launch`: two processes, and bfloat16."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from example_scripts import QUIET, load_example, results
from note_files import SHORT, write_notes
from processes import ACCELERATE, EXAMPLES, environment, free_port
from processes import run as execute
from safetensors.torch import load_file

ONE_STEP = ["--optim", "sgd", "--learning_rate", "0.5", "--max_grad_norm", "0", "--num_train_epochs", "2", "--do_train"]


def test_two_processes_train_on_the_same_sounds_as_one(model: str, tmp_path: Path) -> None:
    """Their random cuts in the second epoch too, which are others than those of the first."""
    folders = write_notes(tmp_path / "notes", {"train": 24})
    common = ["--config_name", model, *folders, *ONE_STEP, "--save_strategy", "no", *QUIET]
    common += ["--max_length_seconds", "0.06"]
    main = load_example("run_audio_classification").main
    whole = ["--per_device_train_batch_size", "24", "--output_dir"]
    main([*common, *whole, str(tmp_path / "one")])
    launch = [ACCELERATE, "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", str(free_port())]
    script = [str(EXAMPLES / "run_audio_classification.py"), "--per_device_train_batch_size", "6"]
    more = ["--gradient_accumulation_steps", "2", "--output_dir", str(tmp_path / "two")]
    execute(
        [*launch, *script, *common, *more], environment(tmp_path / "home", ACCELERATE_USE_CPU="true"), tmp_path / "log"
    )
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert json.loads((tmp_path / "two" / "trainer_state.json").read_text())["global_step"] == 2
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)
    main([*common, *whole, str(tmp_path / "other"), "--max_length_seconds", "0.05"])
    other = load_file(tmp_path / "other" / "model.safetensors")
    assert not all(torch.allclose(one[name], other[name], atol=1e-3) for name in one)


def test_bfloat16(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    run(*SHORT, "--bf16")
    assert results(tmp_path / "out")["eval_samples"] == 24
