"""A language model's output layer that gives the loss instead of the (N, C) scores, for training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_squareloss.config import base_model
from hf_squareloss.heads._families import decoder_inputs, masks_decoder_by_labels
from hf_squareloss.heads._head import Head
from hf_squareloss.losses import Form, Loss, in_float16_on_accelerator


class NotLinear(Exception):
    """Why a model's scores are not those of a linear layer within our reach."""


class LinearHead:
    """The output layer of a language model.

    Within `computing`, the layer's forward computes `values`, the loss of every item, by `Loss.of_linear` from the
    hidden states `items`, and returns the scores of one token instead of all: the model goes on with those.

    Args:
        model: a language model, maybe in a PEFT wrapper.
        head: its head.
        loss: the loss, fitted to it.

    Raises:
        NotLinear: the model has no output layer that is a plain `nn.Linear`, with PEFT's low-rank adapters or without,
            or one that others have changed.
    """

    form: ClassVar[Form] = "auto"

    def __init__(self, model: nn.Module, head: Head, loss: Loss) -> None:
        base = base_model(model)
        assert isinstance(base, PreTrainedModel) and head.language_model
        self.model, self.base, self.head, self.loss = model, base, head, loss
        self.layer, self._linear = self._find_layer()
        self._trained = self._trained_now()
        self.values: Tensor | None = None
        self.items: Tensor | None = None
        self._labels: Tensor | None = None
        self._calls = 0
        self._returned: Tensor | None = None

    def _trained_now(self) -> list[bool]:
        return [parameter.requires_grad for parameter in self.model.parameters()]

    def _find_layer(self) -> tuple[Any, nn.Linear]:
        """The output layer and the linear one in it.

        Raises:
            NotLinear: as of the class.
        """
        layer: Any = self.base.get_output_embeddings()
        linear = layer.base_layer if _has_plain_adapters(layer) else layer
        if type(linear) is not nn.Linear:
            kind = "missing" if layer is None else f"a {type(layer).__module__}.{type(layer).__name__}"
            raise NotLinear(f"its output layer is {kind}")
        weight = linear.weight
        if type(weight.data) is not Tensor or not weight.is_floating_point() or len(weight) != self.head.num_classes:
            raise NotLinear(
                "the weight of its output layer is sharded, quantised or of another size than its vocabulary"
            )
        hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
        if "forward" in layer.__dict__ or any((*hooks, self.base._forward_hooks, self.model._forward_hooks)):
            raise NotLinear("it or its output layer has hooks")
        if self.head.keeps_labels and masks_decoder_by_labels(self.base.config):
            raise NotLinear("it masks its decoder by the labels")
        peft: Any = None if self.model is self.base else self.model
        if peft is not None and peft.active_peft_config.is_prompt_learning:
            raise NotLinear("prompt and prefix tuning change which tokens there are")
        return layer, linear

    def is_current(self) -> bool:
        """Whether the layer still is the one that was found, nothing was put on it, and the same is trained."""
        try:
            return self._find_layer() == (self.layer, self._linear) and self._trained_now() == self._trained
        except NotLinear:
            return False

    def inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """The model's inputs without labels, from which encoder-decoders make their decoder inputs.

        Raises:
            NotLinear: this family has no function for that.
        """
        given = {name: value for name, value in inputs.items() if name != "labels"}
        if self.head.keeps_labels and not {"decoder_input_ids", "decoder_inputs_embeds"} & given.keys():
            given["decoder_input_ids"] = self._shifted_right(inputs["labels"])
        return given

    def _shifted_right(self, labels: Tensor) -> Tensor:
        made = decoder_inputs(self.base, labels)
        if made is None:
            raise NotLinear("it makes its decoder inputs from labels inside its forward")
        return made

    @property
    def is_computing(self) -> bool:
        """Whether this is within `computing`."""
        return self._labels is not None

    @contextmanager
    def computing(self, labels: Tensor) -> Iterator[None]:
        """Within, a forward of the model computes the loss at its output layer; the layer is as before afterwards."""
        self._labels = self.head.aligned(labels)
        try:
            with self._layer_doing(self._compute_values):
                yield
        finally:
            self._forget()

    def _compute_values(self, input: Tensor) -> Tensor:
        """In place of the layer's forward: its input is (B, T, d)."""
        self._calls += 1
        hidden, weight, bias = self._operands(input)
        items = self._items(hidden)
        if self._labels is None or items.shape[:-1] != self._labels.shape or self._calls > 1:
            return self._scores(input)
        self.items = items.detach()
        self.values = self.loss.of_linear(items, weight, bias, self._labels, form=self.form)
        scores = F.linear(hidden[:1, :1], weight, bias)
        scores = scores if hidden.dtype == input.dtype else scores.to(input.dtype)
        self._returned = scores.detach().clone()  # the model might change its own in place
        return scores

    def fault(self, outputs: Any) -> str | None:
        """Why the values of a forward within `computing` mean nothing, if it did not go as the one of `check`."""
        if self._calls != 1 or self._returned is None:
            return "its forward does not always call its output layer once, for the items of the labels"
        scores, returned = outputs["logits"].detach().float(), self._returned.float()
        if scores.shape != returned.shape or not torch.allclose(scores, returned, rtol=0.0, atol=0.0, equal_nan=True):
            return "it does not always hand on the scores of its output layer as they are"
        return None

    def _forget(self) -> None:
        self.values = self.items = self._labels = self._returned = None
        self._calls = 0

    def check(self, inputs: Mapping[str, Any]) -> None:
        """See whether the model hands on the scores of its output layer as they are, by a forward of its own.

        Raises:
            NotLinear: it changes them (soft-capped, scaled or shifted), would do so once trained, or the layer is not
                what it uses.
        """
        labels, calls = self.head.aligned(inputs["labels"]), list[bool]()  # whether each is one for these labels
        # Of both signs and not small: zeros, as of a layer that starts with them, would pass any change.
        token = torch.linspace(-30.0, 30.0, len(self._linear.weight), device=labels.device).view(1, 1, -1)

        def give_token(input: Tensor) -> Tensor:
            if in_float16_on_accelerator(input):
                raise NotLinear("in float16 on an accelerator they are the faster way; bfloat16 does without")
            calls.append(self._items(input).shape[:-1] == labels.shape)
            torch.set_grad_enabled(True)  # from here on: what is trained after the layer shows in the scores' graph
            return token.clone() if calls == [True] else self._scores(input)

        self.model.eval()  # draws no random numbers; the Trainer (5.24) calls train() before every step
        try:
            with torch.no_grad(), self._layer_doing(give_token):
                outputs = self.model(**self.inputs(inputs))
        except NotLinear:
            raise
        except Exception as error:  # what is wrong with the batch itself, the plain path says
            raise NotLinear(f"its forward fails when it gets the scores of one token alone ({error})") from error
        finally:
            self.model.train()
        if calls != [True]:
            raise NotLinear("its forward does not call its output layer once, for the items of the labels")
        scores = outputs.get("logits") if isinstance(outputs, Mapping) else None
        if scores is None or scores.shape != token.shape or not torch.equal(scores.float(), token):
            raise NotLinear("it changes the scores of its output layer, as by soft-capping, scaling or a bias")
        if scores.requires_grad:
            raise NotLinear("parameters that are trained come after its output layer")

    @contextmanager
    def _layer_doing(self, forward: Callable[..., Tensor]) -> Iterator[None]:
        self.layer.forward = forward
        try:
            yield
        finally:
            del self.layer.forward

    def _items(self, hidden: Tensor) -> Tensor:
        """The hidden states that have a label."""
        return hidden[..., :-1, :] if self.head.shifts else hidden

    def _scores(self, input: Tensor) -> Tensor:
        hidden, weight, bias = self._operands(input)
        scores = F.linear(hidden, weight, bias)
        return scores if hidden.dtype == input.dtype else scores.to(input.dtype)

    def _operands(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The hidden states, W, or W + s B A where low-rank adapters stand beside it, and the bias.

        Adapters may have a wider type than the model; W + s B A, and what goes with it, then has it too.
        """
        layer: Any = self.layer
        adapters = [] if layer is self._linear else [name for name in layer.active_adapters if name in layer.lora_A]
        weight = sum((layer.get_delta_weight(name) for name in adapters), self._linear.weight)
        bias = self._linear.bias
        if weight.dtype == self._linear.weight.dtype:
            return hidden, weight, bias
        return hidden.to(weight.dtype), weight, None if bias is None else bias.to(weight.dtype)


def _has_plain_adapters(layer: Any) -> bool:
    """Whether a layer is PEFT's linear one and its output is that of W + s B A, in training too."""
    peft: Any = sys.modules.get("peft")
    if peft is None or type(layer) is not peft.tuners.lora.Linear or layer.merged or layer.disable_adapters:
        return False
    return all(
        type(layer.lora_dropout[name]) is nn.Identity and name not in layer.lora_variant and not layer.lora_bias[name]
        for name in layer.lora_A
    )
