"""What a push would take from a folder: no path of the machine, no token of an earlier run."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import arguments, make_examples, make_model
from transformers import Trainer, TrainingArguments

from hf_squareloss import SquareLossTrainer
from hf_squareloss.training import require_no_tokens

TOKEN = "hf_thisIsAToken0123456789abcdefghijk"


def saved(trainer: Any) -> bytes:
    trainer.state.best_model_checkpoint = str(Path(trainer.args.output_dir) / "checkpoint-1")
    trainer.save_model()
    trainer.save_state()
    folder = Path(trainer.args.output_dir)
    return (folder / "training_args.bin").read_bytes() + (folder / "trainer_state.json").read_bytes()


def test_saved_arguments_and_state_hold_no_path(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    options: Any = {"train_dataset": make_examples("bert"), "args": arguments(folder)}
    assert saved(Trainer(make_model("bert"), **options)).count(str(folder).encode()) > 1  # the stock Trainer's do
    trainer = SquareLossTrainer(make_model("bert"), **options)
    assert str(folder).encode() not in saved(trainer)
    assert trainer.args.output_dir == str(folder) and type(trainer.args.output_dir) is str
    assert trainer.state.best_model_checkpoint == str(folder / "checkpoint-1")  # resuming and loading it go on
    assert json.loads((folder / "trainer_state.json").read_text())["best_model_checkpoint"] == "checkpoint-1"
    loaded = torch.load(folder / "training_args.bin", weights_only=False)
    assert (loaded.output_dir, loaded.loss) == ("out", trainer.args.loss)


def test_a_token_of_an_earlier_run_is_not_pushed(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier" / "checkpoint-3"
    earlier.mkdir(parents=True)
    plain = TrainingArguments(str(tmp_path), hub_token=TOKEN, use_cpu=True)
    torch.save(plain, earlier / "training_args.bin")
    with pytest.raises(ValueError, match=r"checkpoint-3/training_args.bin holds a token"):
        require_no_tokens(tmp_path)
    with pytest.raises(ValueError, match="holds a token"):
        SquareLossTrainer(make_model("bert"), arguments(tmp_path)).push_to_hub()
    plain.hub_token = None
    torch.save(plain, earlier / "training_args.bin")
    require_no_tokens(tmp_path)
    for unpushed in ("checkpoint-1", "_old"):
        (tmp_path / unpushed).mkdir()
        torch.save(
            TrainingArguments(str(tmp_path), hub_token=TOKEN, use_cpu=True), tmp_path / unpushed / "training_args.bin"
        )
    require_no_tokens(tmp_path)
