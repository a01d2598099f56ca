"""A loss on a bare model, for code without our Trainer: Accelerate loops, hand-written loops, the stock Trainer."""

from __future__ import annotations

import functools
import inspect
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import find_labels

from hf_squareloss.config import KEY, base_model
from hf_squareloss.heads import Head, is_ctc
from hf_squareloss.inference import fold_again, folded_into, unfold_calibration
from hf_squareloss.losses import Loss, make_loss, scale

Model = TypeVar("Model", bound=PreTrainedModel)


def attach_loss(model: Model, loss: Loss | str = "square") -> Model:
    """Make `model(..., labels=labels).loss` the mean of `loss` over the batch; `detach_loss` undoes it.

    The loss is a plain mean over the micro-batch, sum_i w_i loss(f_i, y_i) / sum_i w_i, as an Accelerate loop expects
    (which divides by its accumulation steps); with a `num_items_in_batch` argument, as the stock Trainer gives it, it
    is the sum over that number of label entries.
    The loss is written to the config, so `save_pretrained` keeps it; a calibration in the weights (`fold_calibration`)
    is undone before, since the loss is one of raw scores. The class keeps its name; deepcopy, pickle,
    torch.save, torch.compile and save_pretrained keep working.

    It takes effect or is refused: attach it to the plain model, before torch.compile, `Accelerator.prepare` or
    `accelerate.dispatch_model` (which `device_map` calls) give that another forward. The stock Trainer's
    label_smoothing_factor and compute_loss_func take the labels away: the forward then raises.

    Args:
        model: any transformers model with a classification or language-model head. Changed in place.
        loss: a name or a `Loss`.

    Returns:
        The same model.

    Raises:
        ValueError: a loss is attached already, it could not take effect, or this loss cannot do the model's task.
    """
    _require_plain(model)
    if _is_attached(model):
        raise ValueError("this model has a loss attached already: call detach_loss first")
    names = find_labels(type(model))
    if names and "labels" not in names:
        raise ValueError(
            f"{type(model).__name__} takes {', '.join(names)} and no `labels`: the loss needs one label for each score"
        )
    head = Head.of(model)
    fitted = head.fit(make_loss(loss) if isinstance(loss, str) else replace(loss, calibration=None))
    layer = unfold_calibration(model)
    before = (model.config.problem_type, model.config.to_dict().get(KEY), layer and layer.name)
    head.write(fitted, model)
    model.__dict__["_attached"] = (fitted, head, before)
    model.__class__ = _attached_class(type(model))  # type: ignore[assignment]
    return model


def detach_loss(model: Model) -> Model:
    """Undo `attach_loss`: the model's own class, loss and config come back, and with them a folded calibration.

    Raises:
        ValueError: no loss is attached.
    """
    if not _is_attached(model):
        raise ValueError("this model has no loss attached")
    unfold_calibration(model)  # the attached loss's own; one that was there before comes back below
    _, _, (problem_type, saved, folded) = model.__dict__.pop("_attached")
    model.__class__ = type(model).__bases__[0]
    model.config.problem_type = problem_type
    if saved is None:
        delattr(model.config, KEY)
    else:
        setattr(model.config, KEY, saved)
    if folded is not None:
        fold_again(model, folded)
    return model


def _require_plain(model: PreTrainedModel) -> None:
    """ValueError for a model whose calls do not go through its class's forward."""
    if not isinstance(model, PreTrainedModel):
        kind = f"{type(model).__module__}.{type(model).__name__}"
        raise ValueError(
            f"attach_loss takes a plain transformers model, got a {kind}: attach the loss before torch.compile, PEFT, "
            "Accelerator.prepare or DistributedDataParallel wrap the model"
        )
    if "forward" in model.__dict__:
        raise ValueError(
            f"this {type(model).__name__} has a forward of its own beside its class's, as Accelerator.prepare and the "
            "hooks of device_map put there, which would be called instead of the loss's: attach the loss before, or "
            "take the hooks off with accelerate.hooks.remove_hook_from_submodules(model) and dispatch it again after"
        )


def refuse_attached(model: torch.nn.Module, head: Head) -> None:
    """ValueError for a CTC model with a loss attached, whose forward would compute that one instead of a trainer's."""
    plain = base_model(model)
    if head.blank is not None and isinstance(plain, PreTrainedModel) and _is_attached(plain):
        raise ValueError("the model has a loss attached, which would be trained instead: detach_loss(model) first")


def _is_attached(model: PreTrainedModel) -> bool:
    return "_attached" in model.__dict__


@functools.cache
def _attached_class(base: type[PreTrainedModel]) -> type[PreTrainedModel]:
    """A subclass of `base` with its name: the name reaches config.json, and another would break reloading."""
    names = list(inspect.signature(base.forward).parameters)
    place_of_labels = names.index("labels") - names.index("self") if "labels" in names else len(names)
    others = set(find_labels(base)) - {"labels"}

    @functools.wraps(base.forward)  # Trainers and pipelines read the signature
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) >= place_of_labels:
            raise ValueError("give `labels` by name: the attached loss would not see them")
        loss, head, _ = self.__dict__["_attached"]
        labels = kwargs.get("labels") if head.keeps_labels else kwargs.pop("labels", None)
        num_items = kwargs.pop("num_items_in_batch", None)
        if labels is None:
            if num_items is not None:  # whoever counts items has labels, and keeps them
                raise ValueError(
                    "num_items_in_batch came without labels: the Trainer's label_smoothing_factor or compute_loss_func "
                    "would replace the attached loss. Leave them out; label_smoothing is a parameter of the loss"
                )
            return base.forward(self, *args, **kwargs)
        if folded_into(self) is not None:
            raise ValueError(
                "the attached loss is of raw scores, and fold_calibration has put its calibration into the weights: "
                "call unfold_calibration(model) first, and fold again where that is done"
            )
        if ignored := sorted(name for name in others if kwargs.get(name) is not None):
            raise ValueError(f"{', '.join(ignored)} would be ignored: the attached loss is of `labels` alone")
        return_dict = kwargs.pop("return_dict", None)
        with head.computing(loss, self):
            outputs = base.forward(self, *args, **kwargs, return_dict=True)
        total = head.total(loss, outputs, labels)
        if head.blank is not None and not torch.compiler.is_compiling() and head.unaligned(outputs).any():
            head.warn_unaligned()
        if num_items is None:
            num_items = head.num_items(loss, labels, dtype=total.dtype)
        else:  # the stock Trainer counts label entries: C for each item with soft or multi-label targets
            scores, aligned = head.scores_and_labels(outputs, labels)
            items = len(labels) if head.blank is not None else scores[..., 0].numel()
            num_items = num_items * items / aligned.numel()
        outputs = _with_loss(outputs, scale(total, num_items))
        use_dict = self.config.return_dict if return_dict is None else return_dict
        return outputs if use_dict else outputs.to_tuple()

    def reduce_ex(self: Any, protocol: Any) -> tuple[Any, ...]:
        # The class cannot be found by name when unpickling: build it again from its base.
        _, _, state, *_ = object.__reduce_ex__(self, 2)
        return _new_attached, (base,), state

    body = {
        "forward": forward,
        "__reduce_ex__": reduce_ex,
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "accepts_loss_kwargs": not is_ctc(base),  # the stock Trainer would count label tokens, not utterances
    }
    return type(base.__name__, (base,), body)


def _with_loss(outputs: Any, loss: Tensor) -> Any:
    """The outputs with `loss` first, for which some classes of outputs have no field (DeiT's with a teacher, 5.24)."""
    if "loss" in {field.name for field in fields(outputs)}:
        return type(outputs)(**{**outputs, "loss": loss})
    outputs["loss"] = loss
    outputs.move_to_end("loss", last=False)
    return outputs


def _new_attached(base: type[PreTrainedModel]) -> PreTrainedModel:
    attached = _attached_class(base)
    return attached.__new__(attached)
