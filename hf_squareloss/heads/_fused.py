"""A language model's head without scores: its output layer gives the loss instead, in training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_squareloss.config import base_model
from hf_squareloss.heads._families import decoder_inputs, masks_decoder_by_labels
from hf_squareloss.heads._head import Head
from hf_squareloss.heads._peft import has_plain_adapters, is_prompt_learning, operands
from hf_squareloss.losses import Form, Loss, in_float16_on_accelerator

Reason = str  # why a model cannot do without scores, as the end of a sentence


@dataclass(frozen=True)
class FusedHead:
    """The output layer of a language model, which can give the loss instead of the (N, C) scores.

    In `total` the layer's forward computes the loss of every item by `Loss.of_linear` from the hidden states, and
    returns the scores of one token instead of all: the model goes on with those.

    Attributes:
        model: the language model, maybe in a PEFT wrapper.
        head: its head.
        loss: the loss, fitted to it.
        layer: the output layer.
        linear: the `nn.Linear` in it, which is the layer itself but for PEFT's.
        trained: of every parameter of the model, whether it is trained.
    """

    model: nn.Module
    head: Head
    loss: Loss
    layer: Any
    linear: nn.Linear
    trained: tuple[bool, ...]

    form: ClassVar[Form] = "auto"  # how `Loss.of_linear` computes: tests of tiny models set it

    @classmethod
    def of(cls, model: nn.Module, head: Head, loss: Loss) -> FusedHead | Reason:
        """The head of a model whose output layer is a plain `nn.Linear`, with PEFT's low-rank adapters or without."""
        base = base_model(model)
        if not isinstance(base, PreTrainedModel) or not head.language_model:
            return "it is no language model"
        layer: Any = base.get_output_embeddings()
        linear = layer.base_layer if has_plain_adapters(layer) else layer
        if type(linear) is not nn.Linear:
            kind = "missing" if layer is None else f"a {type(layer).__module__}.{type(layer).__name__}"
            return f"its output layer is {kind}"
        weight = linear.weight
        if type(weight.data) is not Tensor or not weight.is_floating_point() or len(weight) != head.num_classes:
            return "the weight of its output layer is sharded, quantised or of another size than its vocabulary"
        hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks, layer._backward_pre_hooks)
        if "forward" in layer.__dict__ or any((*hooks, base._forward_hooks, model._forward_hooks)):
            return "it or its output layer has hooks"
        if head.keeps_labels and masks_decoder_by_labels(base.config):
            return "it masks its decoder by the labels"
        if is_prompt_learning(model):
            return "prompt and prefix tuning change which tokens there are"
        return cls(model, head, loss, layer, linear, tuple(p.requires_grad for p in model.parameters()))

    def is_current(self) -> bool:
        """Whether the layer still is the one that was found, nothing was put on it, and the same is trained."""
        return FusedHead.of(self.model, self.head, self.loss) == self

    def inputs(self, inputs: Mapping[str, Any], labels: Tensor) -> dict[str, Any] | Reason:
        """The model's inputs without labels, from which encoder-decoders make their decoder inputs."""
        given = dict(inputs)
        if self.head.keeps_labels and not {"decoder_input_ids", "decoder_inputs_embeds"} & given.keys():
            base: Any = base_model(self.model)
            given["decoder_input_ids"] = decoder_inputs(base, labels)
            if given["decoder_input_ids"] is None:
                return "it makes its decoder inputs from labels inside its forward"
        return given

    def total(self, forward: Callable[..., Any], inputs: Mapping[str, Any], labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sum of the loss over the labels, and whether it must not be trusted: a boolean on the device.

        Args:
            forward: the model, as whoever trains it calls it.
            inputs: its inputs without labels.
            labels: as the data has them.
        """
        given = self.inputs(inputs, labels)
        assert not isinstance(given, str)  # `check` has seen that it can be done
        call = _Call(self, self.head.aligned(labels))
        with self._layer_doing(call.compute):
            outputs = forward(**given)
        if call.values is None:
            return 0.0 * outputs["logits"].sum(), labels.new_ones((), dtype=torch.bool)
        return call.values.sum(), call.changed(outputs["logits"])

    def check(self, inputs: Mapping[str, Any], labels: Tensor) -> Reason | None:
        """Whether the model hands on the scores of its output layer as they are, by a forward of its own; or why not.

        It may not change them (soft-capped, scaled or shifted), nor be about to once it is trained.
        """
        given = self.inputs(inputs, labels)
        if isinstance(given, str):
            return given
        wanted, calls = self.head.aligned(labels).shape, list[bool]()  # whether each call is one for these labels
        reasons: list[Reason] = []
        # Of both signs and not small: zeros, as of a layer that starts with them, would pass any change.
        token = torch.linspace(-30.0, 30.0, len(self.linear.weight), device=labels.device).view(1, 1, -1)

        def give_token(input: Tensor) -> Tensor:
            if in_float16_on_accelerator(input):
                reasons.append("in float16 on an accelerator they are the faster way; bfloat16 does without")
            calls.append(self.items(input).shape[:-1] == wanted)
            torch.set_grad_enabled(True)  # from here on: what is trained after the layer shows in the scores' graph
            return token.clone() if calls == [True] else self.scores(input)

        self.model.eval()  # draws no random numbers; the Trainer (transformers 5.24) calls train() before every step
        try:
            with torch.no_grad(), self._layer_doing(give_token):
                outputs = self.model(**given)
        except Exception as error:  # what is wrong with the batch itself, the plain path says
            return reasons[0] if reasons else f"its forward fails when it gets the scores of one token alone ({error})"
        finally:
            self.model.train()
        scores = outputs.get("logits") if isinstance(outputs, Mapping) else None
        if calls != [True]:
            reasons.append("its forward does not call its output layer once, for the items of the labels")
        elif scores is None or scores.shape != token.shape or not torch.equal(scores.float(), token):
            reasons.append("it changes the scores of its output layer, as by soft-capping, scaling or a bias")
        elif scores.requires_grad:
            reasons.append("parameters that are trained come after its output layer")
        return reasons[0] if reasons else None

    def items(self, hidden: Tensor) -> Tensor:
        """The hidden states that have a label."""
        return hidden[..., :-1, :] if self.head.shifts else hidden

    def scores(self, input: Tensor) -> Tensor:
        """What the layer's own forward gives."""
        hidden, weight, bias = operands(self.layer, self.linear, input)
        return F.linear(hidden, weight, bias).to(input.dtype)

    @contextmanager
    def _layer_doing(self, forward: Callable[..., Tensor]) -> Iterator[None]:
        self.layer.forward = forward
        try:
            yield
        finally:
            del self.layer.forward


class _Call:
    """One forward of the model in which its output layer gives the loss of `labels`."""

    def __init__(self, fused: FusedHead, labels: Tensor) -> None:
        self._fused, self._labels, self._count = fused, labels, 0
        self.values: Tensor | None = None
        self._returned: Tensor | None = None

    def compute(self, input: Tensor) -> Tensor:
        """In place of the layer's forward: its input is (B, T, d)."""
        self._count += 1
        fused = self._fused
        hidden, weight, bias = operands(fused.layer, fused.linear, input)
        items = fused.items(hidden)
        if items.shape[:-1] != self._labels.shape or self._count > 1:
            return fused.scores(input)
        self.values = fused.loss.of_linear(items, weight, bias, self._labels, form=fused.form)
        scores = F.linear(hidden[:1, :1], weight, bias).to(input.dtype)
        self._returned = scores.detach().clone()  # the model might change its own in place
        return scores

    def changed(self, scores: Tensor) -> Tensor:
        """Whether the model did not hand on what it was given, from one call: a boolean on the device."""
        scores, returned = scores.detach().float(), self._returned
        if returned is None or self._count != 1 or scores.shape != returned.shape:
            return torch.ones((), dtype=torch.bool, device=scores.device)
        returned = returned.float()
        return ~((scores == returned) | (scores.isnan() & returned.isnan())).all()
