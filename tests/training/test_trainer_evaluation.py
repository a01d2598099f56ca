"""Evaluation with the loss, resuming, and a search over its parameters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import (
    CLASSES,
    arguments,
    batch_of,
    flat_weights,
    make_examples,
    make_model,
)
from torch import Tensor
from trainer_runs import SQUARE, naive_square
from transformers import Seq2SeqTrainer, Trainer

from hf_squareloss import (
    Loss,
    SquareLoss,
    SquareLossSeq2SeqTrainer,
    SquareLossTrainer,
    load_loss,
)


# ---- evaluation ------------------------------------------------------------------------------------------------------
def test_eval_loss_is_the_naive_mean(tmp_path: Path) -> None:
    examples = make_examples("bert", 7)
    model, batch = make_model("bert"), batch_of(examples)
    args = arguments(tmp_path, per_device_eval_batch_size=3, label_names=["labels"])
    trainer = SquareLossTrainer(model, args, eval_dataset=examples, loss=SQUARE)
    with torch.no_grad():
        scores = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    output = trainer.predict(examples)
    assert np.allclose(output.predictions, scores, atol=1e-5)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(naive_square(scores, batch["labels"]).item(), rel=1e-5)


def test_prediction_without_labels(tmp_path: Path) -> None:
    examples = [{"input_ids": example["input_ids"]} for example in make_examples("bert")]
    output = SquareLossTrainer(make_model("bert"), arguments(tmp_path), loss=SQUARE).predict(examples)
    assert output.predictions.shape == (8, CLASSES)  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", ["bart_seq2seq", "t5_seq2seq"])
@pytest.mark.parametrize("generate", [True, False])
def test_seq2seq_evaluation(family: str, generate: bool, tmp_path: Path) -> None:
    from transformers import Seq2SeqTrainingArguments

    examples = [{**e, "labels": e["labels"].clamp(min=3)} for e in make_examples(family, 4)]
    model, batch = make_model(family), batch_of(examples)
    args = Seq2SeqTrainingArguments(
        str(tmp_path),
        predict_with_generate=generate,
        generation_max_length=9,
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        label_smoothing_factor=0.1,
    )
    trainer = SquareLossSeq2SeqTrainer(model, args, eval_dataset=examples, loss=SQUARE)
    with torch.no_grad():
        scores = model(**batch).logits
    smooth = SquareLoss(k=2.0, M=3.0, label_smoothing=0.1).mean(scores, batch["labels"]).item()
    output = trainer.predict(examples)
    assert output.metrics["test_loss"] == pytest.approx(smooth, rel=1e-5)  # type: ignore[index]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(smooth, rel=1e-5)
    if generate:
        assert output.predictions.shape[0] == 4  # type: ignore[attr-defined]
    if generate and family == "bart_seq2seq":
        stock = Seq2SeqTrainer(make_model(family), args, eval_dataset=examples)  # type: ignore[arg-type]
        assert stock.evaluate()["eval_loss"] != pytest.approx(smooth, rel=1e-2)


# ---- going on and searching ------------------------------------------------------------------------------------------
def test_resumed_run_equals_undisturbed_run(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class Interrupted(SquareLossTrainer):
        def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
            if self.state.global_step == 3:
                raise Stop
            return super().training_step(*args, **kwargs)

    def make(kind: type[SquareLossTrainer], folder: str) -> SquareLossTrainer:
        saving = {"save_strategy": "steps", "save_steps": 2, "optim": "adamw_torch", "per_device_train_batch_size": 2}
        args = arguments(tmp_path / folder, max_steps=6, **saving)
        model = make_model("bert", hidden_dropout_prob=0.1)
        return kind(model, args, train_dataset=make_examples("bert"), loss="square")

    undisturbed = make(SquareLossTrainer, "undisturbed")
    undisturbed.train()
    with pytest.raises(Stop):
        make(Interrupted, "resumed").train()
    resumed = make(SquareLossTrainer, "resumed")
    resumed.train(resume_from_checkpoint=True)
    assert torch.equal(flat_weights(resumed.model), flat_weights(undisturbed.model))


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    """Resumed at max_steps in the middle of an epoch; the stock Trainer takes one step more (the negative control)."""

    batches_of_2: dict[str, Any] = {"per_device_train_batch_size": 2}

    def steps_after_resuming(kind: type[Any], folder: str, **options: Any) -> int:
        args = arguments(tmp_path / folder, max_steps=2, save_strategy="steps", save_steps=1, **batches_of_2)
        make = lambda: kind(make_model("bert"), args, train_dataset=make_examples("bert"), **options)  # noqa: E731
        make().train()
        again = make()
        again.train(resume_from_checkpoint=True)
        return again.state.global_step

    assert steps_after_resuming(SquareLossTrainer, "ours", loss="square") == 2
    assert steps_after_resuming(Trainer, "stock") == 3


def test_hyperparameter_search_varies_the_loss(tmp_path: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    used: list[tuple[float, float, Loss]] = []

    class Watched(SquareLossTrainer):
        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            used.append((self.args.learning_rate, self.args.loss_k, load_loss(self.model)))  # type: ignore
            return super().compute_loss(*args, **kwargs)

    trainer = Watched(
        args=arguments(tmp_path, max_steps=1, eval_strategy="steps", eval_steps=1, save_strategy="steps", save_steps=1),
        model_init=lambda: make_model("bert"),
        train_dataset=make_examples("bert"),
        eval_dataset=make_examples("bert"),
    )
    best = trainer.hyperparameter_search(
        lambda trial: {
            "learning_rate": trial.suggest_float("learning_rate", 1e-3, 1e-1),
            "loss_k": trial.suggest_categorical("loss_k", [1.0, 8.0]),
        },
        n_trials=4,
        sampler=optuna.samplers.GridSampler({"learning_rate": [1e-3, 1e-1], "loss_k": [1.0, 8.0]}),
    )
    assert {(rate, float(k)) for rate, k, _ in used} == {(r, k) for r in (1e-3, 1e-1) for k in (1.0, 8.0)}
    assert all(isinstance(loss, SquareLoss) and loss.k == float(k) for _, k, loss in used)
    assert set(best.hyperparameters) == {"learning_rate", "loss_k"}  # type: ignore[attr-defined]


def test_a_decoder_evaluates_without_metrics_though_it_could_generate(tmp_path: Path) -> None:
    from transformers import Seq2SeqTrainingArguments

    quiet: dict[str, Any] = {"use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False}
    args = Seq2SeqTrainingArguments(str(tmp_path), predict_with_generate=True, **quiet)
    examples, model = make_examples("gpt2_causal", 4), make_model("gpt2_causal")
    found = SquareLossSeq2SeqTrainer(model, args, eval_dataset=examples, loss=SQUARE).evaluate()["eval_loss"]
    plain = SquareLossTrainer(model, arguments(tmp_path), eval_dataset=examples, loss=SQUARE).evaluate()["eval_loss"]
    assert found == pytest.approx(plain, rel=1e-6)


def test_a_loss_asked_for_by_the_arguments_is_named_where_the_models_own_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = SquareLossTrainer(make_model("bert"), arguments(tmp_path, max_steps=1), train_dataset=make_examples("bert"))
    model.train()
    SquareLossTrainer(model.model, arguments(tmp_path))
    assert "and not with" not in caplog.text  # nobody asked for another one
    trainer = SquareLossTrainer(model.model, arguments(tmp_path, loss="cross_entropy"))
    assert "and not with cross_entropy" in caplog.text and trainer.loss.name == "square"
    balanced = SquareLossTrainer(model.model, arguments(tmp_path, class_weights="balanced"))  # needs training labels
    assert balanced.loss == trainer.loss and balanced.evaluate(make_examples("bert"))["eval_loss"] > 0


def test_a_decoder_that_generates_has_the_loss_of_its_raw_scores(tmp_path: Path) -> None:
    """Its forward gets no labels, as that of generation, whose scores are log probabilities."""
    from transformers import Seq2SeqTrainingArguments

    quiet: dict[str, Any] = {"use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False}
    examples, model = make_examples("gpt2_causal", 4), make_model("gpt2_causal")
    found = {}
    for generate in (False, True):
        args = Seq2SeqTrainingArguments(str(tmp_path), predict_with_generate=generate, generation_max_length=9, **quiet)
        trainer = SquareLossSeq2SeqTrainer(
            model, args, eval_dataset=examples, loss=SQUARE, compute_metrics=lambda _: {"seen": 1.0}
        )
        metrics = trainer.evaluate()
        assert metrics["eval_seen"] == 1.0
        found[generate] = metrics["eval_loss"]
    assert found[True] == pytest.approx(found[False], rel=1e-6)
