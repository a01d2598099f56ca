"""Utterances with fewer frames than their labels need teach nothing: said once, with what to do."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ctc_models import make_ctc_model
from tiny_models import arguments
from transformers import Trainer

from hf_squareloss import CrossEntropy, SquareLoss, SquareLossTrainer, attach_loss
from hf_squareloss.heads import ctc_frames

pytestmark = pytest.mark.usefixtures("nothing_said")
SAMPLES = 380


def examples(needed: int) -> Any:
    """Eight utterances of 19 frames; the last needs `needed`, by equal neighbours."""
    torch.manual_seed(0)
    frames = int(ctc_frames(make_ctc_model("wav2vec2"), torch.tensor([SAMPLES])))
    assert frames == 19
    repeated = torch.tensor([3] * ((needed + 1) // 2))  # so many labels, and a blank between each two
    short = torch.tensor([1, 2, 3, *[-100] * (len(repeated) - 3)])
    return [{"input_values": torch.randn(SAMPLES), "labels": repeated if i == 7 else short} for i in range(8)]


def by_trainer(folder: Path, data: Any, **options: Any) -> float:
    args = arguments(folder, max_steps=4, per_device_train_batch_size=4, **options)
    trainer = SquareLossTrainer(make_ctc_model("wav2vec2"), args, train_dataset=data, loss=SquareLoss())
    return trainer.train().training_loss


def by_evaluation(folder: Path, data: Any) -> float:
    trainer = SquareLossTrainer(make_ctc_model("wav2vec2"), arguments(folder), loss=CrossEntropy())
    return trainer.evaluate(data)["eval_loss"]


def by_attached_loss(folder: Path, data: Any) -> float:
    args = arguments(folder, max_steps=4, per_device_train_batch_size=4)
    return Trainer(attach_loss(make_ctc_model("wav2vec2")), args, train_dataset=data).train().training_loss


@pytest.mark.parametrize("run", [by_trainer, by_evaluation, by_attached_loss])
def test_it_is_said_once(run: Callable[..., float], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        assert run(tmp_path / "a", examples(19)) > 0
        assert "fewer frames" not in caplog.text  # as many as it needs
        assert run(tmp_path / "b", examples(21)) > 0
    said = [record.message for record in caplog.records if "fewer frames" in record.message]
    assert len(said) == 1 and "Leave them out" in said[0]


def test_an_utterance_without_an_alignment_changes_no_weight_and_counts() -> None:
    model = make_ctc_model("wav2vec2").train()
    attach_loss(model, SquareLoss())
    data = examples(21)
    batch = {name: torch.stack([data[6][name], data[7][name]]) for name in data[0]}
    both = model(**batch).loss
    alone = model(**{name: value[:1] for name, value in batch.items()}).loss
    torch.testing.assert_close(both, alone / 2)
    none = model(**{name: value[1:] for name, value in batch.items()}).loss
    none.backward()
    assert none == 0 and all(p.grad is None or not p.grad.any() for p in model.parameters())
