"""Class weights that float32 cannot hold: a model in float64 has the gradient of torch's cross-entropy in float64."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import arguments, batch_of, make_examples, make_model
from torch import Tensor
from transformers import TrainerCallback

from hf_squareloss import CrossEntropy, SquareLossTrainer, attach_loss

WEIGHTS = (0.1, 0.7, 1 / 3)


class BiasGradient(TrainerCallback):
    def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
        self.value = model.classifier.bias.grad.clone()


def expected() -> Tensor:
    model = make_model("bert", num_labels=3).double()
    batch = batch_of(make_examples("bert"))
    scores, labels = model(**{name: value for name, value in batch.items() if name != "labels"}).logits, batch["labels"]
    torch.nn.functional.cross_entropy(scores, labels % 3, torch.tensor(WEIGHTS, dtype=torch.float64)).backward()
    return model.classifier.bias.grad


def examples() -> list[dict[str, Tensor]]:
    return [{**example, "labels": example["labels"] % 3} for example in make_examples("bert")]


def distance(found: Tensor) -> float:
    return ((found - expected()).norm() / expected().norm()).item()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_trainer(accumulate: int, tmp_path: Path) -> None:
    sizes = {"per_device_train_batch_size": 8 // accumulate, "gradient_accumulation_steps": accumulate, "max_steps": 1}
    given = {"loss": "cross_entropy", "class_weights": ",".join(map(repr, WEIGHTS))}
    recorder = BiasGradient()
    model = make_model("bert", num_labels=3).double()
    args = arguments(tmp_path, **sizes, **given)
    SquareLossTrainer(model, args, train_dataset=examples(), callbacks=[recorder]).train()
    assert recorder.value.dtype == torch.float64 and distance(recorder.value) < 1e-13


def test_attached_loss() -> None:
    model = attach_loss(make_model("bert", num_labels=3).double(), CrossEntropy(class_weights=WEIGHTS))
    model(**batch_of(examples())).loss.backward()
    assert distance(model.classifier.bias.grad) < 1e-13
    # Control: a denominator summed in float32 is not that near.
    rounded = sum(torch.tensor(WEIGHTS)[batch_of(examples())["labels"]].tolist())
    exact = sum(WEIGHTS[label] for label in batch_of(examples())["labels"].tolist())
    assert abs(rounded / exact - 1) > 1e-10
