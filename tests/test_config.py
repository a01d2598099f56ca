"""What a saved model says of its loss, to us and to plain transformers."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from contract import every_loss
from tiny_models import CLASSES, arguments, batch_of, make_examples, make_model
from tiny_tokenizer import make_tokenizer
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hf_squareloss import (
    CrossEntropy,
    Loss,
    SquareLoss,
    SquareLossTrainer,
    Squentropy,
    attach_loss,
    load_loss,
)
from hf_squareloss.config import write_loss
from hf_squareloss.losses import LOSSES, _registry, register_loss

WEIGHTS = (1.0, 0.5, 2.0, 4.0)


def train(model: Any, folder: Path, loss: Any, family: str = "bert", *, fold: bool = False) -> SquareLossTrainer:
    """One step, with labels for the model's head."""
    examples: Any = make_examples(family)
    for example in examples:
        if model.config.problem_type == "multi_label_classification":
            example["labels"] = torch.eye(CLASSES)[example["labels"]]
        elif model.config.num_labels == 1:
            example["labels"] = example["labels"].float()
    args = arguments(folder, max_steps=1, fold_calibration=fold)
    trainer = SquareLossTrainer(model, args, train_dataset=examples, loss=loss)
    trainer.train()
    return trainer


def save(folder: Path, loss: Any, family: str = "bert", *, fold: bool = False, **config: Any) -> Path:
    train(make_model(family, **config), folder, loss, family, fold=fold).save_model(str(folder))
    return folder


@pytest.mark.parametrize(
    ("loss", "resolved"),
    [
        (CrossEntropy(), CrossEntropy()),
        (CrossEntropy(label_smoothing=0.1, class_weights=WEIGHTS), None),
        (SquareLoss(k=1 / 3, M=15), None),
        (SquareLoss(), SquareLoss(k=1.0, M=1.0)),
        (SquareLoss(k="paper", M="paper"), SquareLoss(k=1.0, M=1.0)),
        (SquareLoss(k=2.0, class_weights=WEIGHTS, label_smoothing=0.2), SquareLoss(
            k=2.0, M=1.0, class_weights=WEIGHTS, label_smoothing=0.2)),
        (Squentropy(), Squentropy()),
        (Squentropy(ignore_index=-1, class_weights=WEIGHTS), None),
    ],
    ids=str,
)  # fmt: skip
def test_loss_comes_back(loss: Loss, resolved: Loss | None, tmp_path: Path) -> None:
    save(tmp_path, loss)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    for saved in (model, model.config, tmp_path, str(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert load_loss(saved) == (resolved or loss)
    entry = json.loads((tmp_path / "config.json").read_text())["hf_squareloss"]
    assert entry["version"] and json.loads(json.dumps(entry)) == entry


@every_loss
def test_every_loss_comes_back(loss: Loss, tmp_path: Path) -> None:
    smoothed = replace(loss, label_smoothing=0.1, class_weights=WEIGHTS)
    for written in (loss, smoothed):
        config = BertConfig(num_labels=CLASSES)  # type: ignore[call-overload]
        write_loss(config, written, num_classes=CLASSES)
        config.save_pretrained(tmp_path)
        assert load_loss(tmp_path) == written
        assert AutoConfig.from_pretrained(tmp_path).problem_type == config.problem_type
        assert (config.problem_type == "regression") == (not loss.scores_are_logits)


@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_multi_label_comes_back(loss: str, tmp_path: Path) -> None:
    save(tmp_path, loss, problem_type="multi_label_classification")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert load_loss(model).multi_label
    again = SquareLossTrainer(model, arguments(tmp_path), loss=loss)  # the task outlives problem_type
    assert again.loss == load_loss(tmp_path)


@pytest.mark.parametrize(
    ("family", "config", "loss", "expected"),
    [
        ("bert", {"fold": True}, "square", "single_label_classification"),
        ("bert", {"fold": True, "problem_type": "multi_label_classification"}, "square", "multi_label_classification"),
        ("bert", {"fold": True, "num_labels": 1}, "square", "regression"),
        ("bert", {}, "square", "regression"),
        ("bert", {}, "cross_entropy", "single_label_classification"),
        ("bert", {}, "squentropy", "single_label_classification"),
        ("vit", {}, "square", "regression"),
        ("bert", {"num_labels": 1}, "square", "regression"),
        ("bert", {"problem_type": "multi_label_classification"}, "square", "regression"),
        ("bert", {"problem_type": "multi_label_classification"}, "cross_entropy", "multi_label_classification"),
        ("gpt2_causal", {}, "square", None),
        ("bart_seq2seq", {}, "square", None),
        ("bert_choice", {}, "square", None),
    ],
)
def test_problem_type(family: str, config: Any, loss: str, expected: str | None, tmp_path: Path) -> None:
    save(tmp_path, loss, family, **config)
    assert json.loads((tmp_path / "config.json").read_text()).get("problem_type") == expected


def test_retraining_with_cross_entropy_restores_the_problem_type(tmp_path: Path) -> None:
    save(tmp_path / "square", "square")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "square")
    assert model.config.problem_type == "regression"
    train(model, tmp_path / "new", "cross_entropy")
    assert model.config.problem_type == "single_label_classification"
    assert load_loss(model) == CrossEntropy()
    model.eval()(**batch_of(make_examples("bert")))  # and plain transformers knows its own loss again


def test_plain_forward_with_integer_labels_fails_loudly(tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(save(tmp_path, "square"))
    with pytest.warns(UserWarning, match="size"), pytest.raises(RuntimeError, match="size"):
        model(**batch_of(make_examples("bert")))
    with pytest.warns(UserWarning, match="size"):  # as many examples as classes broadcast: no more than torch's warning
        model(**batch_of(make_examples("bert", CLASSES)))


def test_plain_pipeline(tmp_path: Path) -> None:
    """Raw scores where a softmax would be nonsense; a softmax where it is right."""
    tokenizer = make_tokenizer()
    for loss, fold in (("square", False), ("cross_entropy", False), ("squentropy", False), ("square", True)):
        folder = save(tmp_path / f"{loss}{fold}", loss, fold=fold)
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        with torch.no_grad():
            scores = model(**tokenizer("one two three", return_tensors="pt")).logits[0]
        classify: Any = pipeline("text-classification", model=model, tokenizer=tokenizer, top_k=None)
        [shown] = classify("one two three")
        values = {row["label"]: row["score"] for row in shown}
        expected = scores if loss == "square" and not fold else scores.softmax(-1)
        assert [values[f"LABEL_{c}"] for c in range(CLASSES)] == pytest.approx(expected.tolist(), rel=1e-5)


def test_registered_loss_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Fourth(Loss):
        name: ClassVar[str] = "fourth"
        power: float = 4.0

        def costs(self, scores: Tensor) -> Tensor:
            return (scores.unsqueeze(-2) - torch.eye(scores.shape[-1])).pow(self.power).sum(-1)

        def link(self, scores: Tensor) -> Tensor:
            return scores.clamp(0, 1)

    model = attach_loss(make_model("bert"), Fourth(power=6.0))
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"'fourth' is defined in {__name__}: import"):
        load_loss(tmp_path)
    monkeypatch.setattr(_registry, "LOSSES", dict(LOSSES))
    register_loss(Fourth)
    assert load_loss(tmp_path) == Fourth(power=6.0)


def test_refusals(tmp_path: Path) -> None:
    make_model("bert").save_pretrained(tmp_path)
    for model in (make_model("bert"), tmp_path):
        with pytest.raises(ValueError, match="hf_squareloss"):
            load_loss(model)


def test_models_of_one_config_have_a_loss_each(tmp_path: Path) -> None:
    """transformers makes no copy of it: what is written for one would be said of all."""
    config = make_model("bert").config
    first, second, third = (BertForSequenceClassification(config) for _ in range(3))
    assert first.config is second.config
    for model, loss in ((first, "square"), (second, "cross_entropy")):
        trainer = SquareLossTrainer(
            model, arguments(tmp_path, max_steps=1), train_dataset=make_examples("bert"), loss=loss
        )
        trainer.train()
    assert load_loss(first).name == "square" and load_loss(second).name == "cross_entropy"
    assert third.config is config and config.problem_type is None and "hf_squareloss" not in config.to_dict()
    assert first.bert.config is first.config and first.bert.encoder.config is first.config  # what a model's parts read
    Trainer(third, TrainingArguments(str(tmp_path), use_cpu=True, disable_tqdm=True, max_steps=1, save_strategy="no",
                                     report_to="none", dataloader_pin_memory=False),
            train_dataset=make_examples("bert")).train()  # fmt: skip
    fourth = attach_loss(BertForSequenceClassification(config), "square")
    assert load_loss(fourth).name == "square" and "hf_squareloss" not in config.to_dict()
