"""The calibration in the weights by hand: where it goes, and what is left alone."""

from typing import Any

import pytest
import torch
from tiny_models import batch_of, flat_weights, make_examples, make_model

from hf_squareloss import SquareLoss, attach_loss, calibrate, detach_loss, fold_calibration, unfold_calibration
from hf_squareloss.heads import Head


def test_calibrate_and_fold_without_a_trainer() -> None:
    model = attach_loss(make_model("bert"), "square")
    batch = batch_of(make_examples("bert", 16))
    labels = batch.pop("labels")
    with torch.no_grad():
        raw = model(**batch).logits
    loss = calibrate(model, raw, labels, source="validation")
    fold_calibration(model, batch)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits.softmax(-1), loss.probabilities(raw), rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="unfold_calibration"):
        calibrate(model, raw, labels)
    with pytest.raises(ValueError, match="not folded yet"):
        fold_calibration(model, batch)
    unfold_calibration(model)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits, raw, rtol=1e-5, atol=1e-5)


def test_a_head_that_is_not_linear_is_not_folded() -> None:
    class Squashed(type(make_model("bert"))):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            outputs = super().forward(*args, **kwargs)
            outputs.logits = outputs.logits.tanh()
            return outputs

    model = attach_loss(make_model("bert"), "square")
    detached = detach_loss(model)
    detached.__class__ = Squashed
    Head.of(detached).write(SquareLoss(k=1.0, M=1.0), detached)
    batch = batch_of(make_examples("bert", 16))
    labels = batch.pop("labels")
    before = flat_weights(detached)
    with torch.no_grad():
        calibrate(detached, detached(**batch).logits, labels)
    with pytest.raises(ValueError, match="no linear layer alone makes its scores"):
        fold_calibration(detached, batch)
    torch.testing.assert_close(flat_weights(detached), before, rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["shared", "quantised"])
def test_weights_that_are_not_the_layers_own_numbers_are_left_alone(kind: str) -> None:
    class Quantised(torch.nn.Linear):
        """Stands for the layers of quantisation packages, which are subclasses of Linear."""

    model = make_model("bert")
    if kind == "shared":
        model.other = torch.nn.Linear(16, 4)
        model.other.weight = model.classifier.weight
    else:
        model.classifier.__class__ = Quantised
    attach_loss(model, "square")
    batch = batch_of(make_examples("bert", 16))
    labels, before = batch.pop("labels"), flat_weights(model)
    with torch.no_grad():
        calibrate(model, model(**batch).logits, labels)
    with pytest.raises(ValueError, match="no linear layer alone makes its scores"):
        fold_calibration(model, batch)
    torch.testing.assert_close(flat_weights(model), before, rtol=0, atol=0)


def test_a_config_that_names_another_layer_has_nothing_to_undo() -> None:
    model = make_model("bert")
    entry = {"loss": "square", "calibration": {"T": 2.0, "folded_into": "no.such.layer"}}
    model.config.hf_squareloss = entry
    before = flat_weights(model)
    assert unfold_calibration(model) is None and "calibration" not in model.config.hf_squareloss
    torch.testing.assert_close(flat_weights(model), before, rtol=0, atol=0)


def test_weights_that_are_elsewhere_are_refused() -> None:
    model = make_model("bert")
    model.config.hf_squareloss = {"loss": "square", "calibration": {"T": 2.0, "folded_into": "classifier"}}
    model.classifier.weight.data = torch.empty(0)  # as DeepSpeed's ZeRO stage 3 leaves it
    with pytest.raises(ValueError, match="weights of that layer are not here"):
        unfold_calibration(model)


def calibrated() -> tuple[Any, dict[str, torch.Tensor]]:
    model, batch = attach_loss(make_model("bert"), "square"), batch_of(make_examples("bert", 16))
    labels = batch.pop("labels")
    with torch.no_grad():
        calibrate(model, model(**batch).logits, labels)
    return model, batch


def test_folding_under_autocast_is_folding() -> None:
    """Whose cache of weights in 16 bits would hide that they were changed."""
    model, batch = calibrated()
    other, _ = calibrated()
    fold_calibration(other, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fold_calibration(model, batch)
    torch.testing.assert_close(flat_weights(model), flat_weights(other), rtol=0, atol=0)


def test_a_forward_that_fails_leaves_the_model_in_training() -> None:
    model, _ = calibrated()
    model.train()
    with pytest.raises(ValueError, match="exactly one of"):
        fold_calibration(model, {"no such input": 1})
    assert model.training
