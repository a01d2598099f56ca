"""Which checkpoint is whole, and whose loss a folder holds."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import arguments, flat_weights, make_examples, make_model

from hf_squareloss import CrossEntropy, SquareLoss, SquareLossTrainer
from hf_squareloss.training import last_complete_checkpoint, record_run, refuse_other_loss, refuse_other_run

LOSS = SquareLoss(k=2.0, M=3.0)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with checkpoints after steps 2, 4, ..., 12."""
    args = arguments(tmp_path, max_steps=12, save_strategy="steps", save_steps=2)
    SquareLossTrainer(make_model("bert"), args, train_dataset=make_examples("bert"), loss=LOSS).train()
    return tmp_path


def test_newest_by_number_not_by_name(run: Path) -> None:
    assert last_complete_checkpoint(run) == str(run / "checkpoint-12")


@pytest.mark.parametrize("content", [None, "", '{"epoch": 1.0, "global_st', "[]", '{"unheard_of": 1}'])
def test_checkpoint_without_its_end_is_passed_over(content: str | None, run: Path) -> None:
    state = run / "checkpoint-12" / "trainer_state.json"
    state.unlink()
    if content is not None:
        state.write_text(content)
    assert last_complete_checkpoint(run) == str(run / "checkpoint-10")


def test_missing_random_state_of_one_process(run: Path) -> None:
    for step in (10, 12):
        (run / f"checkpoint-{step}" / "rng_state.pth").rename(run / f"checkpoint-{step}" / "rng_state_0.pth")
    (run / "checkpoint-10" / "rng_state_1.pth").touch()
    assert last_complete_checkpoint(run, world_size=2) == str(run / "checkpoint-10")
    assert last_complete_checkpoint(run, world_size=3) is None


def test_nothing_there(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path) is None
    assert last_complete_checkpoint(tmp_path / "missing") is None
    (tmp_path / "checkpoint-last").mkdir()
    assert last_complete_checkpoint(tmp_path) is None


def test_run_killed_while_saving_goes_on_from_the_checkpoint_before(run: Path, tmp_path: Path) -> None:
    weights = torch.load(run / "checkpoint-12" / "optimizer.pt")
    assert weights
    undisturbed = make_model("bert").from_pretrained(run / "checkpoint-12")
    (run / "checkpoint-12" / "trainer_state.json").write_text('{"epoch": 1')
    again = SquareLossTrainer(
        make_model("bert"), arguments(run, max_steps=12), train_dataset=make_examples("bert"), loss=LOSS
    )
    again.train(resume_from_checkpoint=last_complete_checkpoint(run))
    assert torch.equal(flat_weights(again.model), flat_weights(undisturbed))


def test_other_loss(run: Path) -> None:
    refuse_other_loss(run, LOSS)
    for other in (CrossEntropy(), SquareLoss(k=2.0, M=4.0), SquareLoss(k=2.0, M=3.0, class_weights=(1, 2, 1, 1))):
        with pytest.raises(ValueError, match="another loss"):
            refuse_other_loss(run, other)


def test_folder_of_someone_else(tmp_path: Path) -> None:
    refuse_other_loss(tmp_path, LOSS)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    refuse_other_loss(tmp_path, LOSS)


def test_a_run_with_other_settings_is_refused_once_there_is_something_to_resume(tmp_path: Path) -> None:
    record_run(tmp_path, {"seed": 1, "learning_rate": 0.1})
    refuse_other_run(tmp_path, {"seed": 2, "learning_rate": 0.1})  # nothing is there to be mixed up
    (tmp_path / "config.json").write_text("{}")
    refuse_other_run(tmp_path, {"seed": 1, "learning_rate": 0.1})
    with pytest.raises(ValueError, match="seed=1, now 2"):
        refuse_other_run(tmp_path, {"seed": 2, "learning_rate": 0.1})


def test_files_cut_off_by_a_kill_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hf_squa')
    (tmp_path / "run_settings.json").write_text("{")
    refuse_other_loss(tmp_path, SquareLoss())
    refuse_other_run(tmp_path, {"seed": 1})
