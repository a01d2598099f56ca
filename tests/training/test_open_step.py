"""Micro-batches that no optimizer step closes: the rest of a stream's pass, and a step that a callback stops."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import (
    arguments,
    batch_of,
    flat_gradient,
    flat_weights,
    make_examples,
    make_model,
    relative_difference,
)
from torch.utils.data import IterableDataset
from transformers import Trainer, TrainerCallback

from hf_squareloss import SquareLoss, SquareLossTrainer

LOSS = SquareLoss().resolve(4)
ROWS = make_examples("bert", 6)
SPLIT: dict[str, Any] = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 0.0}


class Stream(IterableDataset[Any]):
    """Three batches of two a pass, where a step is two."""

    def __iter__(self) -> Iterator[Any]:
        yield from ROWS


class Recorder(TrainerCallback):
    """Keeps the gradient of every optimizer step."""

    def __init__(self) -> None:
        self.gradients: list[torch.Tensor] = []

    def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
        self.gradients.append(flat_gradient(model).clone())


def one_step() -> tuple[torch.Tensor, float]:
    """Gradient and value of the mean over the first four rows."""
    model, batch = make_model("bert"), batch_of(ROWS[:4])
    labels = batch.pop("labels")
    value = LOSS.mean(model(**batch).logits, labels)
    value.backward()
    return flat_gradient(model), value.item()


def gradients_of(trainer_class: type[Trainer], folder: Path, **options: Any) -> tuple[list[torch.Tensor], Any]:
    recorder = Recorder()
    args = arguments(folder, max_steps=3, **SPLIT)
    trainer = trainer_class(make_model("bert"), args, train_dataset=Stream(), callbacks=[recorder], **options)
    result = trainer.train()
    return recorder.gradients, result


def test_the_rest_of_a_pass_is_no_part_of_the_next_step(tmp_path: Path) -> None:
    found, result = gradients_of(SquareLossTrainer, tmp_path, loss=LOSS)
    expected, value = one_step()
    assert len(found) == 3
    assert all(relative_difference(each, expected) < 1e-5 for each in found)  # the same rows each time, at a rate of 0
    assert result.training_loss == pytest.approx(value, rel=1e-5)


def test_the_stock_trainer_adds_it(tmp_path: Path) -> None:
    """The control: here a repair is needed (transformers 5.24)."""
    found, _ = gradients_of(Trainer, tmp_path)
    assert relative_difference(found[1], found[0]) > 0.1


class Evaluating(TrainerCallback):
    """Evaluates in the middle of a step, with or without weights that are no numbers."""

    def __init__(self, *, poisoned: bool) -> None:
        self.poisoned, self.trainer = poisoned, None

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trainer: Any = self.trainer
        weight = trainer.model.classifier.weight.detach()
        kept = weight.clone()
        if self.poisoned:
            weight.fill_(float("nan"))
        with pytest.raises(FloatingPointError) if self.poisoned else contextlib.nullcontext():
            trainer.evaluate()
        weight.copy_(kept)


@pytest.mark.parametrize("poisoned", [False, True])
def test_evaluation_between_micro_batches_is_none_of_the_steps_business(poisoned: bool, tmp_path: Path) -> None:
    recorder, evaluating = Recorder(), Evaluating(poisoned=poisoned)
    trainer = SquareLossTrainer(
        make_model("bert"),
        arguments(tmp_path, max_steps=1, **SPLIT),
        train_dataset=ROWS[:4],
        eval_dataset=ROWS,
        callbacks=[recorder, evaluating],
        loss=LOSS,
    )
    evaluating.trainer = trainer  # type: ignore[assignment]
    trainer.train()
    assert relative_difference(recorder.gradients[0], one_step()[0]) < 1e-5


class Stopping(TrainerCallback):
    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = True


def test_a_step_that_is_stopped_leaves_nothing_behind(tmp_path: Path) -> None:
    model = make_model("bert")
    before = flat_weights(model).clone()
    data = {"train_dataset": ROWS[:4], "eval_dataset": ROWS}
    args = arguments(tmp_path, max_steps=1, **{**SPLIT, "learning_rate": 0.1})
    trainer = SquareLossTrainer(model, args, callbacks=[Stopping()], loss="square", **data)
    trainer.train()
    assert torch.equal(flat_weights(model), before) and all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        model.classifier.weight.fill_(float("nan"))
    with pytest.raises(FloatingPointError):  # no check waits for a step that never ends
        trainer.evaluate()
