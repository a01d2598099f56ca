"""Runs of the Trainer on tiny models, and the gradients that they should have by a plain loop."""

from pathlib import Path
from typing import Any

import torch
from tiny_models import (
    arguments,
    batch_of,
    flat_gradient,
    flat_weights,
    make_examples,
    make_model,
)
from torch import Tensor

from hf_squareloss import (
    SquareLoss,
    SquareLossTrainer,
)

SQUARE = SquareLoss(k=2.0, M=3.0)


def naive_square(scores: Tensor, labels: Tensor) -> Tensor:
    """The mean of (1/C) (k (f_y - M)^2 + sum of the other squares), for k = 2 and M = 3, one item after the other."""
    values = []
    for f, y in zip(scores.flatten(0, -2), labels.flatten(), strict=True):
        if y != -100:
            others = sum(f[i] ** 2 for i in range(len(f)) if i != y)
            values.append((2.0 * (f[y] - 3.0) ** 2 + others) / len(f))
    return torch.stack(values).mean()


def naive_gradient(family: str, **config: Any) -> Tensor:
    """The gradient of `naive_square` without any Trainer."""
    model, batch = make_model(family, **config), batch_of(make_examples(family))
    labels = batch["labels"]
    needs_labels = family.endswith("_seq2seq")
    scores = model(**{name: value for name, value in batch.items() if needs_labels or name != "labels"}).logits
    if family.endswith("_causal"):
        scores, labels = scores[:, :-1], labels[:, 1:]
    naive_square(scores, labels).backward()
    return flat_gradient(model)


def trained(family: str, folder: Path, model: Any = None, examples: Any = None, **changes: Any) -> Any:
    """A trainer after two steps with the square loss, and whose weights have all been checked to be finite."""
    model = make_model(family) if model is None else model
    trainer = SquareLossTrainer(
        model, arguments(folder, max_steps=2, **changes), train_dataset=examples or make_examples(family), loss=SQUARE
    )
    trainer.train()
    assert flat_weights(model).isfinite().all()
    return trainer


def calibration(family: str, folder: Path | str) -> tuple[float, int]:
    """T and the number of items after a step on one process or more, from nine rows: no number of batches."""
    args = arguments(folder, max_steps=1, learning_rate=1e-3, per_device_eval_batch_size=2)
    rows = make_examples(family, 9, seed=2)
    trainer = SquareLossTrainer(make_model(family), args, train_dataset=make_examples(family), eval_dataset=rows)
    trainer.train()
    assert trainer.loss.calibration is not None
    return trainer.loss.calibration.T, trainer.loss.calibration.items


def moved(before: torch.nn.Module, after: torch.nn.Module) -> set[str]:
    old = dict(before.named_parameters())
    return {name for name, p in after.named_parameters() if not torch.equal(p, old[name])}
