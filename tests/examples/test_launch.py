"""examples/run_glue.py under `accelerate launch`: one process, two processes, two machines (on loopback)."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from processes import ACCELERATE, EXAMPLES, environment, finish, free_port, run, started
from safetensors.torch import load_file
from tiny_text_model import save_tiny_model, write_toy_files
from torch import Tensor

ROWS = 32
ONE_STEP = ["--max_steps", "1", "--optim", "sgd", "--learning_rate", "0.5", "--max_grad_norm", "0", "--do_train"]
ONE_STEP += ["--save_strategy", "no"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy task, and a model without dropout: the ranks of a larger world draw other random numbers."""
    folder = tmp_path_factory.mktemp("launch")
    write_toy_files(folder, rows=ROWS)
    config = save_tiny_model(folder / "model") / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_dropout_prob": 0.0}))
    return folder


def script(folder: Path, name: str, batch: int, *options: str) -> list[str]:
    files = ["--train_file", str(folder / "train.tsv"), "--validation_file", str(folder / "validation.tsv")]
    model = ["--model_name_or_path", str(folder / "model"), "--output_dir", str(folder / name)]
    rest = ["--per_device_train_batch_size", str(batch), "--use_cpu", *options]
    return [str(EXAMPLES / "run_glue.py"), *files, *model, *rest]


@pytest.fixture(scope="module")
def one_process(folder: Path) -> Path:
    """Two runs of one process each, side by side: one step over the whole training set, and a whole training.

    The first uses the command that looks as if it ran two processes. Returns its folder.
    """
    step = [ACCELERATE, "launch", "--cpu", "--num_processes", "2", *script(folder, "one", ROWS, *ONE_STEP)]
    options = ["--num_train_epochs", "20", "--learning_rate", "5e-3", "--save_strategy", "no"]
    training = [ACCELERATE, "launch", *script(folder, "files", 4, *options)]
    env = environment(folder / "home")
    with started(step, env, folder / "one.log") as process:
        run(training, env, folder / "files.log")
        finish(process, folder / "one.log")
    return folder / "one"


def card_batch_size(output: Path) -> int:
    """The global batch size, which the model card states: processes x batch per process."""
    stated = re.search(r"\| batch size \| (\d+) \|", (output / "README.md").read_text())
    assert stated is not None
    return int(stated[1])


def update(folder: Path, output: Path) -> dict[str, Tensor]:
    """What training added to the weights."""
    before, after = (load_file(path / "model.safetensors") for path in (folder / "model", output))
    return {name: after[name] - before[name] for name in before}


def relative_difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    assert found.keys() == expected.keys()
    difference = sum((found[name] - expected[name]).square().sum().item() for name in expected)
    return (difference / sum(value.square().sum().item() for value in expected.values())) ** 0.5


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_one_process_trains_and_evaluates(folder: Path, one_process: Path) -> None:
    assert card_batch_size(folder / "files") == 4
    assert read(folder / "files" / "trainer_state.json")["global_step"] == 20 * ROWS // 4
    assert read(folder / "files" / "eval_results.json")["eval_accuracy"] > 0.9
    assert read(folder / "files" / "config.json")["hf_squareloss"]["loss"] == "square"
    assert "eval_accuracy" in (folder / "files.log").read_text()


def test_the_obvious_command_runs_one_process(one_process: Path) -> None:
    """Negative control of the next test: `--cpu --num_processes 2` does not run two."""
    assert card_batch_size(one_process) == ROWS


def test_two_processes_in_bfloat16(folder: Path, one_process: Path) -> None:
    launch = [ACCELERATE, "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "bf16", "--dynamo_backend", "no", "--main_process_port", str(free_port())]
    command = [*launch, *script(folder, "two", ROWS // 4, "--bf16", "--gradient_accumulation_steps", "2", *ONE_STEP)]
    run(command, environment(folder / "home", ACCELERATE_USE_CPU="true"), folder / "two.log")
    assert card_batch_size(folder / "two") == ROWS  # 8 examples x 2 accumulated x 2 processes
    state = read(folder / "two" / "trainer_state.json")
    assert (state["global_step"], state["epoch"]) == (1, 1.0)  # one process would have seen half the data
    # Without a loss that knows of the world size and the accumulation the update would be 4 times this.
    assert relative_difference(update(folder, folder / "two"), update(folder, one_process)) < 0.05


def test_two_machines_take_the_same_step_as_one_process(folder: Path, one_process: Path) -> None:
    port = str(free_port())

    def machine(rank: int) -> list[str]:
        launch = [ACCELERATE, "launch", "--multi_gpu", "--num_machines", "2", "--machine_rank", str(rank)]
        launch += ["--main_process_ip", "127.0.0.1", "--main_process_port", port, "--num_processes", "2"]
        launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
        return [*launch, *script(folder, f"machine{rank}", ROWS // 2, *ONE_STEP)]

    # Machines share no files: each has its own caches and output folder.
    env = [environment(folder / f"home{rank}", ACCELERATE_USE_CPU="true") for rank in (0, 1)]
    with started(machine(1), env[1], folder / "machine1.log") as second:
        run(machine(0), env[0], folder / "machine0.log")
        finish(second, folder / "machine1.log")
    assert card_batch_size(folder / "machine0") == ROWS
    assert not (folder / "machine1" / "model.safetensors").exists()  # the first machine saves
    assert relative_difference(update(folder, folder / "machine0"), update(folder, one_process)) < 1e-5
