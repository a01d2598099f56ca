"""Checkpoints of a loop: whole ones alone are taken."""

from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from hf_squareloss.recipes.loop_checkpoints import choose_checkpoint, save_checkpoint, steps_done


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    accelerator = Accelerator(cpu=True)
    model = torch.nn.Linear(4, 4)
    accelerator.prepare(model, torch.optim.AdamW(model.parameters()))
    for step in (9, 10):
        save_checkpoint(accelerator, tmp_path, step)
    (tmp_path / "checkpoint-old").mkdir()  # somebody else's
    return tmp_path


def test_the_newest_is_taken(folder: Path) -> None:
    assert choose_checkpoint(folder) == (str(folder / "checkpoint-10"), "")
    assert steps_done(str(folder / "checkpoint-10")) == 10
    assert (choose_checkpoint(folder / "none"), steps_done(None)) == ((None, ""), 0)


def test_every_torn_file_is_noticed_and_named(folder: Path) -> None:
    newest = folder / "checkpoint-10"
    names = [path.name for path in newest.iterdir()]
    assert {"model.safetensors", "optimizer.bin", "random_states_0.pkl"} <= set(names)
    for name in names:
        content = (newest / name).read_bytes()
        for torn in (content[:-1], None):
            (newest / name).unlink()
            if torn is not None:
                (newest / name).write_bytes(torn)
            chosen, notice = choose_checkpoint(folder)
            assert chosen == str(folder / "checkpoint-9") and notice.startswith(f"{newest} is passed over: ")
            with pytest.raises(ValueError, match="no run can go on from"):
                choose_checkpoint(folder, str(newest))
            (newest / name).write_bytes(content)
    assert choose_checkpoint(folder, str(newest)) == (str(newest), "")


def test_a_save_that_was_cut_off_leaves_no_list_of_the_files_before(folder: Path) -> None:
    class Killed(Accelerator):
        def save_state(self, *args: object, **kwargs: object) -> Path:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(Killed(cpu=True), folder, 10)
    assert choose_checkpoint(folder)[0] == str(folder / "checkpoint-9")
