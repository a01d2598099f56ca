"""Folded models loaded for labels of another kind, and folding on devices without float64."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CLASSES, arguments, flat_weights, make_examples, make_model
from torch import Tensor
from transformers import BertForSequenceClassification

from hf_squareloss import SquareLossTrainer, load_loss

KINDS = {"single": "single_label_classification", "multi": "multi_label_classification"}


def examples(kind: str) -> Any:
    rows = make_examples("bert", 16)
    if kind == "multi":
        for i, row in enumerate(rows):
            row["labels"] = torch.tensor([float(i >> c & 1) for c in range(CLASSES)])
    return rows


def trained(model: Any, kind: str, folder: Path, loss: str) -> SquareLossTrainer:
    data: dict[str, Any] = {"train_dataset": examples(kind), "eval_dataset": examples(kind)}
    trainer = SquareLossTrainer(model, arguments(folder, max_steps=2, learning_rate=1e-3), loss=loss, **data)
    trainer.train()
    trainer.save_model()
    return trainer


@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
@pytest.mark.parametrize(("before", "after"), [("single", "multi"), ("multi", "single")])
def test_the_kind_of_labels_is_what_the_user_asks_for(before: str, after: str, loss: str, tmp_path: Path) -> None:
    trained(make_model("bert", problem_type=KINDS[before]), before, tmp_path / "first", loss)
    saved = load_loss(tmp_path / "first")
    assert saved.multi_label == (before == "multi") and saved.calibration and saved.calibration.folded_into

    def loaded() -> Any:
        return BertForSequenceClassification.from_pretrained(tmp_path / "first", problem_type=KINDS[after])

    again = trained(loaded(), after, tmp_path / "second", loss)
    assert again.loss.multi_label == load_loss(tmp_path / "second").multi_label == (after == "multi")
    evaluated = SquareLossTrainer(loaded(), arguments(tmp_path / "third"), loss=loss)
    assert evaluated.loss.multi_label == (after == "multi")
    assert evaluated.evaluate(examples(after))["eval_loss"] > 0
    evaluated.save_model()  # whatever its loss, nothing is multiplied by the T of another
    calibration = load_loss(tmp_path / "third").calibration
    assert calibration is None or calibration.folded_into is None


def test_a_loss_that_cannot_do_the_new_kind_is_forgotten(tmp_path: Path) -> None:
    trained(make_model("bert"), "single", tmp_path / "first", "squentropy")
    model = BertForSequenceClassification.from_pretrained(tmp_path / "first", problem_type=KINDS["multi"])
    trainer = SquareLossTrainer(model, arguments(tmp_path / "second"), loss="square")
    trainer.save_model()
    assert trainer.loss.name == "square" and trainer.loss.calibration is None


def test_nothing_is_float64_but_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apple's GPUs have no such numbers: parameters are brought to the CPU first."""
    brought: set[int] = set()
    cpu, double, to = Tensor.cpu, Tensor.double, Tensor.to

    def to_cpu(tensor: Tensor) -> Tensor:
        copied = cpu(tensor).clone()
        brought.add(copied.data_ptr())
        return copied

    def in_double(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in brought:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return double(tensor)

    def moved(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if tensor.dtype == torch.float64 and any(isinstance(arg, torch.device) for arg in args):
            raise TypeError("Cannot convert a float64 Tensor to MPS")
        return to(tensor, *args, **kwargs)

    trainer = trained(make_model("bert"), "single", tmp_path / "first", "square")
    raw = flat_weights(trainer.model)
    for name, method in (("cpu", to_cpu), ("double", in_double), ("to", moved)):
        monkeypatch.setattr(Tensor, name, method)
    with pytest.raises(TypeError, match="Cannot convert"):
        torch.ones(2).double()
    trainer.save_model(str(tmp_path / "second"))
    model = BertForSequenceClassification.from_pretrained(tmp_path / "second")
    again = SquareLossTrainer(model, arguments(tmp_path / "third"))
    torch.testing.assert_close(flat_weights(again.model), raw, rtol=1e-5, atol=1e-6)
    again.save_model()
