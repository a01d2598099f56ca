"""Calibrations in saved weights where that is not plain: modules, adapters, 16 bits, other heads, fresh models."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from peft import LoraConfig, PeftModel, get_peft_model
from tiny_models import arguments, batch_of, flat_weights, make_examples, make_model
from torch.utils.data import IterableDataset

from hf_squareloss import (
    SquareLoss,
    SquareLossTrainer,
    attach_loss,
    detach_loss,
    fold_calibration,
    load_loss,
    unfold_calibration,
)
from hf_squareloss.inference import calibrate, folded_into

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),  # peft 0.21, transformers 5.24
    pytest.mark.usefixtures("nothing_said"),
]
ROWS = make_examples("bert", 16, seed=2)


def trained(model: Any, folder: Path, loss: Any = "square", rows: Any = ROWS, **changes: Any) -> SquareLossTrainer:
    data = {"train_dataset": make_examples("bert"), "eval_dataset": rows, "loss": loss}
    trainer = SquareLossTrainer(model, arguments(folder, **{"max_steps": 2, "learning_rate": 1e-3, **changes}), **data)
    trainer.train()
    trainer.save_model()
    return trainer


def scores_of(model: Any, rows: Any = ROWS) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**{name: v for name, v in batch_of(rows).items() if name != "labels"})["logits"]


class Plain(torch.nn.Module):
    """A module without a config."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.out = torch.nn.Embedding(50, 8), torch.nn.Linear(8, 4)

    def forward(self, input_ids: Any, attention_mask: Any) -> dict[str, Any]:
        return {"logits": self.out(self.embed(input_ids).mean(1))}


def test_a_module_without_a_config_is_saved_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer = trained(Plain(), tmp_path)
    assert trainer.loss.calibration is not None and "it has no config" in caplog.text
    saved = Plain()
    tensors = tf.modeling_utils.load_state_dict(str(tmp_path / "model.safetensors"))
    saved.load_state_dict(tensors)
    torch.testing.assert_close(scores_of(saved), scores_of(trainer.model), rtol=0, atol=0)


@pytest.mark.parametrize("saves_head", [True, False])
def test_an_adapter_says_folded_only_of_a_head_that_it_saves(
    saves_head: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = make_model("bert")
    config = LoraConfig(target_modules=["query"], modules_to_save=["classifier"] if saves_head else None)
    trainer = trained(get_peft_model(copy.deepcopy(base), config), tmp_path)
    entry = json.loads((tmp_path / "adapter_config.json").read_text())["auto_mapping"]["hf_squareloss"]["hf_squareloss"]
    assert ("folded_into" in entry["calibration"]) == saves_head
    assert ("its adapter does not save classifier" in caplog.text) != saves_head
    again: Any = PeftModel.from_pretrained(base, str(tmp_path))
    expected = trainer.loss.probabilities(scores_of(trainer.model))
    torch.testing.assert_close(load_loss(again).probabilities(scores_of(again)), expected, rtol=1e-4, atol=1e-6)


def test_an_adapter_of_a_folded_model_must_save_the_head(tmp_path: Path) -> None:
    folded = trained(make_model("bert"), tmp_path / "base").args.output_dir
    config = {"target_modules": ["query"]}

    def adapted(**more: Any) -> Any:
        model = tf.BertForSequenceClassification.from_pretrained(folded)
        return get_peft_model(model, LoraConfig(**config, **more))

    with pytest.raises(ValueError, match=r"modules_to_save=\['classifier'\]"):
        trained(adapted(), tmp_path / "frozen")
    trainer = trained(adapted(modules_to_save=["classifier"]), tmp_path / "saved")
    base = tf.BertForSequenceClassification.from_pretrained(folded)
    again = PeftModel.from_pretrained(base, str(tmp_path / "saved"))
    expected = trainer.loss.probabilities(scores_of(trainer.model))
    torch.testing.assert_close(scores_of(again).softmax(-1), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["weights", "autocast"])
@pytest.mark.parametrize("loss", [SquareLoss(), SquareLoss(class_weights=(1.0, 2.0, 4.0, 1.0))])
def test_sixteen_bits_hide_no_layer(loss: SquareLoss, kind: str, tmp_path: Path) -> None:
    model = make_model("bert")
    trainer = trained(model.bfloat16() if kind == "weights" else model, tmp_path, loss=loss, bf16=kind == "autocast")
    again = tf.BertForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    assert folded_into(again) == "classifier"
    expected = trainer.loss.probabilities(scores_of(trainer.model).float())
    torch.testing.assert_close(scores_of(again).softmax(-1), expected, rtol=0, atol=0.03)


def test_several_classes_at_once_in_sixteen_bits(tmp_path: Path) -> None:
    rows = [{**row, "labels": torch.nn.functional.one_hot(row["labels"], 4).float()} for row in ROWS]
    model = make_model("bert", problem_type="multi_label_classification")
    options = arguments(tmp_path, max_steps=2, bf16=True)
    trainer = SquareLossTrainer(model, options, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    trainer.save_model()
    again = tf.BertForSequenceClassification.from_pretrained(tmp_path)
    assert folded_into(again) == "classifier" and again.config.problem_type == "multi_label_classification"
    expected = trainer.loss.probabilities(scores_of(trainer.model))
    torch.testing.assert_close(scores_of(again).sigmoid(), expected, rtol=0, atol=0.03)


def test_a_bias_that_does_not_reach_the_scores_is_not_taken() -> None:
    class Scaled(type(make_model("bert"))):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            outputs = super().forward(*args, **kwargs)
            outputs.logits = outputs.logits * 3.0
            return outputs

    for weights, folds in ((None, True), ((1.0, 2.0, 4.0, 1.0), False)):
        model = make_model("bert")
        model.__class__ = Scaled
        attach_loss(model, SquareLoss(class_weights=weights))
        batch = batch_of(ROWS)
        calibrate(model, scores_of(model), batch.pop("labels"))
        if folds:
            fold_calibration(model, batch)
        else:
            with pytest.raises(ValueError, match="is not added to the scores"):
                fold_calibration(model, batch)


def test_class_weights_of_choices_stay_beside(tmp_path: Path) -> None:
    rows, weighted = make_examples("bert_choice", 16), SquareLoss(class_weights=(1.0, 2.0, 4.0))
    options = arguments(tmp_path, max_steps=2)
    trainer = SquareLossTrainer(
        make_model("bert_choice"), options, train_dataset=rows, eval_dataset=rows, loss=weighted
    )
    trainer.train()
    trainer.save_model()
    again = tf.BertForMultipleChoice.from_pretrained(tmp_path)
    torch.testing.assert_close(flat_weights(again), flat_weights(trainer.model), rtol=0, atol=0)
    assert trainer.loss.calibration is not None and folded_into(again) is None


# ---- another head than the one that was folded -----------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["more classes", "fresh head", "masked"])
def test_a_folded_model_begins_anew_under_another_head(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = (1.0, 2.0, 4.0, 1.0) if kind == "more classes" else None
    trained(make_model("bert"), tmp_path / "first", loss=SquareLoss(class_weights=weights))
    options = {"num_labels": 5, "ignore_mismatched_sizes": True} if kind == "more classes" else {}
    model_class: Any = tf.BertForMaskedLM if kind == "masked" else tf.BertForSequenceClassification
    model = model_class.from_pretrained(tmp_path / "first", **options)
    if kind == "fresh head":
        torch.nn.init.normal_(model.classifier.weight)
    before = flat_weights(model)
    attach_loss(model, "square")
    torch.testing.assert_close(flat_weights(model), before, rtol=0, atol=0)
    assert "has another last layer" in caplog.text and folded_into(model) is None


def test_an_explicit_task_wins_over_what_a_config_remembers(tmp_path: Path) -> None:
    rows = [{**row, "labels": torch.nn.functional.one_hot(row["labels"], 4).float()} for row in ROWS]
    model = make_model("bert", problem_type="multi_label_classification")
    SquareLossTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=rows).train()
    model.save_pretrained(tmp_path / "m")
    given: dict[str, Any] = {"problem_type": "single_label_classification"}
    model = tf.BertForSequenceClassification.from_pretrained(tmp_path / "m", **given)
    trainer = SquareLossTrainer(model, arguments(tmp_path / "x", max_steps=1), train_dataset=ROWS, loss="square")
    trainer.train()
    assert not trainer.loss.multi_label


# ---- training on -----------------------------------------------------------------------------------------------------
def test_a_fresh_folded_model_resumes_from_raw_weights(tmp_path: Path) -> None:
    trained(make_model("bert"), tmp_path / "first")

    def run(folder: Path, resume: str | None) -> Any:
        trainer = SquareLossTrainer(
            args=arguments(folder, max_steps=3, save_strategy="steps", save_steps=1),
            model_init=lambda: tf.BertForSequenceClassification.from_pretrained(tmp_path / "first"),
            train_dataset=make_examples("bert"),
            eval_dataset=ROWS,
            loss="square",
        )
        trainer.train(resume_from_checkpoint=resume)
        return flat_weights(trainer.model)

    whole = run(tmp_path / "run", None)
    torch.testing.assert_close(run(tmp_path / "run", str(tmp_path / "run" / "checkpoint-1")), whole)


def test_an_attached_loss_sees_no_folded_scores() -> None:
    model = attach_loss(make_model("bert"), "square")
    batch = batch_of(ROWS)
    before, raw = model(**batch).loss.item(), scores_of(model)
    inputs = {name: values for name, values in batch.items() if name != "labels"}
    calibrate(model, raw, batch["labels"])
    fold_calibration(model, inputs)
    with pytest.raises(ValueError, match="unfold_calibration"):
        model(**batch)
    unfold_calibration(model)
    assert model(**batch).loss.item() == pytest.approx(before, rel=1e-5)


def test_what_was_folded_before_a_loss_was_attached_comes_back_once(tmp_path: Path) -> None:
    trained(make_model("bert"), tmp_path)
    model = tf.BertForSequenceClassification.from_pretrained(tmp_path)
    before, batch = flat_weights(model), batch_of(ROWS)
    attach_loss(model, "square")
    calibrate(model, 3.0 * scores_of(model), batch.pop("labels"))  # another T than that of before
    fold_calibration(model, batch)
    detach_loss(model)
    torch.testing.assert_close(flat_weights(model), before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("limit", ["rows", "scores"])
def test_a_stream_with_a_length_is_read_until_there_is_enough(
    limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream(IterableDataset[Any]):
        read = 0

        def __len__(self) -> int:
            return 64

        def __iter__(self) -> Any:
            for row in make_examples("bert", 64, seed=2):
                self.read += 1
                yield row

    from hf_squareloss.training import _calibration

    if limit == "rows":
        monkeypatch.setattr(_calibration, "_ROWS", 16)
        monkeypatch.setattr(_calibration, "_SCORES", 2**10)
    else:
        monkeypatch.setattr(_calibration, "_SCORES", 4 * 16)
    stream = Stream()
    trainer = trained(make_model("bert"), tmp_path, rows=stream, per_device_eval_batch_size=8)
    assert trainer.loss.calibration is not None and 0 < stream.read < 64


def folded(folder: Path) -> tuple[Any, Any]:
    """A model as another run saved it, its calibration in the weights; and the raw scores that it had."""
    raw = scores_of(trained(make_model("bert"), folder).model)
    return tf.BertForSequenceClassification.from_pretrained(folder), raw


@pytest.mark.parametrize("fresh", [True, False])
def test_a_loss_object_brings_no_calibration_of_another_model(fresh: bool, tmp_path: Path) -> None:
    model, _ = folded(tmp_path / "first")
    loss = load_loss(model)
    assert loss.calibration is not None and loss.calibration.folded_into == "classifier"
    trainer = trained(make_model("bert", seed=3) if fresh else model, tmp_path / "second", loss)
    saved = tf.BertForSequenceClassification.from_pretrained(tmp_path / "second")
    assert trainer.loss.calibration is not None and trainer.loss.calibration.T != loss.calibration.T
    expected = trainer.loss.probabilities(scores_of(trainer.model))
    torch.testing.assert_close(scores_of(saved).softmax(-1), expected, rtol=1e-4, atol=1e-6)
    uncalibrated = trained(make_model("bert"), tmp_path / "third", trainer.loss, calibrate=False)
    assert uncalibrated.loss.calibration is None
    assert "calibration" not in json.loads((tmp_path / "third/config.json").read_text())["hf_squareloss"]


def test_a_loss_object_of_the_model_itself_can_be_attached_to_it(tmp_path: Path) -> None:
    model, raw = folded(tmp_path)
    attach_loss(model, load_loss(model))
    torch.testing.assert_close(scores_of(model), raw, rtol=1e-4, atol=1e-5)
    assert model(**batch_of(ROWS)).loss.isfinite()


def test_what_was_trained_while_attached_is_folded_as_it_is_then(tmp_path: Path) -> None:
    model, _ = folded(tmp_path / "first")
    attach_loss(model, "square")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(10):
        model(**batch_of(ROWS)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    raw = scores_of(model)
    detach_loss(model).save_pretrained(tmp_path / "second")
    again = tf.BertForSequenceClassification.from_pretrained(tmp_path / "second")
    assert folded_into(again) == "classifier"
    torch.testing.assert_close(scores_of(attach_loss(again, "square")), raw, rtol=1e-4, atol=1e-5)


def test_another_head_is_not_folded_when_a_loss_is_detached(tmp_path: Path) -> None:
    folded(tmp_path)
    model = tf.BertForSequenceClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    before = flat_weights(model).clone()
    detach_loss(attach_loss(model, "square"))
    assert torch.equal(flat_weights(model), before) and folded_into(model) is None
