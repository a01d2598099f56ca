"""Every Trainer feature with a loss of one's choice: the weights move as a naive computation says, or it is refused."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from tiny_models import (
    CLASSES,
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
from trainer_runs import SQUARE, moved, naive_gradient, naive_square, trained
from transformers import Trainer, TrainingArguments

from hf_squareloss import (
    CrossEntropy,
    Loss,
    LossSelectionMixin,
    SquareLoss,
    SquareLossTrainer,
    Squentropy,
    load_loss,
)


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
        trainer(model, args, train_dataset=make_examples(family), **chosen).train()  # type: ignore[arg-type]
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
    model = make_model("bert", **config)  # type: ignore[arg-type]
    sizes = {"per_device_train_batch_size": 8 // accumulate, "gradient_accumulation_steps": accumulate}
    trainer = SquareLossTrainer(model, arguments(tmp_path, max_steps=1, **sizes), train_dataset=examples, loss=loss)
    assert trainer.loss.multi_label
    trainer.train()

    naive, batch = make_model("bert", **config), batch_of(examples)  # type: ignore[arg-type]
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
    assert load_loss(trainer.model) == SQUARE  # type: ignore[arg-type]


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
        (None, {}, SquareLoss(k=1.0, M=1.0)),
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
    assert trainer.loss == load_loss(trainer.model) == expected  # type: ignore[arg-type]


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


@pytest.mark.parametrize("accumulate", [1, 4])
def test_what_a_subclass_adds_has_one_weight_however_the_step_is_split(accumulate: int, tmp_path: Path) -> None:
    class Decaying(SquareLossTrainer):
        def compute_loss(self, model: Any, *args: Any, **kwargs: Any) -> Any:
            penalty = model.classifier.weight.square().sum() / self.current_gradient_accumulation_steps
            return super().compute_loss(model, *args, **kwargs) + penalty

    options = {"batch": 8 // accumulate, "accumulate": accumulate, "loss": SQUARE}
    added, plain = (step_gradient("bert", tmp_path, trainer=each, **options) for each in (Decaying, SquareLossTrainer))
    model = make_model("bert")
    model.classifier.weight.square().sum().backward()
    torch.testing.assert_close(added - plain, flat_gradient(model), rtol=1e-4, atol=1e-5)
