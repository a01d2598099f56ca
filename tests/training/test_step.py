"""One look at the device per optimizer step, and still nothing wrong gets as far as the optimizer."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from ctc_models import make_ctc_model
from host_reads import as_on_an_accelerator, reads_of
from tiny_models import CLASSES, VOCAB, arguments, flat_weights, make_examples, make_model
from torch import Tensor
from transformers import Trainer

from hf_squareloss import SquareLoss, SquareLossTrainer
from hf_squareloss.training._step import Step

FAMILIES = ("bert", "gpt2_causal", "bert_masked", "bart_seq2seq", "wav2vec2_ctc")
SIZES: dict[str, Any] = {"per_device_train_batch_size": 2, "max_steps": 5}


def model_of(family: str) -> Any:
    return make_ctc_model("wav2vec2").train() if family == "wav2vec2_ctc" else make_model(family)


def examples_of(family: str) -> Any:
    if family != "wav2vec2_ctc":
        return make_examples(family, 64)
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(1, 11, (64, 4), generator=random)
    return [{"input_values": torch.randn(1200, generator=random), "labels": label} for label in labels]


@pytest.mark.usefixtures("always_gram")
@pytest.mark.parametrize("accumulate", [1, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_one_read_a_step_and_no_more_than_the_stock_trainers(family: str, accumulate: int, tmp_path: Path) -> None:
    args = {"gradient_accumulation_steps": accumulate, **SIZES}
    ours = reads_of(
        SquareLossTrainer, model_of(family), arguments(tmp_path, **args), examples_of(family), loss=SquareLoss()
    )
    stock = reads_of(Trainer, model_of(family), arguments(tmp_path, **args), examples_of(family))
    steps = 2
    own = Counter({name: count for name, count in ours.ours.items() if "_ctc_loss" not in name})
    assert own.total() == steps, own  # the one look; torch's own ctc_loss reads the lengths, ours and the stock's alike
    assert next(iter(own)).endswith("_step.py look")
    assert (ours.ours + ours.others).total() <= stock.others.total()


def test_a_read_at_every_micro_batch_is_noticed(tmp_path: Path) -> None:
    class Reading(SquareLossTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            value = super().compute_loss(*args, **kwargs)
            assert value.item() > 0
            return value

    args = arguments(tmp_path, gradient_accumulation_steps=4, **SIZES)
    reads = reads_of(Reading, make_model("bert"), args, make_examples("bert", 64), loss=SquareLoss())
    assert (reads.ours + reads.others).total() >= 8


# ---- what is wrong is caught before the optimizer steps --------------------------------------------------------------
def untouched_by(model: Any, examples: Any, folder: Path, error: type[Exception], words: str, **changes: Any) -> None:
    before = flat_weights(model).clone()
    args = arguments(folder, **{**SIZES, "per_device_train_batch_size": 4, **changes})
    with as_on_an_accelerator(), pytest.raises(error, match=words):
        SquareLossTrainer(model, args, train_dataset=examples, loss=SquareLoss()).train()
    assert torch.equal(flat_weights(model), before)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("family", "wrong", "words"),
    [
        ("bert", CLASSES, rf"labels must be in \[0, {CLASSES}\), got {CLASSES}"),
        ("bert", -1, "got -1"),
        ("bert_tokens", CLASSES + 3, f"got {CLASSES + 3}"),
        ("gpt2_causal", VOCAB, f"got {VOCAB}"),
        ("bart_seq2seq", VOCAB + 1, f"got {VOCAB + 1}"),
        ("wav2vec2_ctc", 0, "utterance . of the batch: .*without the blank"),
        ("wav2vec2_ctc", 99, "utterance . of the batch: .*got 99"),
    ],
)
def test_wrong_labels(family: str, wrong: int, words: str, accumulate: int, tmp_path: Path) -> None:
    examples = examples_of(family)[:8]
    for example in examples[4:]:
        example["labels"] = example["labels"].clone()
        (example["labels"] if example["labels"].dim() else example["labels"].view(1))[-1] = wrong
    untouched_by(
        model_of(family), examples, tmp_path, ValueError, words,
        gradient_accumulation_steps=accumulate, train_sampling_strategy="sequential" if accumulate == 2 else "random",
        per_device_train_batch_size=4 if accumulate == 2 else 8,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("scale", "words"), [(1e30, "the loss overflowed"), (float("nan"), "the model's scores are not finite")]
)
def test_losses_that_are_not_finite(scale: float, words: str, tmp_path: Path) -> None:
    model = make_model("bert")
    with torch.no_grad():
        model.classifier.weight.mul_(scale)  # type: ignore[operator]
    with pytest.raises(FloatingPointError, match=words):
        SquareLossTrainer(
            model, arguments(tmp_path, **SIZES), train_dataset=make_examples("bert"), loss="square"
        ).train()


def test_all_that_fails_acts_in_order_until_the_step_has_another_value() -> None:
    done: list[str] = []

    def act(name: str, value: Tensor | None = None) -> Any:
        return lambda: (done.append(name), value)[1]

    step, true, false = Step(), torch.tensor(True), torch.tensor(False)
    for fine, name, value in ((true, "a", None), (false, "b", None), (false, "c", torch.ones(())), (false, "d", None)):
        step.require(fine, act(name, value))
    assert step.look() is not None
    assert done == ["b", "c"] and step.look() is None
