"""Every Trainer feature with a loss of one's choice: the weights move as a naive computation says, or it is refused."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
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
from torch.nn.utils.rnn import pad_sequence
from transformers import Seq2SeqTrainer, Trainer, TrainingArguments

from hf_squareloss import (
    CrossEntropy,
    Loss,
    LossSelectionMixin,
    SquareLoss,
    SquareLossSeq2SeqTrainer,
    SquareLossTrainer,
    Squentropy,
    load_loss,
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


def moved(before: torch.nn.Module, after: torch.nn.Module) -> set[str]:
    old = dict(before.named_parameters())
    return {name for name, p in after.named_parameters() if not torch.equal(p, old[name])}


# ---- tasks -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "family",
    [
        *("bert", "llama", "bart", "vit", "wav2vec2", "bert_tokens", "bert_choice", "bert_masked", "gpt2_causal"),
        *("bart_seq2seq", "t5_seq2seq"),
    ],
)
def test_gradient_is_the_naive_one(family: str, tmp_path: Path) -> None:
    ours = step_gradient(family, tmp_path, batch=8, loss=SQUARE)
    assert relative_difference(ours, naive_gradient(family)) < rounding(family)


def test_causal_models_would_fail_without_the_shift(tmp_path: Path) -> None:
    model, batch = make_model("gpt2_causal"), batch_of(make_examples("gpt2_causal"))
    naive_square(model(input_ids=batch["input_ids"]).logits, batch["labels"]).backward()
    ours = step_gradient("gpt2_causal", tmp_path, batch=8, loss=SQUARE)
    assert relative_difference(ours, flat_gradient(model)) > 0.1


# Not GPT-2's language model: its loss_type is None, and the stock Trainer (5.23) then counts each first token too.
@pytest.mark.parametrize("family", ["bert", "llama", "vit", "bert_tokens", "bart_seq2seq"])
def test_cross_entropy_moves_the_weights_as_the_stock_trainer(family: str, tmp_path: Path) -> None:
    weights = []
    for trainer, chosen in ((SquareLossTrainer, {"loss": "cross_entropy"}), (Trainer, {})):
        model = make_model(family)
        args = arguments(tmp_path, max_steps=5, per_device_train_batch_size=2)
        trainer(model, args, train_dataset=make_examples(family), **chosen).train()
        weights.append(flat_weights(model))
    assert relative_difference(*weights) < 1e-6
    assert relative_difference(weights[0], flat_weights(make_model(family))) > 0.01


def test_regression(tmp_path: Path) -> None:
    examples = [{**example, "labels": example["labels"] / 2} for example in make_examples("bert")]
    model = make_model("bert", num_labels=1)
    trainer = SquareLossTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=examples)
    naive, batch = make_model("bert", num_labels=1), batch_of(examples)
    scores = naive(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    (scores[:, 0] - batch["labels"]).square().mean().backward()
    trainer.train()
    expected = flat_weights(naive) - 0.1 * flat_gradient(naive)
    assert torch.allclose(flat_weights(model), expected, atol=1e-6)


@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_multi_label(loss: str, accumulate: int, tmp_path: Path) -> None:
    targets = torch.eye(CLASSES)[[0, 1, 2, 3, 0, 1, 2, 3]] + torch.eye(CLASSES)[[1, 1, 3, 0, 2, 3, 3, 3]]
    examples = make_examples("bert")
    for example, target in zip(examples, targets.clamp(max=1), strict=True):
        example["labels"] = target
    config = {"problem_type": "multi_label_classification"}
    model = make_model("bert", **config)
    sizes = {"per_device_train_batch_size": 8 // accumulate, "gradient_accumulation_steps": accumulate}
    trainer = SquareLossTrainer(model, arguments(tmp_path, max_steps=1, **sizes), train_dataset=examples, loss=loss)
    assert trainer.loss.multi_label
    trainer.train()

    naive, batch = make_model("bert", **config), batch_of(examples)
    scores = naive(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    if loss == "square":  # auto: a yes-no question has k = M = 1
        value = (scores - batch["labels"]).square().mean()
    else:
        value = torch.nn.functional.binary_cross_entropy_with_logits(scores, batch["labels"])
    value.backward()
    assert torch.allclose(flat_weights(model), flat_weights(naive) - 0.1 * flat_gradient(naive), atol=1e-6)


# ---- ways to train ---------------------------------------------------------------------------------------------------
def test_model_init(tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=2)
    trainer = SquareLossTrainer(
        args=args, model_init=lambda: make_model("bert"), train_dataset=make_examples("bert"), loss=SQUARE
    )
    trainer.train()
    assert torch.equal(flat_weights(trainer.model), flat_weights(trained("bert", tmp_path).model))
    assert load_loss(trainer.model) == SQUARE


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
def test_peft(tmp_path: Path) -> None:
    from peft import LoraConfig, TaskType, get_peft_model

    def adapted() -> Any:
        torch.manual_seed(0)
        lora = LoraConfig(TaskType.SEQ_CLS, r=2, target_modules=["query", "value"], modules_to_save=["classifier"])
        return get_peft_model(make_model("bert"), lora)

    model = adapted()
    trainer = trained("bert", tmp_path, model=model, eval_strategy="no")
    changed = moved(adapted(), model)
    assert changed and all("lora_" in name or "modules_to_save" in name for name in changed)
    assert any("lora_B" in name for name in changed)
    assert load_loss(model) == SQUARE
    assert trainer.evaluate(make_examples("bert"))["eval_loss"] > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"torch_compile": True, "torch_compile_backend": "aot_eager"},
        {"activation_checkpointing": True},
    ],
    ids=["torch_compile", "activation_checkpointing"],
)
def test_same_weights_when(changes: dict[str, Any], tmp_path: Path) -> None:
    plain, changed = (trained("bert", tmp_path, **options).model for options in ({}, changes))
    assert torch.allclose(flat_weights(changed), flat_weights(plain), atol=1e-6)
    assert relative_difference(flat_weights(plain), flat_weights(make_model("bert"))) > 0.01


def test_bf16(tmp_path: Path) -> None:
    plain, low = (step_gradient("bert", tmp_path, batch=8, loss=SQUARE, arguments_changes=c) for c in ({}, {"bf16": 1}))
    assert 1e-5 < relative_difference(low, plain) < 0.05


def test_fp16_autocast() -> None:
    """The Trainer's fp16 needs a GPU: here the model and the loss under the autocast that it would use."""
    model, batch = make_model("bert"), batch_of(make_examples("bert"))
    labels = batch.pop("labels")
    with torch.autocast("cpu", dtype=torch.float16):
        scores = model(**batch).logits
        value = SQUARE.mean(scores, labels)
    assert (scores.dtype, value.dtype) == (torch.float16, torch.float32)
    value.backward()
    assert relative_difference(flat_gradient(model), naive_gradient("bert")) < 0.02


def test_deepspeed(tmp_path: Path) -> None:
    """ZeRO 2 and 3 on a CPU, in a process of their own: DeepSpeed leaves a process group and settings behind."""
    program = Path(__file__).parents[1] / "helpers" / "deepspeed_runs.py"
    single = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    environment = os.environ | single | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, str(program), str(tmp_path)], env=environment, capture_output=True, text=True, timeout=200
    )
    assert run.returncode == 0, run.stderr
    plain = trained("bert", tmp_path / "plain", bf16=True, gradient_accumulation_steps=2, per_device_train_batch_size=2)
    start, end = flat_weights(make_model("bert")), flat_weights(plain.model)
    for stage in (2, 3):
        written = torch.load(tmp_path / f"zero{stage}.pt")
        assert relative_difference(written - start, end - start) < 0.1, f"ZeRO {stage}"


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
    assert output.predictions.shape == (8, CLASSES)


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
    assert output.metrics["test_loss"] == pytest.approx(smooth, rel=1e-5)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(smooth, rel=1e-5)
    if generate:
        assert output.predictions.shape[0] == 4
    if generate and family == "bart_seq2seq":
        stock = Seq2SeqTrainer(make_model(family), args, eval_dataset=examples)
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
            used.append((self.args.learning_rate, self.args.loss_k, load_loss(self.model)))
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
    assert set(best.hyperparameters) == {"learning_rate", "loss_k"}


# ---- naming the loss -------------------------------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Absolute(Loss):
    """A user's own loss: the absolute difference from the one-hot label."""

    name: ClassVar[str] = "absolute"

    def costs(self, scores: Tensor) -> Tensor:
        return torch.stack([(scores - one_hot).abs().sum(-1) for one_hot in torch.eye(scores.shape[-1])], -1)

    def link(self, scores: Tensor) -> Tensor:
        return scores.clamp(0, 1)


def test_loss_of_ones_own(tmp_path: Path) -> None:
    def make() -> SquareLossTrainer:
        args = arguments(tmp_path, max_steps=1, per_device_train_batch_size=2, gradient_accumulation_steps=4)
        args = TrainingArguments(**{**vars_of(args), "save_strategy": "steps", "save_steps": 1})
        return SquareLossTrainer(make_model("bert"), args, train_dataset=make_examples("bert"), loss=Absolute())

    trainer = make()
    trainer.train()
    naive, batch = make_model("bert"), batch_of(make_examples("bert"))
    scores = naive(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    (scores - torch.eye(CLASSES)[batch["labels"]]).abs().sum(-1).mean().backward()
    expected = flat_weights(naive) - 0.1 * flat_gradient(naive)
    assert torch.allclose(flat_weights(trainer.model), expected, atol=1e-6)
    make().train(resume_from_checkpoint=True)  # its own earlier run is not another loss's


def vars_of(args: TrainingArguments) -> dict[str, Any]:
    names = ("output_dir", "per_device_train_batch_size", "gradient_accumulation_steps", "max_steps", "use_cpu")
    plain = ("optim", "lr_scheduler_type", "learning_rate", "max_grad_norm", "disable_tqdm", "dataloader_pin_memory")
    return {name: getattr(args, name) for name in (*names, *plain)}


@pytest.mark.parametrize(
    ("given", "changes", "expected"),
    [
        ("squentropy", {}, Squentropy()),
        (SQUARE, {}, SQUARE),
        (SQUARE, {"loss": "cross_entropy"}, SQUARE),
        (None, {}, SquareLoss(k=1.0, M=2.0)),
        (None, {"loss": "cross_entropy"}, CrossEntropy()),
        (None, {"loss_k": "2", "loss_M": "3"}, SQUARE),
        (None, {"loss": "cross_entropy", "label_smoothing_factor": 0.2}, CrossEntropy(label_smoothing=0.2)),
        ("cross_entropy", {"label_smoothing_factor": 0.2}, CrossEntropy(label_smoothing=0.2)),
        ("square", {"loss_k": "2", "class_weights": "1,2,3,4"}, SquareLoss(k=2.0, M=1.0, class_weights=(1, 2, 3, 4))),
        (None, {"loss_k": "paper", "loss_M": "paper"}, SquareLoss(k=1.0, M=1.0)),
    ],
)
def test_loss_by_name_object_or_arguments(given: Any, changes: Any, expected: Loss, tmp_path: Path) -> None:
    args = arguments(tmp_path, max_steps=1, **changes)
    examples: Any = make_examples("bert")
    trainer = SquareLossTrainer(make_model("bert"), args, train_dataset=examples, loss=given)
    assert trainer.loss == expected
    trainer.train()
    assert trainer.loss == load_loss(trainer.model) == expected


def test_module_without_a_config(tmp_path: Path) -> None:
    class Linear(torch.nn.Linear):
        def forward(self, inputs: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
            return {"logits": super().forward(inputs)}

    torch.manual_seed(0)
    model, inputs, labels = Linear(3, CLASSES), torch.randn(8, 3), torch.arange(8) % CLASSES
    expected = naive_square(model(inputs)["logits"], labels)
    expected.backward()
    start, gradient = flat_weights(model), flat_gradient(model)
    model.zero_grad()
    rows = [{"inputs": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]
    sizes: dict[str, Any] = {
        "remove_unused_columns": False,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
    }
    SquareLossTrainer(model, arguments(tmp_path, max_steps=1, **sizes), train_dataset=rows, loss=SQUARE).train()
    assert torch.allclose(flat_weights(model), start - 0.1 * gradient, atol=1e-6)


def test_mixin_on_ones_own_trainer(tmp_path: Path) -> None:
    class Own(Trainer):
        def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
            self.calls = getattr(self, "calls", 0) + 1
            return super().training_step(*args, **kwargs)

    class OwnWithLoss(LossSelectionMixin, Own):
        pass

    gradient = step_gradient("bert", tmp_path, batch=2, accumulate=4, trainer=OwnWithLoss, loss=SQUARE)
    assert relative_difference(gradient, naive_gradient("bert")) < 1e-5


# ---- refusals --------------------------------------------------------------------------------------------------------
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
    with pytest.raises(FloatingPointError, match=r"step 4.*SquareLoss.*checkpoint-2"):
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
