"""What changes in the middle of training is seen, and the step is computed again with scores."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from language_models import SQUARE, Changed, OnScores, Scaled, adapted_head, gpt2
from tiny_models import (
    arguments,
    flat_weights,
    make_examples,
    relative_difference,
)
from torch import Tensor

from hf_squareloss import SquareLossTrainer

pytestmark = pytest.mark.usefixtures("always_gram", "nothing_said")


class TwiceLater(tf.GPT2LMHeadModel):
    """Calls its output layer twice from the third forward on; the first is the one that is looked at."""

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs) -> Any:  # type: ignore[override]
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        self.forwards = getattr(self, "forwards", 0) + 1
        if self.forwards > 2:
            self.lm_head(torch.zeros(1, 1, self.config.n_embd))
        return outputs


class HalvedInTraining(Changed):
    """Which the look at the model, in evaluation, does not see."""

    @property
    def change(self) -> Any:  # type: ignore[override]
        return lambda scores: 0.5 * scores if self.training else scores


class HalvedInPlaceInTraining(Changed):
    @property
    def change(self) -> Any:  # type: ignore[override]
        return lambda scores: scores.mul_(0.5) if self.training else scores


class AfterAStep(tf.TrainerCallback):
    def __init__(self, change: Any) -> None:
        self.change = change

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            self.change(kwargs["model"])


def hook_later(model: Any) -> None:
    model.lm_head.register_forward_hook(lambda module, args, output: 2.0 * output)


def disable_adapters_later(model: Any) -> None:
    model.base_model.disable_adapter_layers()


def merge_later(model: Any) -> None:
    model.merge_adapter()


def with_a_frozen_scale() -> Any:
    model = gpt2(Scaled)
    model.scale.requires_grad_(False)
    return model


def unfreeze_later(model: Any) -> None:
    model.requires_grad_(True)


@pytest.mark.parametrize(
    ("make", "change", "reason"),
    [
        (lambda: gpt2(TwiceLater), None, "does not always call its output layer once"),
        (lambda: gpt2(HalvedInTraining), None, "hand on the scores as they are"),
        (lambda: gpt2(HalvedInPlaceInTraining), None, "hand on the scores as they are"),
        (gpt2, hook_later, "hooks"),
        (with_a_frozen_scale, unfreeze_later, "parameters that are trained"),
        (lambda: adapted_head(r=2).requires_grad_(True), disable_adapters_later, "output layer is a peft"),
        (lambda: adapted_head(r=2).requires_grad_(True), merge_later, "output layer is a peft"),
    ],
    ids=["twice", "training", "in_place", "hook", "unfrozen", "disabled", "merged"],
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
@pytest.mark.filterwarnings("ignore:.*tied:UserWarning")  # PEFT: this head shares its weight
@pytest.mark.parametrize("accumulate", [1, 4])
def test_what_changes_later_is_seen(
    make: Any, change: Any, reason: str, accumulate: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The step is computed again, with scores: the weights and what is logged are those of scores all along."""

    def trained(trainer: type[SquareLossTrainer]) -> tuple[Tensor, list[float]]:
        model = make()
        sizes = {"per_device_train_batch_size": 8 // accumulate, "max_steps": 3, "learning_rate": 0.01}
        callbacks = [AfterAStep(change)] if change else []
        examples: Any = make_examples("gpt2_causal")
        logs = {"logging_strategy": "steps", "logging_steps": 1, "gradient_accumulation_steps": accumulate}
        args = arguments(tmp_path, **sizes, **logs)
        made = trainer(model, args, train_dataset=examples, loss=SQUARE, callbacks=callbacks)
        made.train()
        return flat_weights(model), [entry["loss"] for entry in made.state.log_history if "loss" in entry]

    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours, losses = trained(SquareLossTrainer)
    assert reason in caplog.text
    reference, expected = trained(OnScores)
    assert relative_difference(ours, reference) < 1e-6
    assert losses == pytest.approx(expected, rel=1e-4)
