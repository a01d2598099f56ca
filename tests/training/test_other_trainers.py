"""The mixin before trl's and sentence-transformers' trainers, and what setfit's says."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from other_trainers import CASES, SQUARE, cross_encoder_trainer, gradient, pairs, sft_trainer
from tiny_models import GradientRecorder, arguments, make_model, relative_difference
from torch import Tensor, nn

from hf_squareloss import LossSelectionMixin, SquareLossTrainer, load_loss

pytestmark = [
    pytest.mark.usefixtures("nothing_said"),
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated"),  # trl 1.16 with transformers 5.24
]


# ---- exact scaling (two processes: test_scaling.py) ------------------------------------------------------------------
@pytest.mark.parametrize("case", CASES)
def test_accumulation_and_ragged_windows(case: str, tmp_path: Path) -> None:
    whole = gradient(case, tmp_path, batch=8)
    assert whole.norm() > 0
    assert relative_difference(gradient(case, tmp_path, batch=2, accumulate=4), whole) < 1e-5
    six = gradient(case, tmp_path, batch=6, count=6)
    assert relative_difference(gradient(case, tmp_path, batch=4, accumulate=2, count=6), six) < 1e-5


# ---- trl's SFTTrainer ------------------------------------------------------------------------------------------------
def test_sft_trains_without_scores_and_without_another_forward(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        trainer = sft_trainer(tmp_path, per_device_train_batch_size=2, max_steps=3)
        trainer.train()
    # One more to look at the model, before the first step, and none to calibrate it: no rows were held out.
    assert trainer.model.forwards == 3 + 1
    assert trainer._fused.in_use and "builds the scores" not in caplog.text
    assert "SFTTrainer's cross-entropy is replaced" in caplog.text
    assert load_loss(trainer.model) == trainer.selected_loss == SQUARE


def test_sft_has_the_gradient_of_our_own_trainer(tmp_path: Path) -> None:
    sft = sft_trainer(tmp_path, per_device_train_batch_size=8)
    recorder, args = GradientRecorder(), arguments(tmp_path, per_device_train_batch_size=8, max_steps=1)
    plain = SquareLossTrainer(sft.model, args, sft.data_collator, sft.train_dataset, loss=SQUARE, callbacks=[recorder])
    plain.train()
    assert relative_difference(gradient("sft", tmp_path, batch=8), recorder.gradient) < 1e-5


def test_sft_evaluates_with_the_loss(tmp_path: Path) -> None:
    trainer = sft_trainer(tmp_path, per_device_train_batch_size=8)
    found = trainer.evaluate(trainer.train_dataset)
    batch = trainer.data_collator(list(trainer.train_dataset))
    with torch.no_grad():
        scores = trainer.model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = SQUARE.mean(scores[:, :-1], batch["labels"][:, 1:])
    assert found["eval_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_sft_refuses_another_loss_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="loss_type='dft' would be ignored"):
        sft_trainer(tmp_path, loss_type="dft")


def test_a_reward_trainer_is_refused(tmp_path: Path) -> None:
    from trl.trainer.reward_config import RewardConfig  # pyright does not see what trl imports lazily
    from trl.trainer.reward_trainer import RewardTrainer

    ours: Any = type("Ours", (LossSelectionMixin, RewardTrainer), {})
    with pytest.raises(ValueError, match="RewardTrainer.compute_loss computes a loss of its own"):
        ours(model=make_model("bert", num_labels=1), args=RewardConfig(str(tmp_path), use_cpu=True, bf16=False))


# ---- sentence-transformers' CrossEncoderTrainer ----------------------------------------------------------------------
@pytest.mark.parametrize("num_labels", [1, 3])
def test_cross_encoders_train_with_the_formula(num_labels: int, tmp_path: Path) -> None:
    """(f - y)^2 with one score and k = M = 1; the paper's with classes: gradients of a plain loop over all pairs."""
    recorder, rows = GradientRecorder(), pairs(num_labels, 8)
    trainer = cross_encoder_trainer(
        num_labels, tmp_path, callbacks=[recorder], loss="square", per_device_train_batch_size=8
    )
    model = trainer.model
    tokens = model.preprocess(list(zip(rows["first"], rows["second"], strict=True)))
    scores = model(tokens)["scores"]
    labels = torch.tensor(rows["label"])
    if num_labels == 1:
        loss = (scores.squeeze(-1) - labels).square().mean()
    else:
        targets = nn.functional.one_hot(labels, 3)  # auto: k = M = 1
        loss = (scores - targets).square().mean()
    loss.backward()
    expected = torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in model.parameters()]
    )
    model.zero_grad()
    trainer.train()
    assert expected.norm() > 0
    assert relative_difference(recorder.gradient, expected) < 1e-5


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_cross_encoders_learn_and_say_which_loss(loss: str, num_labels: int, tmp_path: Path) -> None:
    options = {"max_steps": 60, "optim": "adamw_torch", "learning_rate": 1e-2, "per_device_train_batch_size": 8}
    trainer = cross_encoder_trainer(num_labels, tmp_path, loss=loss, **options)
    rows = pairs(num_labels, 8)
    before = trainer.evaluate(rows)["eval_loss"]
    trainer.train()
    after = trainer.evaluate(rows)["eval_loss"]
    assert after < 0.8 * before
    trainer.save_model(str(tmp_path / "saved"))
    from sentence_transformers import CrossEncoder

    model: Any = CrossEncoder(str(tmp_path / "saved"), device="cpu")
    assert load_loss(model.model) == trainer.selected_loss and trainer.selected_loss.name == loss
    found = torch.as_tensor(model.predict(list(zip(rows["first"], rows["second"], strict=True))))
    if num_labels == 1:  # what it shows is a probability, for the square loss up to clipping
        assert (found - torch.tensor(rows["label"])).abs().mean() < 0.35
    else:
        assert (found.argmax(-1) == torch.tensor(rows["label"])).float().mean() > 0.8


def test_predictions_of_one_score_are_the_score(tmp_path: Path) -> None:
    """A sigmoid, which the model would take by itself, is none of the square loss's."""

    def shown(loss: str) -> tuple[Tensor, Tensor]:
        trainer = cross_encoder_trainer(1, tmp_path / loss, loss=loss)
        trainer.train()
        model = trainer.model
        tokens = model.preprocess([("one two", "three")])
        with torch.no_grad():
            score = model(tokens)["scores"].squeeze()
        return score, torch.as_tensor(model.predict([("one two", "three")])).squeeze()

    score, found = shown("square")
    torch.testing.assert_close(found, score)
    score, found = shown("cross_entropy")
    torch.testing.assert_close(found, score.sigmoid())


# ---- setfit's --------------------------------------------------------------------------------------------------------
def test_setfit_s_trainer_is_refused() -> None:
    import setfit

    ours: Any = type("Ours", (LossSelectionMixin, setfit.Trainer), {})
    with pytest.raises(ValueError, match="must stand before a Trainer of transformers"):
        ours(loss="square")


# ---- cards -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [sft_trainer, lambda folder: cross_encoder_trainer(3, folder)], ids=["sft", "pairs"])
def test_the_card_says_the_loss(make: Any, tmp_path: Path) -> None:
    trainer = make(tmp_path)
    trainer.train()
    trainer.create_model_card(model_name="mine")  # as they do themselves at a checkpoint
    assert "with the loss `square`, k = 2.0, M = 3.0" in (tmp_path / "README.md").read_text()
