"""The calibration that training ends with: right on every head, in the saved weights, undone before more training."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CLASSES, arguments, batch_of, flat_weights, make_examples, make_model
from transformers import AutoConfig

from hf_squareloss import SquareLoss, SquareLossTrainer, attach_loss, detach_loss, load_loss
from hf_squareloss.inference import calibrate
from hf_squareloss.losses import Calibration

FOLDED = ["bert", "distilbert", "llama", "gpt2", "bart", "vit", "wav2vec2", "bert_tokens", "bert_choice"]
BESIDE = ["bert_masked", "gpt2_causal", "bart_seq2seq", "wav2vec2_ctc"]


def trained(family: str, folder: Path, model: Any = None, loss: Any = "square", rows: int = 16, **changes: Any) -> Any:
    trainer = SquareLossTrainer(
        make_model(family) if model is None else model,
        arguments(folder, max_steps=2, learning_rate=1e-3, **changes),
        train_dataset=make_examples(family),
        eval_dataset=make_examples(family, rows, seed=2),
        loss=loss,
    )
    trainer.train()
    return trainer


def scores_of(model: Any, family: str) -> torch.Tensor:
    batch = batch_of(make_examples(family, seed=3))
    needs_labels = family.endswith("_seq2seq")
    with torch.no_grad():
        return model.eval()(**{n: v for n, v in batch.items() if needs_labels or n != "labels"}).logits


def scores_of_rows(model: Any, examples: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**{name: v for name, v in batch_of(examples).items() if name != "labels"}).logits


def again(model: Any, folder: Path) -> Any:
    return type(model).from_pretrained(folder).eval()


# ---- every head ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("family", FOLDED)
def test_the_saved_model_is_an_ordinary_classifier(family: str, tmp_path: Path) -> None:
    trainer = trained(family, tmp_path)
    raw = scores_of(trainer.model, family)
    trainer.save_model()
    saved = again(trainer.model, tmp_path)
    scores = scores_of(saved, family)
    loss = trainer.selected_loss
    assert loss.calibration is not None and loss.calibration.source == "validation"
    torch.testing.assert_close(scores, loss.calibration.T * raw, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scores.softmax(-1), loss.probabilities(raw), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(load_loss(saved).probabilities(scores), scores.softmax(-1), rtol=0, atol=1e-6)
    assert load_loss(saved) == loss
    if family != "bert_choice":
        assert saved.config.problem_type == "single_label_classification"
    torch.testing.assert_close(scores_of(trainer.model, family), raw, rtol=0, atol=0)  # in memory all is raw
    assert trainer.model.config.problem_type in ("regression", None)


@pytest.mark.parametrize("family", BESIDE)
def test_a_decoder_reads_raw_scores_and_the_calibration_beside_them(family: str, tmp_path: Path) -> None:
    trainer = trained(family, tmp_path)
    raw = scores_of(trainer.model, family)
    trainer.save_model()
    saved = again(trainer.model, tmp_path)
    torch.testing.assert_close(scores_of(saved, family), raw, rtol=0, atol=0)
    calibration = load_loss(saved).calibration
    assert calibration is not None and calibration.folded_into is None and calibration.items > 0
    shifted = raw - raw.amax(-1, keepdim=True)
    expected = (calibration.T * shifted).softmax(-1)
    assert (load_loss(saved).class_weights is not None) == (family == "wav2vec2_ctc")  # and they are not undone there
    torch.testing.assert_close(load_loss(saved).probabilities(raw), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("loss", ["cross_entropy", "squentropy", "focal"])
def test_other_losses_are_calibrated_alike(loss: str, tmp_path: Path) -> None:
    trainer = trained("bert", tmp_path, loss=loss)
    raw = scores_of(trainer.model, "bert")
    trainer.save_model()
    scores = scores_of(again(trainer.model, tmp_path), "bert")
    torch.testing.assert_close(scores.softmax(-1), trainer.selected_loss.probabilities(raw), rtol=1e-4, atol=1e-6)
    assert (scores - raw).abs().max() > 1e-2  # T is not 1


def test_class_weights_are_in_the_bias(tmp_path: Path) -> None:
    weights = (1.0, 2.0, 3.0, 4.0)
    trainer = trained("bert", tmp_path, loss=SquareLoss(class_weights=weights))
    raw = scores_of(trainer.model, "bert")
    trainer.save_model()
    scores = scores_of(again(trainer.model, tmp_path), "bert")
    T = trainer.selected_loss.calibration.T
    torch.testing.assert_close(scores, T * raw - torch.tensor(weights).log(), rtol=1e-4, atol=1e-4)


def test_without_a_bias_class_weights_stay_beside(tmp_path: Path) -> None:
    trainer = trained("gpt2", tmp_path, loss=SquareLoss(class_weights=(1.0, 2.0, 3.0, 4.0)))
    raw = scores_of(trainer.model, "gpt2")
    trainer.save_model()
    saved = again(trainer.model, tmp_path)
    torch.testing.assert_close(scores_of(saved, "gpt2"), raw, rtol=0, atol=0)
    calibration = load_loss(saved).calibration
    assert calibration is not None and calibration.folded_into is None and saved.config.problem_type == "regression"


def test_several_classes_at_once_have_a_sigmoid(tmp_path: Path) -> None:
    model = make_model("bert", num_labels=3, problem_type="multi_label_classification")
    rows = [{**e, "labels": torch.tensor([1.0, 0.0, i % 2])} for i, e in enumerate(make_examples("bert", 16))]
    trainer = SquareLossTrainer(model, arguments(tmp_path, max_steps=2), train_dataset=rows, eval_dataset=rows)
    trainer.train()
    raw = scores_of(model, "bert")
    trainer.save_model()
    saved = again(model, tmp_path)
    calibration = trainer.selected_loss.calibration
    assert calibration is not None and calibration.shift != 0.0
    expected = (calibration.T * raw + calibration.shift).sigmoid()
    torch.testing.assert_close(scores_of(saved, "bert").sigmoid(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(trainer.selected_loss.probabilities(raw), expected, rtol=1e-4, atol=1e-6)
    assert saved.config.problem_type == "multi_label_classification"


# ---- what it is fitted to --------------------------------------------------------------------------------------------
def test_it_is_the_likeliest_on_the_evaluation_set(tmp_path: Path) -> None:
    examples, model = make_examples("bert", 24, seed=2), make_model("bert")
    chosen = scores_of_rows(model, examples).argmax(-1)
    rows = [{**e, "labels": y} if i % 4 else e for i, (e, y) in enumerate(zip(examples, chosen, strict=True))]
    trainer = SquareLossTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=rows, eval_dataset=rows)
    trainer.train()
    scores, labels = scores_of_rows(model, rows).double(), batch_of(rows)["labels"]

    def surprise(T: float) -> float:  # the formula with one item more, spread over the classes
        log_p = (T * scores).log_softmax(-1)
        return -(sum(row[y] for row, y in zip(log_p, labels, strict=True)) + log_p.mean()).item()  # type: ignore[union-attr]

    calibration = trainer.loss.calibration
    assert calibration is not None and calibration.items == 24
    T = calibration.T
    assert surprise(T) < min(surprise(0.98 * T), surprise(1.02 * T))


def test_it_is_of_the_checkpoint_that_is_kept(tmp_path: Path) -> None:
    model, rows = make_model("bert"), make_examples("bert", 16)
    steps = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    kept = {"load_best_model_at_end": True, "metric_for_best_model": "loss", "learning_rate": 1.0}
    args = arguments(tmp_path, **steps, **kept)
    trainer = SquareLossTrainer(model, args, train_dataset=make_examples("bert"), eval_dataset=rows)
    trainer.train()
    best = str(trainer.state.best_model_checkpoint)
    assert not best.endswith("-4")
    scores = scores_of_rows(type(model).from_pretrained(best), rows)
    found = calibrate(trainer.loss, scores, batch_of(rows)["labels"]).calibration
    assert found is not None and trainer.loss.calibration is not None
    assert trainer.loss.calibration.T == pytest.approx(found.T, rel=1e-3)


def test_two_batch_sizes_give_the_same_number(tmp_path: Path) -> None:
    numbers = [
        trained(family, tmp_path, per_device_eval_batch_size=size).selected_loss.calibration
        for family in ("bert_tokens", "wav2vec2_ctc")
        for size in (2, 5)
    ]
    assert numbers[0].T == pytest.approx(numbers[1].T, rel=1e-3) and numbers[0].items == numbers[1].items
    assert numbers[2].T == pytest.approx(numbers[3].T, rel=1e-3) and numbers[2].items == numbers[3].items == 16


@pytest.mark.parametrize(
    ("loss", "T"),
    [
        (SquareLoss(k=2.0, M=3.0), 4 * (1 + 1 / 4) ** 2 / 6),
        (SquareLoss(k=1.0, M=1.0), 4.0),
        ("cross_entropy", None),
        ("focal", None),
    ],
    ids=str,
)
def test_without_an_evaluation_set_the_square_loss_has_a_rule(loss: Any, T: float | None, tmp_path: Path) -> None:
    rows = make_examples("bert")
    trainer = SquareLossTrainer(make_model("bert"), arguments(tmp_path, max_steps=1), train_dataset=rows, loss=loss)
    trainer.train()
    raw = scores_of(trainer.model, "bert")
    trainer.save_model()
    saved = again(trainer.model, tmp_path)
    torch.testing.assert_close(scores_of(saved, "bert"), (T or 1.0) * raw, rtol=1e-5, atol=1e-4)
    calibration = load_loss(saved).calibration
    assert calibration == (None if T is None else Calibration(T=T, source="rule", folded_into="classifier"))


def test_hidden_labels_calibrate_nothing_and_lose_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hidden = [{**e, "labels": torch.tensor(-100)} for e in make_examples("bert")]
    args = arguments(tmp_path, max_steps=1)
    trainer = SquareLossTrainer(make_model("bert"), args, train_dataset=make_examples("bert"), eval_dataset=hidden)
    trainer.train()
    assert trainer.loss.calibration is None and "not calibrated: ValueError: there is no item" in caplog.text
    trainer.save_model()
    assert load_loss(tmp_path).calibration is None


def test_an_evaluation_that_fails_loses_no_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class OwnEvaluation(SquareLossTrainer):
        def get_test_dataloader(self, test_dataset: Any) -> Any:
            raise RuntimeError("no such file")

    rows = make_examples("bert")
    args = arguments(tmp_path, max_steps=1)
    trainer = OwnEvaluation(make_model("bert"), args, train_dataset=rows, eval_dataset=rows)
    assert trainer.train().global_step == 1
    assert trainer.loss.calibration is None and "not calibrated: RuntimeError: no such file" in caplog.text


def test_it_can_be_left_out(tmp_path: Path) -> None:
    trainer = trained("bert", tmp_path, calibrate=False)
    raw = scores_of(trainer.model, "bert")
    trainer.save_model()
    saved = again(trainer.model, tmp_path)
    torch.testing.assert_close(scores_of(saved, "bert"), raw, rtol=0, atol=0)
    assert load_loss(saved).calibration is None and saved.config.problem_type == "regression"


def test_it_can_stay_beside_the_weights(tmp_path: Path) -> None:
    trainer = trained("bert", tmp_path, fold_calibration=False)
    raw = scores_of(trainer.model, "bert")
    trainer.save_model()
    saved = again(trainer.model, tmp_path)
    torch.testing.assert_close(scores_of(saved, "bert"), raw, rtol=0, atol=0)
    torch.testing.assert_close(load_loss(saved).probabilities(raw), trainer.selected_loss.probabilities(raw))
    assert saved.config.problem_type == "regression"


def test_a_regression_has_none(tmp_path: Path) -> None:
    rows = [{**e, "labels": torch.tensor(0.5)} for e in make_examples("bert")]
    model = make_model("bert", num_labels=1)
    trainer = SquareLossTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=rows, eval_dataset=rows)
    trainer.train()
    assert trainer.selected_loss.calibration is None


# ---- training on -----------------------------------------------------------------------------------------------------
def test_training_on_begins_with_the_raw_weights(tmp_path: Path) -> None:
    first = trained("bert", tmp_path / "first")
    unfolded = copy.deepcopy(first.model)
    first.save_model()
    ours = trained("bert", tmp_path / "folded", model=again(first.model, tmp_path / "first"))
    plain = trained("bert", tmp_path / "raw", model=unfolded)
    torch.testing.assert_close(flat_weights(ours.model), flat_weights(plain.model), rtol=1e-5, atol=1e-6)
    assert ours.selected_loss.calibration.T == pytest.approx(plain.selected_loss.calibration.T, rel=1e-4)


def test_evaluation_has_the_raw_scores_and_saves_what_it_loaded(tmp_path: Path) -> None:
    first = trained("bert", tmp_path / "first")
    before = first.evaluate()["eval_loss"]
    first.save_model()
    rows = make_examples("bert", 16, seed=2)
    trainer = SquareLossTrainer(
        again(first.model, tmp_path / "first"), arguments(tmp_path / "second"), eval_dataset=rows, loss="square"
    )
    assert trainer.evaluate()["eval_loss"] == pytest.approx(before, rel=1e-5)
    trainer.save_model()
    old, new = (flat_weights(again(first.model, tmp_path / name)) for name in ("first", "second"))
    torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-6)
    old, new = (AutoConfig.from_pretrained(tmp_path / name).hf_squareloss for name in ("first", "second"))
    assert old == new


def test_checkpoints_are_raw_and_a_resumed_run_ends_as_the_whole_one(tmp_path: Path) -> None:
    whole = trained("bert", tmp_path, save_strategy="steps", save_steps=1)
    entry = json.loads((tmp_path / "checkpoint-1" / "config.json").read_text())["hf_squareloss"]
    assert "calibration" not in entry
    whole.save_model()
    resumed = SquareLossTrainer(
        make_model("bert"),
        arguments(tmp_path, max_steps=2, learning_rate=1e-3),
        train_dataset=make_examples("bert"),
        eval_dataset=make_examples("bert", 16, seed=2),
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-1"))
    torch.testing.assert_close(flat_weights(resumed.model), flat_weights(whole.model))
    calibration = resumed.loss.calibration
    assert calibration is not None and calibration.T == pytest.approx(whole.loss.calibration.T, rel=1e-5)


def test_attached_losses_are_of_raw_scores(tmp_path: Path) -> None:
    trainer = trained("bert", tmp_path)
    raw = scores_of(trainer.model, "bert")
    trainer.save_model()
    model = again(trainer.model, tmp_path)
    folded = scores_of(model, "bert")
    attach_loss(model, "square")
    torch.testing.assert_close(scores_of(model, "bert"), raw, rtol=1e-5, atol=1e-5)
    detach_loss(model)
    torch.testing.assert_close(scores_of(model, "bert"), folded, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(load_loss(model).probabilities(folded), folded.softmax(-1), rtol=0, atol=1e-6)


def test_distributions_over_the_classes_of_tokens_are_calibrated_too(tmp_path: Path) -> None:
    """Those with all of their weight on one class give the T of the classes themselves."""
    found = []
    for soft in (False, True):
        rows = make_examples("bert_tokens", 9)
        for i, row in enumerate(rows):
            row["labels"][: i % 3] = -100
            if soft:
                one_hot = torch.nn.functional.one_hot(row["labels"].clamp_min(0), CLASSES).float()
                row["labels"] = one_hot.where(row["labels"][:, None] >= 0, -100.0)
        trainer = SquareLossTrainer(
            make_model("bert_tokens"), arguments(tmp_path, max_steps=1), train_dataset=rows, eval_dataset=rows
        )
        trainer.train()
        assert trainer.loss.calibration is not None
        found.append((trainer.loss.calibration.T, trainer.loss.calibration.items))
    assert found[0] == pytest.approx(found[1], rel=1e-5) and found[0][1] > 20
