"""An attached loss takes effect, whatever is done to the model before or after, or is refused."""

from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
import transformers
from accelerate.state import AcceleratorState
from tiny_models import LLAMA, arguments, batch_of, make_examples, make_model

from hf_squareloss import SquareLoss, SquareLossTrainer, attach_loss


def hooked(model: Any) -> Any:
    return accelerate.dispatch_model(model, {"": "cpu"}, force_hooks=True)


def prepared(model: Any) -> Any:
    AcceleratorState._reset_state()  # another test's precision (accelerate 1.15 has no public way)
    return accelerate.Accelerator(mixed_precision="bf16", cpu=True).prepare(model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda model: torch.compile(model, backend="eager"), "OptimizedModule.*before torch.compile"),
        (hooked, "hooks of device_map"),
        (prepared, "a forward of its own"),
        (torch.nn.DataParallel, "DataParallel"),
    ],
    ids=["compiled", "hooks", "prepared", "parallel"],
)
@pytest.mark.parametrize("family", ["bert", "llama_causal"])
def test_a_model_that_does_not_call_its_class_s_forward_is_refused(family: str, change: Any, words: str) -> None:
    model = make_model("bert") if family == "bert" else transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA))
    with pytest.raises(ValueError, match=words):
        attach_loss(change(model))
    assert "hf_squareloss" not in model.config.to_dict()


DYNAMO = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # its own, torch 2.13
AFTER = {"compiled": lambda model: torch.compile(model, backend="eager"), "hooks": hooked, "prepared": prepared}


@DYNAMO
@pytest.mark.parametrize("change", AFTER.values(), ids=AFTER)
def test_what_comes_after_it_keeps_it(change: Any) -> None:
    batch = batch_of(make_examples("bert"))
    model = attach_loss(make_model("bert"), SquareLoss(k=2.0, M=3.0))
    with torch.no_grad():
        outputs = change(model)(**batch)
    expected = SquareLoss(k=2.0, M=3.0).mean(outputs.logits.float(), batch["labels"])
    torch.testing.assert_close(outputs.loss.float(), expected)


@DYNAMO
def test_a_model_compiled_in_place_takes_the_loss() -> None:
    batch = batch_of(make_examples("bert"))
    model = make_model("bert")
    model.compile(backend="eager")
    with torch.no_grad():
        model(**batch)
        outputs = attach_loss(model, SquareLoss(k=2.0, M=3.0))(**batch)
    torch.testing.assert_close(outputs.loss, SquareLoss(k=2.0, M=3.0).mean(outputs.logits, batch["labels"]))


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_the_stock_trainer_s_smoothing_is_refused(stage: str, tmp_path: Path) -> None:
    examples: Any = make_examples("bert")
    args = arguments(tmp_path, max_steps=1, label_smoothing_factor=0.1)
    trainer = transformers.Trainer(attach_loss(make_model("bert")), args, train_dataset=examples, eval_dataset=examples)
    with pytest.raises(ValueError, match="label_smoothing is a parameter of the loss"):
        getattr(trainer, stage)()


def test_a_trainer_has_a_loss_of_its_own(tmp_path: Path) -> None:
    """A CTC model computes the attached one in its forward, so it is refused; elsewhere the trainer's is trained."""
    with pytest.raises(ValueError, match=r"has a loss attached, .*: detach_loss\(model\) first"):
        SquareLossTrainer(attach_loss(make_model("wav2vec2_ctc"), "square"), arguments(tmp_path), loss="cross_entropy")
    values = []
    for model in (attach_loss(make_model("bert"), SquareLoss(k=2.0, M=3.0)), make_model("bert")):
        trainer = SquareLossTrainer(model, arguments(tmp_path, max_steps=1), train_dataset=make_examples("bert"))
        values.append(trainer.train().training_loss)
    assert values[0] == pytest.approx(values[1], rel=1e-6)
