"""The calibration in the weights: a model whose scores need no loss to be read."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from hf_squareloss.config import base_model, forget_calibration, has_adapter, saved_entry, saved_loss
from hf_squareloss.heads import Head
from hf_squareloss.losses import Loss

logger = logging.get_logger(__name__)

Reason = str
_ALIKE = 0.01  # relative difference of norms that rounding to 16 bits stays far below
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
        before = scores().float()
        largest = before.abs().max().item()
        names = {module: name for name, module in base_model(model).named_modules()}
        linear = [module for module in names if type(module) is nn.Linear]
        for layer in reversed(linear):
            if layer.out_features not in (before.shape[-1], 1) or not _is_plain(model, layer):  # 1: multiple choice
                continue
            with _scaled(layer, 2.0):  # exact in every precision
                after = scores().float()
            if not torch.allclose(after, 2.0 * before, rtol=1e-3, atol=1e-3 * largest):
                continue
            if has_adapter(model) and not _INSIDE_PEFT.search(names[layer]):
                return f"its adapter does not save {names[layer]}: modules_to_save=[{names[layer]!r}] makes it do so"
            reason = _unshiftable(layer, before, scores) if shifted else None
            if reason is not None:
                return f"{names[layer]} {reason}"
            return cls(_INSIDE_PEFT.sub("", names[layer]), layer)
        return "no linear layer alone makes its scores"

    @classmethod
    def named(cls, model: nn.Module, name: str) -> LastLayer | None:
        """The layer that a config names; None where there is no linear layer of that name.

        Raises:
            ValueError: its weights are elsewhere, or it is the base model's and an adapter would not save it.
        """
        found: Any = base_model(model)
        for part in name.split("."):
            found = getattr(found, part, None)
        is_saved = hasattr(found, "modules_to_save")  # PEFT's wrapper of a layer that is trained as a whole
        if is_saved:
            found = found.modules_to_save[found.active_adapters[0]]
        if not isinstance(found, nn.Linear):
            return None
        if not found.weight.numel():
            raise ValueError(
                f"the model's calibration was folded into {name!r}, and the weights of that layer are not here"
            )
        if has_adapter(model) and not is_saved:
            raise ValueError(
                f"the base model's calibration was folded into {name!r}, and the adapter would be trained on that "
                f"layer's former weights without saving them: give its config modules_to_save=[{name!r}]"
            )
        return cls(name, found)

    def folded(self, loss: Loss) -> tuple[Tensor, Tensor | None]:
        """W and b with the loss's calibration in them."""
        T, add = _line(loss)
        weight, bias = _double(self.layer.weight) * T, self.layer.bias
        bias = None if bias is None else _double(bias) * T + add
        return weight.to(self.layer.weight), None if bias is None else bias.to(self.layer.bias)

    def folded_loss(self, loss: Loss) -> Loss:
        """The loss as a config names it whose weights hold its calibration."""
        assert loss.calibration is not None
        norm = float(f"{_double(self.folded(loss)[0]).norm():.4g}")
        return replace(loss, calibration=replace(loss.calibration, folded_into=self.name, folded_norm=norm))

    def holds(self, loss: Loss) -> bool:
        """Whether this is the layer that the loss's calibration was folded into, and no other of its name."""
        assert loss.calibration is not None
        weight, bias, norm = self.layer.weight, self.layer.bias, loss.calibration.folded_norm
        fits = _line(loss)[1].shape in ((), weight.shape[:1]) and (bias is not None or not shifts(loss))
        return fits and (norm is None or math.isclose(_double(weight).norm().item(), norm, rel_tol=_ALIKE))

    def unfolded(self, loss: Loss) -> tuple[Tensor, Tensor | None]:
        """W and b as they were before `folded`, up to rounding."""
        T, add = _line(loss)
        weight, bias = _double(self.layer.weight) / T, self.layer.bias
        bias = None if bias is None else (_double(bias) - add) / T
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
        torch.clear_autocast_cache()  # it holds what these were, in 16 bits


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
    try:
        with torch.no_grad():
            found = LastLayer.of(model, lambda: model(**inputs)[head.scores], shifted=shifts(loss))
    finally:
        model.train(was_training)
    if isinstance(found, str):
        raise ValueError(f"the calibration of {type(model).__name__} cannot be folded: {found}")
    as_saved = found.folded_loss(loss)
    found.put(*found.folded(loss))
    head.write(as_saved, model)


def unfold_calibration(model: nn.Module) -> LastLayer | None:
    """Undo `fold_calibration`, up to rounding of the weights; the calibration stays, in the config alone.

    A model that was loaded with another head, as one of other classes, has nothing to undo: the calibration is
    forgotten then.

    A head that was asked for another kind of label than it was trained with (`problem_type`) stays so.

    Returns:
        The layer; None where nothing is folded, and no weight is changed then.

    Raises:
        ValueError: the layer's weights are elsewhere (DeepSpeed's ZeRO stage 3), or an adapter would not save it.
    """
    name = folded_into(model)
    loss = None if name is None else saved_loss(model)
    if name is None or loss is None or loss.calibration is None:
        return None
    found = LastLayer.named(model, name)
    if found is None or not found.holds(loss):
        logger.warning_once(
            f"{type(base_model(model)).__name__} has another last layer than the one that its config's calibration was "
            f"folded into ({name}): that calibration is forgotten"
        )
        forget_calibration(model)
        return None
    found.put(*found.unfolded(loss))
    beside = replace(loss.calibration, folded_into=None, folded_norm=None)
    head, config = Head.of(model), cast(Any, base_model(model)).config
    asked = config.problem_type
    head.write(replace(loss, calibration=beside), model)
    if head.multi_label != loss.multi_label:
        config.problem_type = asked
    return found


def fold_again(model: nn.Module, name: str) -> None:
    """Undo `unfold_calibration`, with the weights that the layer of this name has by now.

    The calibration is forgotten where there is no such layer any more, or none that it fits.
    """
    loss, layer = saved_loss(model), LastLayer.named(model, name)
    if loss is None or loss.calibration is None:
        return
    if layer is None or not layer.holds(loss):  # by its shape: beside the weights a calibration knows no norm
        forget_calibration(model)
        return
    as_saved = layer.folded_loss(loss)
    layer.put(*layer.folded(loss))
    Head.of(model).write(as_saved, model)


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


def _double(parameter: Tensor) -> Tensor:
    """In float64, on the CPU: Apple's GPUs have none."""
    return parameter.detach().cpu().double()


def _is_plain(model: nn.Module, layer: nn.Linear) -> bool:
    """Whether the layer's weights are numbers that are here, and belong to it alone."""
    names = [name for name, p in model.named_parameters(remove_duplicate=False) if p is layer.weight]
    return len(names) == 1 and layer.weight.is_floating_point() and bool(layer.weight.numel())


def _unshiftable(layer: nn.Linear, before: Tensor, scores: Callable[[], Tensor]) -> Reason | None:
    """Why nothing can be added to each score by the layer's bias; None where it can."""
    if layer.out_features != before.shape[-1]:
        return "makes the score of every choice, to each of which another number is added"
    if layer.bias is None:
        return "has no bias, which undoing class weights or a shift needs"
    step = 4.0 * before.abs().max().item() or 1.0  # so large that scores in 16 bits show it
    with _scaled(layer, 1.0, shift=step):
        moved = scores().float() - before
    reaches = torch.allclose(moved, torch.full_like(moved, step), rtol=0.05)
    return None if reaches else "has a bias, but what is added to it is not added to the scores"


@contextmanager
def _scaled(layer: nn.Linear, T: float, *, shift: float = 0.0) -> Iterator[None]:
    """Within, the layer's outputs are T times what they were, and more by `shift`."""
    weight, bias = layer.weight.detach().clone(), None if layer.bias is None else layer.bias.detach().clone()
    LastLayer("", layer).put(weight * T, None if bias is None else bias * T + shift)
    try:
        yield
    finally:
        LastLayer("", layer).put(weight, bias)
