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

    Within `computing`, the layer's forward computes `values`, the loss of every item, by `Loss.of_linear`, and returns
    the scores of one token instead of all: the model goes on with those.

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
        if "forward" in layer.__dict__ or layer._forward_hooks or layer._forward_pre_hooks:
            raise NotLinear("its output layer has hooks")
        self.model, self.base, self.head, self.loss, self.layer = model, base, head, loss, layer
        self.values: Tensor | None = None
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
            self.values = self._labels = self._token = None

    def _forward(self, input: Tensor) -> Tensor:
        hidden = input
        items = hidden[..., :-1, :] if self.head.shifts else hidden
        labels = None if self._labels is None else self.head.aligned(self._labels)
        if labels is None or self._token is not None or items.shape[:-1] != labels.shape:
            self.values = self._token = self._labels = None  # other items than the labels', or a second call
            return F.linear(hidden, self.layer.weight, self.layer.bias)
        self.values = self.loss.of_linear(items, self.layer.weight, self.layer.bias, labels)
        self._token = F.linear(hidden[:1, :1], self.layer.weight, self.layer.bias)
        return self._token

    def check(self, inputs: Mapping[str, Any]) -> None:
        """Compare a token's scores after the model's forward with those that its output layer gave.

        Raises:
            NotLinear: they differ (soft-capped, scaled or shifted), or the layer is not what the model uses.
        """
        devices = [self.layer.weight.device] if self.layer.weight.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices), self.computing(inputs["labels"]):
            scores = self.model(**self.inputs(inputs))["logits"]
            token = self._token
            if token is None:
                raise NotLinear("its forward does not call its output layer once, for the items of the labels")
            if scores.shape != token.shape or not torch.equal(scores.float(), token.float()):
                raise NotLinear("it changes the scores of its output layer, as by soft-capping or scaling")
