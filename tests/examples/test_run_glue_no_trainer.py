"""examples/run_glue_no_trainer.py in this process: its loss and its data, and a run that goes on after a kill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import load_example, predictions
from glue_runs import weights
from peft import PeftModel
from tiny_text_model import save_tiny_model, write_toy_files

from hf_squareloss import SquareLoss, load_config, load_loss
from hf_squareloss.recipes import loop_checkpoints, training_loop

script = load_example("run_glue_no_trainer")
Run = Callable[..., dict[str, float]]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return write_toy_files(tmp_path)


@pytest.fixture
def run(tmp_path: Path, files: dict[str, Path]) -> Run:
    """Train on sixteen rows with these options, the last ones of which win."""
    model = save_tiny_model(tmp_path / "model")

    def trained(*options: str, out: str = "out") -> dict[str, float]:
        given = ["--model_name_or_path", str(model), "--output_dir", str(tmp_path / out), "--num_train_epochs", "1"]
        given += ["--train_file", str(files["train"]), "--validation_file", str(files["validation"])]
        metrics = script.main([*given, "--max_train_samples", "16", "--max_eval_samples", "8", *options])
        assert all(0 <= value <= 1 for name, value in metrics.items() if name != "nll")
        return metrics

    return trained


def test_the_loss_and_its_parameters(run: Run, tmp_path: Path) -> None:
    run("--loss_k", "2", "--loss_parameters", "M=3", "ignore_index=-1", "--label_smoothing", "0.1")
    loss = SquareLoss(k=2.0, M=3.0, ignore_index=-1, label_smoothing=0.1)
    assert load_loss(tmp_path / "out") == loss


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--loss_k", "2", "--loss_parameters", "k=3"], "'k' is given twice"),
        (["--loss_k", "two"], "k must be a positive number"),
        (["--loss", "cross_entropy", "--loss_parameters", "labl_smoothing=0.1"], "did you mean 'label_smoothing'"),
        (["--checkpointing_steps", "0"], "checkpointing_steps must be"),
        (["--train_split_name", "dev"], "would be ignored"),
        (["--lora_r", "2"], "would be ignored"),
    ],
)
def test_wrong_options_are_refused(options: list[str], says: str, run: Run, capsys: Any) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(*options)
    assert says in capsys.readouterr().err


def test_an_option_for_a_trainer_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="record_epochs would be ignored"):
        run("--record_epochs")


def test_class_weights_by_name(run: Run, tmp_path: Path, capsys: Any) -> None:
    run("--class_weights", "good=9,bad=1")
    assert load_loss(tmp_path / "out").class_weights == (1.0, 9.0)
    assert "Class weights: bad=1, good=9" in capsys.readouterr().out
    with pytest.raises(ValueError, match="no weight for bad"):
        run("--class_weights", "good=9", out="other")


def test_several_classes_at_once_and_a_validation_split_of_the_training_rows(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "several.tsv"
    rows = ["fine film\tgood|old", "dull film\tbad", "the story\t", "grim voice\tbad|old"] * 8
    table.write_text("\n".join(["text\tkinds", *rows]) + "\n")
    options = [
        "--label_separator",
        "|",
        "--label_column",
        "kinds",
        "--train_val_split",
        "0.25",
        "--ignore_mismatched_sizes",
    ]
    files = ["--train_file", str(table), "--test_file", str(table)]
    script.main(
        [*files, *options, "--model_name_or_path", str(tmp_path / "model"), "--output_dir", str(tmp_path / "o")]
    )
    config = load_config(tmp_path / "o").to_dict()
    assert config["hf_squareloss"]["multi_label"] and list(config["id2label"].values()) == ["bad", "good", "old"]
    assert len(predictions(tmp_path / "o")) == 32


def test_values(run: Run, tmp_path: Path) -> None:
    files = write_toy_files(tmp_path / "values", regression=True)
    given = [f"--{split}_file={file}" for split, file in files.items()]
    options = ["--label_type", "values", "--ignore_mismatched_sizes", "--model_name_or_path", str(tmp_path / "model")]
    metrics = script.main([*given, *options, "--output_dir", str(tmp_path / "out")])
    assert {"mse", "test_mse"} <= metrics.keys() and load_config(tmp_path / "out").num_labels == 1


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21, transformers 5.24
def test_adapters(run: Run, tmp_path: Path) -> None:
    run("--use_lora", "--lora_r", "2", "--loss_k", "2")
    assert (tmp_path / "out" / "adapter_model.safetensors").exists()
    assert not (tmp_path / "out" / "model.safetensors").exists()
    loss = load_loss(tmp_path / "out")
    assert isinstance(loss, SquareLoss) and loss.k == 2.0
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert PeftModel.from_pretrained(model, tmp_path / "out").peft_config["default"].r == 2  # type: ignore[union-attr]


class Killed(Exception):
    pass


@pytest.mark.parametrize("step", [1, 2, 4])  # within an epoch, at its end, and behind the last step
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    step: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    options = ["--num_train_epochs", "2", "--gradient_accumulation_steps", "2", "--per_device_train_batch_size", "4"]
    options += ["--checkpointing_steps", "1", "--learning_rate", "1e-2"]
    expected = run(*options, out="whole")

    def save_and_die(accelerator: Any, folder: str, at: int) -> None:
        loop_checkpoints.save_checkpoint(accelerator, folder, at)
        if at == step:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training_loop, "save_checkpoint", save_and_die)
        run(*options)
    capsys.readouterr()
    assert run(*options) == expected
    assert f"Resuming from {tmp_path / 'out' / f'checkpoint-{step}'}" in capsys.readouterr().out
    assert torch.equal(weights(tmp_path / "out"), weights(tmp_path / "whole"))
    before = weights(tmp_path / "out")
    run(*options, "--resume_from_checkpoint", str(tmp_path / "whole" / "checkpoint-1"))
    assert torch.equal(weights(tmp_path / "out"), before)


def test_so_many_steps_in_place_of_epochs(run: Run, tmp_path: Path) -> None:
    """Four steps an epoch: six are one epoch and a half, also where the run goes on behind them."""
    options = ["--per_device_train_batch_size", "4", "--learning_rate", "1e-2", "--checkpointing_steps", "1"]
    run(*options, "--max_train_steps", "6")
    there = sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*"))
    assert there[-1] == "checkpoint-6"
    before = weights(tmp_path / "out")
    run(*options, "--max_train_steps", "6")
    assert torch.equal(weights(tmp_path / "out"), before)
    assert "| steps | 6 |" in (tmp_path / "out/README.md").read_text()


def test_another_run_in_the_folder_is_refused_and_two_at_once(run: Run, tmp_path: Path, files: dict[str, Path]) -> None:
    run()
    with pytest.raises(ValueError, match="seed=42 there, now 7"):
        run("--seed", "7")
    run("--checkpointing_steps", "epoch", "--per_device_eval_batch_size", "2")  # which changes no weight
    files["train"].write_text(files["train"].read_text().replace("\tgood", "\tbad", 20))
    with pytest.raises(ValueError, match="training data"):
        run()
    with training_loop.folder_lock(tmp_path / "out"), pytest.raises(ValueError, match="another run is at work"):
        run()
