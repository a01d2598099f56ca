"""examples/run_language_modeling.py under `accelerate launch`, two processes in bfloat16."""

import json
from pathlib import Path

import pytest
from processes import ACCELERATE, EXAMPLES, environment, free_port, run

SIZES = "hidden_size=16,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, options = tmp_path_factory.mktemp("texts"), []
    for split, count in (("train", 64), ("validation", 16), ("test", 16)):
        lines = [f"one two {i % 3} three four" for i in range(count)]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
        options += [f"--{split}_file", str(folder / f"{split}.txt")]
    model = ["--model_type", "llama", "--config_overrides", SIZES, "--vocabulary", "words", "--block_size", "5"]
    return [*options, *model, "--use_cpu"]


def test_two_processes_in_bfloat16(given: list[str], tmp_path: Path) -> None:
    launch = [ACCELERATE, "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launch += ["--mixed_precision", "bf16", "--dynamo_backend", "no", "--main_process_port", str(free_port())]
    learn = ["--learning_rate", "1e-2", "--num_train_epochs", "8", "--per_device_train_batch_size", "4", "--bf16"]
    options = [*given, *learn, "--save_strategy", "no", "--output_dir", str(tmp_path / "out")]
    stages = ["--do_train", "--do_eval", "--do_predict"]
    log = run(
        [*launch, str(EXAMPLES / "run_language_modeling.py"), *options, *stages],
        environment(tmp_path / "home", ACCELERATE_USE_CPU="true"),
        tmp_path / "log.txt",
    )
    assert json.loads((tmp_path / "out" / "trainer_state.json").read_text())["global_step"] == 8 * 64 // 8
    found = json.loads((tmp_path / "out" / "all_results.json").read_text())
    assert found["eval_accuracy"] > 0.7 and "builds the scores" not in log
    assert len((tmp_path / "out" / "test_predictions.tsv").read_text().splitlines()) == 17
