"""Adapters of PEFT: their own config holds the loss and the label names; every way to load them brings both back."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as tf
from tiny_models import CLASSES, arguments, batch_of, make_examples, make_model
from tiny_tokenizer import make_tokenizer

from hf_squareloss import (
    CrossEntropy,
    SquareLoss,
    SquareLossTrainer,
    attach_loss,
    load_config,
    load_loss,
    probability_pipeline,
)
from hf_squareloss.config import write_adapter
from hf_squareloss.heads import Head
from hf_squareloss.inference import probability_generation, unfold_calibration

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21, 5.24
SQUARE = SquareLoss(k=2.0, M=3.0)
NAMES = ["red", "green", "blue", "grey"]


def base(folder: Path) -> Any:
    """A model without a head, as one is fine-tuned from, loaded with a new head."""
    torch.manual_seed(0)
    tf.BertModel(make_model("bert").config).save_pretrained(folder / "base")
    config = json.loads((folder / "base/config.json").read_text())
    for name in ("id2label", "label2id", "num_labels", "problem_type"):
        config.pop(name, None)
    (folder / "base/config.json").write_text(json.dumps(config))
    return tf.AutoModelForSequenceClassification.from_pretrained(
        folder / "base", id2label=dict(enumerate(NAMES)), label2id={n: i for i, n in enumerate(NAMES)}
    )


def wrap(model: Any, task_type: str | None) -> Any:
    lora = peft.LoraConfig(
        task_type=task_type, r=2, target_modules=["query", "value"], modules_to_save=["classifier"], lora_dropout=0.0
    )
    return peft.get_peft_model(model, lora)


def train(folder: Path, task_type: str | None = "SEQ_CLS", loss: Any = SQUARE, **changes: Any) -> SquareLossTrainer:
    args = arguments(folder / "out", **{"max_steps": 2, "save_strategy": "steps", "save_steps": 1, **changes})
    trainer = SquareLossTrainer(
        wrap(base(folder), task_type),
        args,
        train_dataset=make_examples("bert"),
        loss=loss,
        processing_class=make_tokenizer(),
    )
    return trainer


def model_of(trainer: Any) -> Any:
    return trainer.model.eval()


@pytest.mark.parametrize("task_type", ["SEQ_CLS", None])
def test_loss_and_names_come_back_from_every_way_to_load(task_type: str | None, tmp_path: Path) -> None:
    trainer = train(tmp_path, task_type)
    trainer.train()
    trainer.save_model()
    out = tmp_path / "out"
    assert not (out / "config.json").exists()
    for folder in (out, out / "checkpoint-1"):
        assert load_loss(folder) == load_loss(str(folder)) == SQUARE
        assert load_config(folder).id2label == dict(enumerate(NAMES))
    batch = batch_of(make_examples("bert"))
    batch.pop("labels")
    with torch.no_grad():
        raw = model_of(trainer)(**batch).logits
    calibration = trainer.loss.calibration
    assert calibration is not None
    expected = calibration.T * raw  # in the saved head, which PEFT's modules_to_save keeps whole
    config = load_config(out)
    fresh = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=CLASSES)
    ways: list[Any] = [
        tf.AutoModelForSequenceClassification.from_pretrained(out, config=config),
        tf.AutoModelForSequenceClassification.from_pretrained(out, num_labels=CLASSES),
        peft.PeftModel.from_pretrained(fresh, str(out)),
    ]
    if task_type is not None:
        ways.append(peft.AutoPeftModelForSequenceClassification.from_pretrained(str(out), num_labels=CLASSES))
    for model in ways:
        assert load_loss(model) == SQUARE
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(**batch).logits, expected, rtol=1e-5, atol=1e-4)
        unfold_calibration(model)
        with torch.no_grad():
            torch.testing.assert_close(model.eval()(**batch).logits, raw, rtol=1e-5, atol=1e-5)


def test_an_adapter_says_more_than_its_base(tmp_path: Path) -> None:
    """The base model was trained with another loss: its config is not what the adapter's scores mean."""
    model = base(tmp_path)
    args = arguments(tmp_path / "first", max_steps=1)
    SquareLossTrainer(model, args, train_dataset=make_examples("bert"), loss=CrossEntropy()).train()
    model.save_pretrained(tmp_path / "base")
    lora = wrap(tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base"), "SEQ_CLS")
    assert load_loss(lora) == CrossEntropy()  # not trained yet
    trainer = SquareLossTrainer(
        lora, arguments(tmp_path / "out", max_steps=1), train_dataset=make_examples("bert"), loss=SQUARE
    )
    trainer.train()
    trainer.save_model()
    plain = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    assert load_loss(tmp_path / "base") == load_loss(plain) == CrossEntropy()
    loaded: Any = peft.PeftModel.from_pretrained(plain, str(tmp_path / "out"), is_trainable=True)
    assert load_loss(loaded) == load_loss(tmp_path / "out") == SQUARE
    again = SquareLossTrainer(
        loaded, arguments(tmp_path / "b", max_steps=1), train_dataset=make_examples("bert"), loss=CrossEntropy()
    )
    again.train()
    assert load_loss(loaded) == CrossEntropy()  # trained on with another


def test_a_pipeline_of_an_adapter(tmp_path: Path) -> None:
    trainer = train(tmp_path)
    trainer.train()
    trainer.save_model()
    text = "two four"
    with torch.no_grad():
        scores = model_of(trainer)(**make_tokenizer()(text, return_tensors="pt")).logits
    expected = dict(zip(NAMES, trainer.loss.probabilities(scores)[0].tolist(), strict=True))
    model = model_of(trainer)
    for source in (tmp_path / "out", str(tmp_path / "out"), model):
        needs: dict[str, Any] = {"tokenizer": make_tokenizer()} if source is model else {}
        classify: Any = probability_pipeline(source, top_k=None, **needs)
        (rows,) = classify(text)
        assert {row["label"]: row["score"] for row in rows} == pytest.approx(expected, abs=1e-6)


def test_the_card_s_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = train(tmp_path)
    trainer.train()
    trainer.save_model()
    trainer.create_model_card()
    card = (tmp_path / "out/README.md").read_text()
    assert "library_name: peft" in card
    code = card.split("```python\n")[-1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {"inputs": make_tokenizer()("two four", return_tensors="pt")}
    exec(code.replace('"out"', repr(str(tmp_path / "out"))), found)
    assert found["probabilities"].shape == (1, CLASSES)
    torch.testing.assert_close(found["probabilities"].sum(), torch.tensor(1.0))


def test_an_adapter_resumes_with_its_loss_alone(tmp_path: Path) -> None:
    train(tmp_path).train()
    with pytest.raises(ValueError, match="another loss.*square.*cross_entropy"):
        train(tmp_path, loss=CrossEntropy(), max_steps=4).train(resume_from_checkpoint=True)
    trainer = train(tmp_path, max_steps=4)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 4


def test_a_folder_without_either(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="config.json"):
        load_config(tmp_path)


class NamelessConfig(tf.ViTConfig):
    """Its dictionary leaves the names of classes out, as that of `TimmWrapperConfig` does."""

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in super().to_dict().items() if key not in ("id2label", "label2id")}


def test_names_that_a_config_leaves_out_of_its_dictionary(tmp_path: Path) -> None:
    size: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8}
    config = NamelessConfig(**size, patch_size=4, intermediate_size=16, id2label=dict(enumerate(NAMES)))
    model = attach_loss(tf.ViTForImageClassification(config), SQUARE)
    model.save_pretrained(tmp_path / "base")
    lora = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"])
    again = tf.ViTForImageClassification.from_pretrained(tmp_path / "base", config=model.config)
    wrapped = peft.get_peft_model(again, lora)
    write_adapter(wrapped)
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    found = load_config(tmp_path / "adapter")
    assert found.id2label == dict(enumerate(NAMES)) and load_loss(tmp_path / "adapter") == SQUARE


@pytest.mark.parametrize("fold", [True, False])
def test_a_merged_adapter_keeps_its_loss_by_the_config_of_its_folder(fold: bool, tmp_path: Path) -> None:
    """Merging takes PEFT's config away, with what it says: the base model is loaded with that of the adapter."""
    model = base(tmp_path)
    first = SquareLossTrainer(
        model, arguments(tmp_path / "first", max_steps=1), train_dataset=make_examples("bert"), loss=CrossEntropy()
    )
    first.train()
    first.save_model(str(tmp_path / "base"))
    lora = wrap(tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base"), "SEQ_CLS")
    args = arguments(tmp_path / "out", max_steps=2, fold_calibration=fold)
    trainer = SquareLossTrainer(lora, args, train_dataset=make_examples("bert"), loss=SQUARE)
    trainer.train()
    trainer.save_model()
    batch = batch_of(make_examples("bert"))
    batch.pop("labels")

    def probabilities(model: Any) -> Any:
        with torch.no_grad():
            return load_loss(model).probabilities(model.eval()(**batch).logits)

    def loaded(**options: Any) -> Any:
        plain = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", **options)
        return peft.PeftModel.from_pretrained(plain, str(tmp_path / "out"))

    expected = probabilities(loaded())
    merged = loaded(config=load_config(tmp_path / "out")).merge_and_unload()
    assert load_loss(merged) == SQUARE
    torch.testing.assert_close(probabilities(merged), expected, rtol=1e-4, atol=1e-5)
    assert load_loss(loaded().merge_and_unload()) == CrossEntropy()  # what must not be taken


def test_generation_takes_the_loss_of_the_active_adapter() -> None:
    model: Any = make_model("gpt2_causal")
    options = {"task_type": "CAUSAL_LM", "r": 2, "target_modules": ["c_attn"], "fan_in_fan_out": True}
    lora = peft.get_peft_model(model, peft.LoraConfig(**options), adapter_name="first")
    lora.add_adapter("second", peft.LoraConfig(**options))
    for name, loss in (("first", SQUARE), ("second", CrossEntropy())):
        lora.set_adapter(name)
        Head.of(lora).write(Head.of(lora).fit(loss), lora)
    tokens = torch.tensor([[5, 6]])
    plain = model(tokens).logits
    for name, changed in (("first", True), ("second", False)):
        lora.set_adapter(name)
        with probability_generation(lora):
            scores = model(tokens).logits
        assert torch.equal(scores, plain) != changed


@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")  # peft 0.21's prefix tuning
@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PromptEncoderConfig"])
def test_tokens_without_labels_are_refused(kind: str, tmp_path: Path) -> None:
    model = peft.get_peft_model(
        make_model("gpt2_causal"), getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=3)
    )
    with pytest.raises(ValueError, match="prompt tuning puts tokens without labels before the text"):
        SquareLossTrainer(model, arguments(tmp_path))
    classifier = peft.get_peft_model(
        make_model("bert"), peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=3)
    )
    args = arguments(tmp_path, max_steps=1)
    trainer = SquareLossTrainer(classifier, args, train_dataset=make_examples("bert"), loss=SQUARE)
    assert trainer.train().training_loss > 0
    prefix = peft.get_peft_model(
        make_model("gpt2_causal"), peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    )
    trainer = SquareLossTrainer(prefix, args, train_dataset=make_examples("gpt2_causal"), loss=SQUARE)
    assert trainer.train().training_loss > 0
