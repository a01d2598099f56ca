"""A language model's output layer that gives the loss instead of the (N, C) scores, for training."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_squareloss.heads import Head, base_model
from hf_squareloss.losses import Loss


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
        NotLinear: the model has no output layer that is a plain `nn.Linear`, or one that others have changed.
    """

    def __init__(self, model: nn.Module, head: Head, loss: Loss) -> None:
        base = base_model(model)
        assert isinstance(base, PreTrainedModel) and head.language_model
        layer = base.get_output_embeddings()
        if type(layer) is not nn.Linear:
            kind = "missing" if layer is None else f"a {type(layer).__module__}.{type(layer).__name__}"
            raise NotLinear(f"its output layer is {kind}")
        weight = layer.weight
        if type(weight.data) is not Tensor or not weight.is_floating_point() or len(weight) != head.num_classes:
            raise NotLinear(
                "the weight of its output layer is sharded, quantised or of another size than its vocabulary"
            )
        if "forward" in layer.__dict__ or layer._forward_hooks or layer._forward_pre_hooks or base._forward_hooks:
            raise NotLinear("it or its output layer has hooks")
        if head.keeps_labels and base.config.model_type == "encoder-decoder":  # EncoderDecoderModel (5.24)
            raise NotLinear("it masks its decoder by the labels")
        peft: Any = None if model is base else model
        if peft is not None and peft.active_peft_config.is_prompt_learning:
            raise NotLinear("prompt tuning puts tokens before those of the labels")
        self.model, self.base, self.head, self.loss, self.layer = model, base, head, loss, layer
        self.values: Tensor | None = None
        self.items: Tensor | None = None
        self._labels: Tensor | None = None
        self._token: Tensor | None = None

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
        base: Any = self.base
        if hasattr(base, "prepare_decoder_input_ids_from_labels"):
            return base.prepare_decoder_input_ids_from_labels(labels=labels)
        # Whisper, Speech2Text, Moonshine (5.24): the function that their forward applies to labels.
        shift: Any = vars(sys.modules[type(base).__module__]).get("shift_tokens_right")
        if shift is None:
            raise NotLinear("it makes its decoder inputs from labels inside its forward")
        return shift(labels, base.config.pad_token_id, base.config.decoder_start_token_id)

    @contextmanager
    def computing(self, labels: Tensor) -> Iterator[None]:
        """Within, a forward of the model computes the loss at its output layer; the layer is as before afterwards."""
        self._labels = labels
        self.layer.forward = self._forward
        try:
            yield
        finally:
            del self.layer.forward
            self.values = self.items = self._labels = self._token = None

    def _forward(self, input: Tensor) -> Tensor:
        hidden = input
        items = hidden[..., :-1, :] if self.head.shifts else hidden
        labels = None if self._labels is None else self.head.aligned(self._labels)
        if labels is None or self._token is not None or items.shape[:-1] != labels.shape:
            self.values = self.items = self._token = self._labels = (
                None  # other items than the labels', or a second call
            )
            return F.linear(hidden, self.layer.weight, self.layer.bias)
        self.items = items.detach()
        self.values = self.loss.of_linear(items, self.layer.weight, self.layer.bias, labels)
        self._token = F.linear(hidden[:1, :1], self.layer.weight, self.layer.bias)
        if not self.model.training:  # a check: zeros, as of a layer that starts with them, would pass any soft-capping
            self._token = torch.linspace(1.0, 30.0, self._token.numel(), device=hidden.device).view_as(self._token)
        return self._token

    def check(self, inputs: Mapping[str, Any]) -> None:
        """See whether the model hands on the scores of its output layer as they are, by a forward without gradients.

        Raises:
            NotLinear: it changes them (soft-capped, scaled or shifted), or the layer is not what it uses.
        """
        self.model.eval()  # draws no random numbers; the Trainer (5.24) calls train() before every step
        try:
            with torch.no_grad(), self.computing(inputs["labels"]):
                scores = self.model(**self.inputs(inputs))["logits"]
                token = self._token
        finally:
            self.model.train()
        if token is None:
            raise NotLinear("its forward does not call its output layer once, for the items of the labels")
        if scores.shape != token.shape or not torch.equal(scores.float(), token.float()):
            raise NotLinear("it changes the scores of its output layer, as by soft-capping or scaling")
