"""examples/run_image_classification_no_trainer.py in this process: it learns, and goes on after a kill."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import load_example, predictions
from picture_files import MODEL, weights, write_pictures

from hf_squareloss import SquareLoss, load_loss
from hf_squareloss.recipes import loop_checkpoints, training_loop

script = load_example("run_image_classification_no_trainer")
Run = Callable[..., dict[str, float]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    folders = write_pictures(tmp_path / "pictures", {"train": 48, "validation": 16, "test": 16})

    def trained(*options: str, out: str = "out") -> dict[str, float]:
        return script.main([*MODEL, *folders, "--output_dir", str(tmp_path / out), "--num_train_epochs", "1", *options])

    return trained


def test_bars_are_learnt(run: Run, tmp_path: Path) -> None:
    learn = ["--learning_rate", "1e-2", "--num_train_epochs", "6", "--augmentations", "flip"]
    found = run(*learn, "--loss_k", "2", "--class_weights", "upright=1,across=2")
    assert found["accuracy"] > 0.9 and found["test_accuracy"] > 0.9
    loss = load_loss(tmp_path / "out")
    assert isinstance(loss, SquareLoss) and loss.k == 2.0 and loss.class_weights == (2.0, 1.0)
    assert len(predictions(tmp_path / "out")) == 16
    card = (tmp_path / "out" / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card and "import hf_squareloss.models" in card
    assert (tmp_path / "out" / "preprocessor_config.json").exists()


class Killed(Exception):
    pass


def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its random crops too: in the second epoch, of 6 steps."""
    options = ["--num_train_epochs", "2", "--checkpointing_steps", "4", "--learning_rate", "1e-2"]
    expected = run(*options, out="whole")

    def save_and_die(accelerator: Any, folder: str, at: int) -> None:
        loop_checkpoints.save_checkpoint(accelerator, folder, at)
        if at == 8:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training_loop, "save_checkpoint", save_and_die)
        run(*options)
    assert run(*options) == expected
    assert torch.equal(weights(tmp_path / "out"), weights(tmp_path / "whole"))
    with pytest.raises(ValueError, match="min_crop_area"):
        run(*options, "--min_crop_area", "0.5")


def test_a_checkpoint_of_another_run_is_refused(run: Run, tmp_path: Path) -> None:
    run("--checkpointing_steps", "epoch", "--loss", "cross_entropy", out="other")
    with pytest.raises(ValueError, match="other already holds a run with loss="):
        run("--resume_from_checkpoint", str(tmp_path / "other" / "checkpoint-6"), "--loss", "square")
    assert not (tmp_path / "out" / "config.json").exists()


def test_what_is_missing_is_named(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give the data"):
        script.main([*MODEL, "--output_dir", str(tmp_path / "out")])
    with pytest.raises(ValueError, match="there is no validation split: give .*--validation_dir .* 0.1$"):
        script.main(
            [*MODEL, "--train_dir", str(tmp_path / "pictures" / "train"), "--output_dir", str(tmp_path / "out")]
        )
