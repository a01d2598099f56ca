"""The calibration in the weights: a model whose scores need no loss to be read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_squareloss.config import base_model, saved_entry, saved_loss
from hf_squareloss.heads import Head
from hf_squareloss.losses import Loss

Reason = str
_INSIDE_PEFT = re.compile(r"\.modules_to_save\.[^.]+$")


@dataclass(frozen=True)
class LastLayer:
    """The linear layer whose outputs are a model's scores: with W and b times T, they are T times what they were.

    Attributes:
        name: in the transformers model, without what PEFT puts around it.
        layer: the layer.
    """

    name: str
    layer: nn.Linear

    @classmethod
    def of(cls, model: nn.Module, scores: Callable[[], Tensor], *, shifted: bool = False) -> LastLayer | Reason:
        """The layer, found by trying; or why there is none. The weights are the same afterwards, bit by bit.

        Args:
            model: in evaluation mode.
            scores: runs the model on some inputs, always the same.
            shifted: a number will be added to each score, for which the layer needs a bias.
        """
        before = scores()
        outputs = {before.shape[-1], 1}  # 1: multiple choice
        names = {module: name for name, module in base_model(model).named_modules()}
        linear = [module for module in names if type(module) is nn.Linear and module.out_features in outputs]
        for layer in reversed(linear):
            if not _is_plain(model, layer):
                continue
            with _scaled(layer, 2.0, shift=1.0 if shifted and layer.bias is not None else 0.0):
                after = scores()
            expected = 2.0 * before + (1.0 if shifted and layer.bias is not None else 0.0)
            if torch.allclose(after.float(), expected.float(), rtol=1e-3, atol=1e-3 * before.abs().max().item()):
                if shifted and layer.bias is None:
                    return f"{names[layer]} has no bias, which undoing class weights or a shift needs"
                return cls(_INSIDE_PEFT.sub("", names[layer]), layer)
        return "no linear layer alone makes its scores"

    @classmethod
    def named(cls, model: nn.Module, name: str) -> LastLayer:
        """The layer that a config names. ValueError where there is none."""
        found: Any = base_model(model)
        for part in name.split("."):
            found = getattr(found, part, None)
        if hasattr(found, "modules_to_save"):  # PEFT's wrapper of a layer that is trained as a whole
            found = found.modules_to_save[found.active_adapters[0]]
        if not isinstance(found, nn.Linear) or not found.weight.numel():
            raise ValueError(
                f"the model's config says that its calibration was folded into {name!r}, and there is no linear layer "
                "of that name whose weights are here"
            )
        return cls(name, found)

    def folded(self, loss: Loss) -> tuple[Tensor, Tensor | None]:
        """W and b with the loss's calibration in them."""
        T, add = _line(loss)
        weight, bias = self.layer.weight.detach().double() * T, self.layer.bias
        bias = None if bias is None else bias.detach().double() * T + add.to(bias.device)
        return weight.to(self.layer.weight), None if bias is None else bias.to(self.layer.bias)

    def unfolded(self, loss: Loss) -> tuple[Tensor, Tensor | None]:
        """W and b as they were before `folded`, up to rounding."""
        T, add = _line(loss)
        weight, bias = self.layer.weight.detach().double() / T, self.layer.bias
        bias = None if bias is None else (bias.detach().double() - add.to(bias.device)) / T
        return weight.to(self.layer.weight), None if bias is None else bias.to(self.layer.bias)

    def state(self, model: nn.Module, loss: Loss) -> dict[str, Tensor]:
        """The model's parameters that `folded` changes, by their names in its state_dict."""
        weight, bias = self.folded(loss)
        changed = [(self.layer.weight, weight), (self.layer.bias, bias)]
        return {
            name: new
            for name, parameter in model.named_parameters(remove_duplicate=False)
            for old, new in changed
            if parameter is old and new is not None
        }

    def put(self, weight: Tensor, bias: Tensor | None) -> None:
        """Make these the layer's parameters, in place."""
        with torch.no_grad():
            self.layer.weight.copy_(weight)
            if bias is not None:
                self.layer.bias.copy_(bias)


def fold_calibration(model: PreTrainedModel, inputs: Mapping[str, Any]) -> None:
    """Multiply the last linear layer by T, so that a softmax of the model's scores is its loss's probability.

    Such a model is an ordinary classifier for everyone: plain pipelines, the Hub's widget, an export to ONNX, serving
    engines. With class weights w the bias gets -log w besides, and with `multi_label` a sigmoid takes the softmax's
    place and the bias gets the shift. `load_loss(model).probabilities(scores)` are the same as before. Trainers of
    ours and `attach_loss` undo it before they train.

    Args:
        model: its config names a loss with a calibration (`calibrate`); changed in place, and its config too.
        inputs: of one forward, which shows which layer makes the scores.

    Raises:
        ValueError: no calibration, one that is folded already, a head without classes of its own (CTC, language
            models), or no linear layer that alone makes the scores; says which.

    Example:
        >>> calibrate(model, scores, labels)  # doctest: +SKIP
        >>> fold_calibration(model, batch)  # doctest: +SKIP
        >>> model.save_pretrained("outputs/ordinary")  # doctest: +SKIP
    """
    loss, head = saved_loss(model), Head.of(model)
    if loss is None or loss.calibration is None or loss.calibration.folded_into is not None:
        what = "no calibration: calibrate(model, scores, labels)" if loss is None or loss.calibration is None else "one"
        raise ValueError(f"the model's config must have a calibration that is not folded yet; it has {what}")
    if (reason := unfoldable(head)) is not None:
        raise ValueError(f"{type(model).__name__} keeps its calibration beside the weights: {reason}")
    was_training = model.training
    model.eval()
    with torch.no_grad():
        found = LastLayer.of(model, lambda: model(**inputs)[head.scores], shifted=shifts(loss))
    model.train(was_training)
    if isinstance(found, str):
        raise ValueError(f"the calibration of {type(model).__name__} cannot be folded: {found}")
    found.put(*found.folded(loss))
    head.write(folded_loss(loss, found.name), model)


def unfold_calibration(model: nn.Module) -> LastLayer | None:
    """Undo `fold_calibration`, up to rounding of the weights; the calibration stays, in the config alone.

    Returns:
        The layer; None where nothing is folded, and nothing is changed then.

    Raises:
        ValueError: the layer is not there, or its weights are elsewhere (DeepSpeed's ZeRO stage 3).
    """
    name = folded_into(model)
    loss = None if name is None else saved_loss(model)
    if name is None or loss is None or loss.calibration is None:
        return None
    found = LastLayer.named(model, name)
    found.put(*found.unfolded(loss))
    Head.of(model).write(replace(loss, calibration=replace(loss.calibration, folded_into=None)), model)
    return found


def fold_again(model: nn.Module) -> None:
    """Multiply the layer that the config names already, where `unfold_calibration` had divided it."""
    name, loss = folded_into(model), saved_loss(model)
    if name is not None and loss is not None:
        layer = LastLayer.named(model, name)
        layer.put(*layer.folded(loss))


def folded_into(model: nn.Module) -> str | None:
    """The layer that holds the model's calibration, as its config says; None where it says nothing of the kind."""
    entry = saved_entry(model)
    calibration = entry.get("calibration") if isinstance(entry, Mapping) else None
    return calibration.get("folded_into") if isinstance(calibration, Mapping) else None


def unfoldable(head: Head) -> Reason | None:
    """Why no calibration is folded into such a head; None where one may be."""
    if head.blank is not None or head.language_model:
        return "a decoder reads its scores, through load_loss"
    return "its score is a value" if head.num_classes == 1 and not head.multi_label else None


def folded_loss(loss: Loss, name: str) -> Loss:
    """The loss as a config names it whose weights hold its calibration."""
    assert loss.calibration is not None
    return replace(loss, calibration=replace(loss.calibration, folded_into=name))


def shifts(loss: Loss) -> bool:
    """Whether folding adds to the scores, beside multiplying them."""
    return bool(_line(loss)[1].any())


def _line(loss: Loss) -> tuple[float, Tensor]:
    """T, and what is added to T f: -log w, or the shift; in float64."""
    assert loss.calibration is not None
    if loss.multi_label:
        return loss.calibration.T, torch.tensor(loss.calibration.shift, dtype=torch.float64)
    if loss.class_weights is None or not loss.calibration.weights_undone:
        return loss.calibration.T, torch.zeros((), dtype=torch.float64)
    return loss.calibration.T, -torch.tensor(loss.class_weights, dtype=torch.float64).log()


def _is_plain(model: nn.Module, layer: nn.Linear) -> bool:
    """Whether the layer's weights are numbers that are here, and belong to it alone."""
    names = [name for name, p in model.named_parameters(remove_duplicate=False) if p is layer.weight]
    return len(names) == 1 and layer.weight.is_floating_point() and bool(layer.weight.numel())


@contextmanager
def _scaled(layer: nn.Linear, T: float, *, shift: float) -> Iterator[None]:
    """Within, the layer's outputs are T times what they were, and more by `shift`."""
    weight, bias = layer.weight.detach().clone(), None if layer.bias is None else layer.bias.detach().clone()
    LastLayer("", layer).put(weight * T, None if bias is None else bias * T + shift)
    try:
        yield
    finally:
        LastLayer("", layer).put(weight, bias)
