"""A loss attached to a bare model: the same gradients, and a model that can still do all that it could before."""

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import (
    CLASSES,
    VOCAB,
    arguments,
    batch_of,
    flat_gradient,
    flat_weights,
    make_examples,
    make_model,
    relative_difference,
    rounding,
    step_gradient,
)
from torch import Tensor
from transformers import AutoModelForSequenceClassification, Trainer

from hf_squareloss import CrossEntropy, SquareLoss, Squentropy, attach_loss, detach_loss, load_loss

CLASSIFIERS = ["bert", "distilbert", "llama", "gpt2", "bart", "vit", "wav2vec2"]
OTHERS = ["bert_tokens", "bert_choice", "bert_masked", "gpt2_causal", "bart_seq2seq", "t5_seq2seq", "wav2vec2_ctc"]
LOSSES = [CrossEntropy(), SquareLoss(k=2.0, M=3.0), Squentropy()]


def attached_gradient(family: str, loss: Any, **inputs: Any) -> Tensor:
    model = attach_loss(make_model(family), loss)
    model(**batch_of(make_examples(family)), **inputs).loss.backward()
    return flat_gradient(model)


@pytest.mark.parametrize("family", CLASSIFIERS + OTHERS)
def test_gradient_is_the_trainers(family: str, tmp_path: Path) -> None:
    for loss in LOSSES:
        expected = step_gradient(family, tmp_path, batch=8, loss=loss)
        assert relative_difference(attached_gradient(family, loss), expected) < rounding(family)


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_attached_cross_entropy_is_the_models_own(family: str) -> None:
    model, batch = make_model(family), batch_of(make_examples(family))
    own = model(**batch)
    attached = attach_loss(model, "cross_entropy")(**batch)
    assert torch.equal(attached.logits, own.logits) and type(attached) is type(own)
    assert attached.loss.item() == pytest.approx(own.loss.item(), rel=1e-6)
    assert detach_loss(model)(**batch).loss.item() == own.loss.item()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's own compiler, 2.13
@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a `functools.lru_cache`")  # in wav2vec2's own forward
@pytest.mark.parametrize("family", CLASSIFIERS)
def test_attached_model_can_do_all_it_could(family: str, tmp_path: Path) -> None:
    plain, batch = make_model(family), batch_of(make_examples(family))
    model = attach_loss(make_model(family), SquareLoss(k=2.0, M=3.0))
    expected = model(**batch).loss
    expected.backward()

    copies = [copy.deepcopy(model)]
    if family == "wav2vec2":  # torch cannot pickle its weight-normalised convolution
        with pytest.raises(RuntimeError, match="parametrized"):
            pickle.dumps(plain)
    else:
        torch.save(model, tmp_path / "model.pt")
        copies += [pickle.loads(pickle.dumps(model)), torch.load(tmp_path / "model.pt", weights_only=False)]
    for copied in copies:
        assert type(copied) is type(model)
        assert torch.equal(copied(**batch).loss, expected)
        detach_loss(copied)
        assert type(copied) is type(plain)
    assert torch.equal(model(**batch).loss, expected), "detaching a copy left the original alone"

    compiled = torch.compile(copy.deepcopy(model), fullgraph=True, backend="aot_eager")
    with torch.set_grad_enabled(family in ("bert", "llama")):  # the backward graph takes most of the compiler's time
        value = compiled(**batch).loss
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    if value.requires_grad:
        value.backward()
        assert relative_difference(flat_gradient(compiled), flat_gradient(model)) < 1e-5

    loss, *rest = model(**batch, return_dict=False)
    assert torch.equal(loss, expected) and torch.equal(rest[0], model(**batch).logits)
    without_labels = {name: value for name, value in batch.items() if name != "labels"}
    assert model(**without_labels).loss is None
    assert inspect.signature(model.forward) == inspect.signature(plain.forward)


@pytest.mark.parametrize("family", [*CLASSIFIERS, "bart_seq2seq"])
def test_save_and_reload(family: str, tmp_path: Path) -> None:
    plain, batch = make_model(family), batch_of(make_examples(family))
    plain.save_pretrained(tmp_path / "plain")
    attach_loss(make_model(family), LOSSES[1]).save_pretrained(tmp_path / "attached")
    before, after = (json.loads((tmp_path / d / "config.json").read_text()) for d in ("plain", "attached"))
    added = {"hf_squareloss", "problem_type"} if family in CLASSIFIERS else {"hf_squareloss"}
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == added
    assert after["architectures"] == [type(plain).__name__]

    reloaded = type(plain).from_pretrained(tmp_path / "attached")
    assert type(reloaded) is type(plain)
    assert load_loss(reloaded) == LOSSES[1]
    again = attach_loss(reloaded.eval(), load_loss(reloaded))
    assert torch.equal(again(**batch).loss, attach_loss(plain, LOSSES[1])(**batch).loss)


def test_auto_class_finds_the_models_own_class(tmp_path: Path) -> None:
    attach_loss(make_model("bert")).save_pretrained(tmp_path)
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert type(reloaded) is type(make_model("bert"))


@pytest.mark.parametrize("family", CLASSIFIERS)
@pytest.mark.parametrize("problem_type", [None, "single_label_classification"])
def test_detach_restores_class_and_config(family: str, problem_type: str | None) -> None:
    model = make_model(family, problem_type=problem_type)
    before = type(model), model.config.to_dict(), model.__dict__.keys()
    for loss in LOSSES:
        assert detach_loss(attach_loss(model, loss)) is model
        assert (type(model), model.config.to_dict(), model.__dict__.keys()) == before


def test_detach_restores_an_earlier_loss() -> None:
    model = detach_loss(attach_loss(make_model("bert"), "square"))
    model.config.hf_squareloss = {"loss": "squentropy"}
    detach_loss(attach_loss(model, "square"))
    assert load_loss(model) == Squentropy()


def test_return_dict_in_the_config() -> None:
    batch = batch_of(make_examples("bert"))
    model = attach_loss(make_model("bert", return_dict=False))
    assert isinstance(model(**batch), tuple)
    assert model(**batch, return_dict=True).loss == model(**batch)[0]


@pytest.mark.parametrize("family", ["bert", "bert_tokens", "bart_seq2seq"])
def test_stock_trainer(family: str, tmp_path: Path) -> None:
    """An attached loss honours num_items_in_batch: the stock Trainer's accumulation becomes exact."""

    def stock(model: Any, args: Any, **kwargs: Any) -> Trainer:
        return Trainer(attach_loss(model, LOSSES[1]), args, **kwargs)

    for sizes in ({"batch": 8}, {"batch": 2, "accumulate": 4}):
        gradient = step_gradient(family, tmp_path, trainer=stock, **sizes)  # type: ignore[arg-type]
        assert relative_difference(gradient, step_gradient(family, tmp_path, batch=8, loss=LOSSES[1])) < 1e-5


def test_stock_trainer_with_multi_label_targets(tmp_path: Path) -> None:
    """It counts every entry of the targets, which are C to an item."""
    examples = [{**e, "labels": torch.eye(CLASSES)[e["labels"]]} for e in make_examples("bert")]
    weights = []
    for attach in (True, False):
        model = make_model("bert", problem_type="multi_label_classification")
        if attach:
            attach_loss(model, "cross_entropy")
        sizes = {"per_device_train_batch_size": 2 if attach else 8, "gradient_accumulation_steps": 4 if attach else 1}
        Trainer(model, arguments(tmp_path, max_steps=1, **sizes), train_dataset=examples).train()  # type: ignore
        weights.append(flat_weights(model))
    assert torch.allclose(*weights, atol=1e-6)
    assert not torch.allclose(weights[0], flat_weights(make_model("bert")), atol=1e-4)


def test_accelerate_loop() -> None:
    from accelerate import Accelerator

    examples = make_examples("bert")
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    model = attach_loss(make_model("bert"), LOSSES[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = torch.utils.data.DataLoader(examples, batch_size=2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    start = flat_weights(model)
    for batch in loader:
        with accelerator.accumulate(model):
            accelerator.backward(model(**batch).loss)
            optimizer.step()
            optimizer.zero_grad()
    gradient = (start - flat_weights(model)) / 0.1
    assert relative_difference(gradient, attached_gradient("bert", LOSSES[1])) < 1e-4


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
def test_peft_around_an_attached_model() -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    batch = batch_of(make_examples("bert"))
    lora = LoraConfig(TaskType.SEQ_CLS, r=2, target_modules=["query"])
    model = get_peft_model(attach_loss(make_model("bert"), LOSSES[1]), lora)
    assert model(**batch).loss.item() == pytest.approx(attach_loss(make_model("bert"), LOSSES[1])(**batch).loss.item())


def test_refusals() -> None:
    model = attach_loss(make_model("bert"))
    batch = batch_of(make_examples("bert"))
    positions = list(inspect.signature(model.forward).parameters)
    with pytest.raises(ValueError, match="by name"):
        model(*(batch.get(name) for name in positions[: positions.index("labels") + 1]))
    before_labels = [batch.get(name) for name in positions[: positions.index("labels")]]
    assert model(*before_labels, labels=batch["labels"]).loss == model(**batch).loss
    with pytest.raises(ValueError, match="detach_loss first"):
        attach_loss(model)
    with pytest.raises(ValueError, match="no loss attached"):
        detach_loss(make_model("bert"))
    with pytest.raises(ValueError, match="squentropy"):
        attach_loss(make_model("bert", problem_type="multi_label_classification"), "squentropy")
    with pytest.raises(ValueError, match="class_weights"):
        attach_loss(make_model("wav2vec2_ctc"), CrossEntropy(class_weights=(1.0,) * VOCAB))
    untouched = make_model("bert", num_labels=1)
    with pytest.raises(ValueError, match="num_labels = 1"):
        attach_loss(untouched, "cross_entropy")
    assert "hf_squareloss" not in untouched.config.to_dict() and type(untouched) is type(make_model("bert"))
