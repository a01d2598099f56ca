"""What the Trainer refuses, and what it says when a loss is not finite."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from host_reads import as_on_an_accelerator
from tiny_models import (
    CLASSES,
    VOCAB,
    arguments,
    make_examples,
    make_model,
)
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from trainer_runs import SQUARE, trained
from transformers import Trainer

from hf_squareloss import (
    CrossEntropy,
    SquareLoss,
    SquareLossTrainer,
)


def test_label_smoothing_twice(tmp_path: Path) -> None:
    args = arguments(tmp_path, label_smoothing_factor=0.1)
    with pytest.raises(ValueError, match="twice"):
        SquareLossTrainer(make_model("bert"), args, loss=SquareLoss(label_smoothing=0.1))


def test_compute_loss_func(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compute_loss_func"):
        SquareLossTrainer(make_model("bert"), arguments(tmp_path), compute_loss_func=lambda *a, **k: 0.0)


def test_liger_on_language_models(tmp_path: Path) -> None:
    args = arguments(tmp_path, use_liger_kernel=True)
    with pytest.raises(ValueError, match="liger"):
        SquareLossTrainer(make_model("gpt2_causal"), args)
    SquareLossTrainer(make_model("bert"), args)  # no fused loss there
    unfused = arguments(tmp_path, use_liger_kernel=True, liger_kernel_config={"fused_linear_cross_entropy": False})
    SquareLossTrainer(make_model("gpt2_causal"), unfused)


@pytest.mark.parametrize(
    ("family", "config", "loss", "word"),
    [
        ("bert", {"problem_type": "multi_label_classification"}, "squentropy", "multi-label"),
        ("bert", {"num_labels": 1}, "cross_entropy", "num_labels = 1"),
        ("bert", {"num_labels": 1}, "squentropy", "num_labels = 1"),
        ("bert", {"num_labels": 1}, SQUARE, "C = 1"),
        ("bert", {}, SquareLoss(class_weights=(1.0, 2.0)), "class_weights"),
        ("bert", {}, "sqare", "did you mean 'square'"),
        ("bert", {}, 3, "int"),
        ("bert", {}, SquareLoss(ctc_tau=0.1), "ctc_tau"),
        ("wav2vec2_ctc", {}, CrossEntropy(class_weights=(1.0,) * VOCAB), "class_weights"),
    ],
)
def test_refused_at_construction(family: str, config: Any, loss: Any, word: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=word):
        SquareLossTrainer(make_model(family, **config), arguments(tmp_path), loss=loss)


def test_output_dir_of_another_loss(tmp_path: Path) -> None:
    trained("bert", tmp_path, save_strategy="steps", save_steps=1)
    trained("bert", tmp_path)  # the same loss may go on
    other = SquareLossTrainer(
        make_model("bert"), arguments(tmp_path), train_dataset=make_examples("bert"), loss="cross_entropy"
    )
    with pytest.raises(ValueError, match="another loss"):
        other.train()
    other.save_model(str(tmp_path / "elsewhere"))
    with pytest.raises(ValueError, match="another loss"):
        trained("bert", tmp_path / "elsewhere")


@pytest.mark.parametrize("bad", [CLASSES, -1])
def test_labels_out_of_range(bad: int, tmp_path: Path) -> None:
    examples = make_examples("bert")
    examples[5]["labels"] = torch.tensor(bad)
    with pytest.raises(ValueError, match=str(bad)):
        trained("bert", tmp_path, examples=examples)


def test_tuple_outputs(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="return_dict"):
        trained("bert", tmp_path, model=make_model("bert", return_dict=False))


def test_missing_labels(tmp_path: Path) -> None:
    examples = [{"input_ids": example["input_ids"]} for example in make_examples("bert")]
    with pytest.raises(ValueError, match="labels"):
        trained("bert", tmp_path, examples=examples)


def test_scores_of_another_number_of_classes(tmp_path: Path) -> None:
    """A head that scores something else than the config's labels would get wrong k and M without a word."""
    model = make_model("bert")
    model.config.num_labels = CLASSES + 1
    with pytest.raises(ValueError, match="classes"):
        trained("bert", tmp_path, model=model)


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_scores_that_are_not_finite(poison: float, tmp_path: Path) -> None:
    class Poisoned(SquareLossTrainer):
        def training_step(self, model: Any, *args: Any, **kwargs: Any) -> Tensor:
            if self.state.global_step == 3:
                model.classifier.bias.data[0] = poison
            return super().training_step(model, *args, **kwargs)

    args = arguments(tmp_path, max_steps=5, save_strategy="steps", save_steps=2)
    trainer = Poisoned(make_model("bert"), args, train_dataset=make_examples("bert"), loss="square")
    with pytest.raises(FloatingPointError, match=r"step 4, loss square.*checkpoint-2"):
        trainer.train()
    saved = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())
    assert saved["global_step"] == 2


def test_scores_that_are_not_finite_in_evaluation(tmp_path: Path) -> None:
    model = make_model("bert")
    model.classifier.bias.data[0] = float("nan")
    with pytest.raises(FloatingPointError, match="no checkpoint"):
        SquareLossTrainer(model, arguments(tmp_path), eval_dataset=make_examples("bert"), loss=SQUARE).evaluate()


def test_predictions_keep_the_order_of_the_rows(tmp_path: Path) -> None:
    """The stock Trainer sorts them by length; its strategy is as before afterwards."""
    rows = [{"input_ids": torch.arange(3, 3 + 1 + (5 * i) % 7), "labels": torch.tensor(i % 2)} for i in range(12)]
    for row in rows:
        row["attention_mask"] = torch.ones_like(row["input_ids"])

    def pad(batch: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        columns = {name: [row[name] for row in batch] for name in ("input_ids", "attention_mask")}
        padded = {name: pad_sequence(column, batch_first=True) for name, column in columns.items()}
        return {**padded, "labels": torch.stack([row["labels"] for row in batch])}

    options: dict[str, Any] = {"train_sampling_strategy": "group_by_length", "per_device_eval_batch_size": 4}
    labels = {}
    for trainer_class in (SquareLossTrainer, Trainer):
        trainer = trainer_class(make_model("bert"), arguments(tmp_path, **options), data_collator=pad)
        labels[trainer_class] = trainer.predict(rows).label_ids.tolist()  # type: ignore[arg-type]
        assert trainer.args.train_sampling_strategy == "group_by_length"
    assert labels[SquareLossTrainer] == [i % 2 for i in range(12)] != labels[Trainer]


@pytest.mark.parametrize("where", ["CPU", "accelerator"])
@pytest.mark.parametrize(
    ("multi_label", "targets", "message"),
    [
        (True, [1.0, -100.0, 0.0, 1.0], r"labels must be in \[0, 1\], got -100"),
        (True, [1.0, 0.0, 2.0, 1.0], r"labels must be in \[0, 1\], got 2"),
        (False, [3.0, -2.0, 5.0, 0.0], r"labels must be in \[0, 1\], got 3"),
        (False, [1.0, 1.0, 0.0, 0.0], "sum to one"),
    ],
)
def test_floating_targets_that_mean_nothing(
    where: str, multi_label: bool, targets: list[float], message: str, tmp_path: Path
) -> None:
    rows = [{**row, "labels": torch.tensor([0.0, 0.0, 0.0, 1.0])} for row in make_examples("bert")]
    rows[5]["labels"] = torch.tensor(targets)
    model = make_model("bert", problem_type="multi_label_classification") if multi_label else make_model("bert")
    trainer = SquareLossTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=rows, loss="square")
    reads = as_on_an_accelerator() if where == "accelerator" else contextlib.nullcontext()
    with reads, pytest.raises(ValueError, match=message):
        trainer.train()


def test_a_wrong_label_with_class_weights_is_named(tmp_path: Path) -> None:
    rows = make_examples("bert")
    rows[3]["labels"] = torch.tensor(CLASSES)
    weighted = SquareLoss(class_weights=(1.0, 2.0, 1.0, 1.0))
    trainer = SquareLossTrainer(make_model("bert"), arguments(tmp_path, max_steps=1), train_dataset=rows, loss=weighted)
    with pytest.raises(ValueError, match=rf"labels must be in \[0, {CLASSES}\), got {CLASSES}"):
        trainer.train()


@pytest.mark.parametrize("option", [{"loss_k": "2"}, {"class_weights": "1,2,1,1"}, {"loss_parameters": ["M=2"]}])
def test_a_loss_object_beside_parameters_of_a_loss(option: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(option))} of the arguments would be ignored"):
        SquareLossTrainer(make_model("bert"), arguments(tmp_path, **option), loss=SquareLoss())
    SquareLossTrainer(make_model("bert"), arguments(tmp_path, loss_k="auto"), loss=SquareLoss())
