"""The best checkpoint of a run that goes on is its own, wherever its folder lies by then."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification
from transformers.trainer_callback import TrainerState

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments
from hf_squareloss.training._resuming import best_beside

SIZES: dict[str, Any] = {
    "num_labels": 2,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}


def trained(folder: Path, seed: int = 0, resume: bool = False, **options: Any) -> dict[str, Tensor]:
    """The weights that a run of four epochs ends with: those of the second, which its metric likes best."""
    torch.manual_seed(seed)
    model = BertForSequenceClassification(BertConfig(vocab_size=16, **SIZES))
    texts = torch.randint(16, (16, 4), generator=torch.Generator().manual_seed(seed))
    data: Any = [{"input_ids": text, "labels": int(text[0] > 7)} for text in texts]
    epochs = dict.fromkeys(("eval_strategy", "save_strategy"), "epoch")
    args = SquareLossTrainingArguments(
        str(folder), loss="square", calibrate=False, learning_rate=1e-2, num_train_epochs=4, seed=seed, use_cpu=True,
        load_best_model_at_end=True, metric_for_best_model="liked", disable_tqdm=True, report_to="none",
        **epochs, **options,
    )  # fmt: skip
    trainer = SquareLossTrainer(
        model, args, train_dataset=data, eval_dataset=data,
        compute_metrics=lambda _: {"liked": -abs(float(trainer.state.epoch or 0) - 2)},
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume)
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def alike(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(weight, second[name]) for name, weight in first.items())


@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_was_moved_keeps_its_best(replaced: bool, tmp_path: Path) -> None:
    first = trained(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    if replaced:  # another run has the old path by now
        assert not alike(first, trained(tmp_path / "here", seed=1))
    assert alike(first, trained(tmp_path / "there", resume=True))
    state = TrainerState.load_from_json(str(tmp_path / "there/checkpoint-8/trainer_state.json"))
    assert state.best_model_checkpoint == str(tmp_path / "here/checkpoint-4")  # a path of another time


def test_it_is_not_deleted_either(tmp_path: Path) -> None:
    first = trained(tmp_path / "here", save_total_limit=2)
    (tmp_path / "here").rename(tmp_path / "there")
    assert sorted(path.name for path in (tmp_path / "there").glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-8"]
    assert alike(first, trained(tmp_path / "there", resume=True, save_total_limit=1))
    assert (tmp_path / "there/checkpoint-4").exists()


def test_only_what_lies_beside_it_is_its_own(tmp_path: Path) -> None:
    (tmp_path / "a/checkpoint-2").mkdir(parents=True)
    checkpoint = tmp_path / "b/checkpoint-3"
    checkpoint.mkdir(parents=True)
    assert best_beside(str(checkpoint)) is None
    TrainerState().save_to_json(str(checkpoint / "trainer_state.json"))
    assert best_beside(str(checkpoint)) is None
    TrainerState(best_model_checkpoint="a/checkpoint-2").save_to_json(str(checkpoint / "trainer_state.json"))
    assert best_beside(str(checkpoint)) is None
    (tmp_path / "b/checkpoint-2").mkdir()
    assert best_beside(str(checkpoint)) == str(tmp_path / "b/checkpoint-2")
