"""Which checkpoint is whole, and whose loss a folder holds."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import arguments, flat_weights, make_examples, make_model

from hf_squareloss import CrossEntropy, SquareLoss, SquareLossTrainer
from hf_squareloss.training import (
    _checkpoints,
    last_complete_checkpoint,
    missing_parts,
    newest_weights,
    refuse_other_loss,
    require_resumable,
)

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


def spoil(part: float | None) -> Callable[[Path], None]:
    """Cut a file after this share of it; None changes bytes in its middle."""

    def spoil_file(file: Path) -> None:
        content = file.read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes(255 - b for b in content[middle : middle + 400]) + content[middle + 400 :]
        file.write_bytes(flipped if part is None else content[: int(part * len(content))])

    return spoil_file


def zeros(file: Path) -> None:
    file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.parametrize(
    ("name", "spoilt"),
    [
        *((name, Path.unlink) for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")),
        *((name, spoil(0.5)) for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")),
        *((name, zeros) for name in ("model.safetensors", "optimizer.pt", "rng_state.pth", "config.json")),
        *(("model.safetensors", spoil(0.0)), ("optimizer.pt", spoil(0.0)), ("optimizer.pt", spoil(None))),
    ],
)
def test_a_part_that_cannot_be_read_is_named_and_the_checkpoint_before_taken(
    name: str, spoilt: Callable[[Path], None], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(_checkpoints.logger, "warning_once", said.append)
    assert last_complete_checkpoint(run) == str(run / "checkpoint-12") and not said  # nothing is wrong yet
    spoilt(run / "checkpoint-12" / name)
    assert last_complete_checkpoint(run) == str(run / "checkpoint-10")
    words = {"model.safetensors": "(weights|model)", "rng_state.pth": "r(andom|ng).state"}
    what = words.get(name, name.split(".")[0])
    assert len(said) == 1 and re.search(f"checkpoint-12 is passed over: .*{what}", said[0])


def test_a_lost_shard_and_an_unfinished_mark(run: Path) -> None:
    for step, name, content in (
        (12, "model.safetensors.index.json", '{"weight_map": {"a": "model-2-of-2.safetensors"}}'),
        (10, "model.safetensors.index.json", "{"),
        (8, "checkpoint-is-incomplete.txt", ""),
        (6, "adapter_config.json", "{"),
    ):
        (run / f"checkpoint-{step}" / name).write_text(content)
    assert last_complete_checkpoint(run) == str(run / "checkpoint-4")


def test_missing_random_state_of_one_process(run: Path) -> None:
    for path in run.glob("checkpoint-*"):
        (path / "rng_state.pth").rename(path / "rng_state_0.pth")
    shutil.copy(run / "checkpoint-10" / "rng_state_0.pth", run / "checkpoint-10" / "rng_state_1.pth")
    assert last_complete_checkpoint(run, world_size=2) == str(run / "checkpoint-10")
    assert last_complete_checkpoint(run, world_size=3) is None
    assert last_complete_checkpoint(run, world_size=1) == str(run / "checkpoint-12")


def test_weights_alone_are_no_checkpoint_to_go_on_from(run: Path) -> None:
    for path in run.glob("checkpoint-*"):
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            (path / name).unlink()
    assert last_complete_checkpoint(run) is None
    assert newest_weights(run) == str(run / "checkpoint-12")
    assert missing_parts(run / "checkpoint-12") == ["the optimizer's state", "the scheduler's state"]
    require_resumable(run / "checkpoint-12")  # the last step: nothing is left to train
    with pytest.raises(ValueError, match="checkpoint-10 lacks the optimizer's state and .*save_only_model"):
        require_resumable(run / "checkpoint-10")


def test_deepspeeds_and_fsdps_checkpoints_have_folders(tmp_path: Path) -> None:
    for name, folder in (("deepspeed", "global_step4"), ("fsdp", "optimizer_0")):
        (tmp_path / name / folder).mkdir(parents=True)
    assert missing_parts(tmp_path / "deepspeed") == []
    (tmp_path / "fsdp" / "pytorch_model_fsdp_0").mkdir()
    assert missing_parts(tmp_path / "fsdp") == ["the scheduler's state"]


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


def test_the_checkpoint_resumed_from_counts_too(run: Path, tmp_path: Path) -> None:
    empty, there = tmp_path / "empty", run / "checkpoint-12"
    refuse_other_loss(empty, LOSS, resumed_from=there)
    with pytest.raises(ValueError, match="checkpoint-12 already holds a run with another loss"):
        refuse_other_loss(empty, CrossEntropy(), resumed_from=there)
    config = json.loads((there / "config.json").read_text())
    config.pop("hf_squareloss")
    (there / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not say with which loss"):
        refuse_other_loss(empty, LOSS, resumed_from=there)


def test_files_cut_off_by_a_kill_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"hf_squa')
    refuse_other_loss(tmp_path, SquareLoss())
