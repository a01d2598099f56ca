"""torch's own initial values for models of ours."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import PreTrainedModel


class TorchInitialized(PreTrainedModel):
    """Layers begin as torch makes them; so does what a checkpoint does not hold, such as a head of other classes."""

    def _init_weights(self, module: nn.Module) -> None:
        # from_pretrained makes the layers without values (transformers 5.24); elsewhere they have drawn theirs already.
        if self.made_without_values and "reset_parameters" in dir(module):
            layer: Any = module
            layer.reset_parameters()

    def post_init(self) -> None:
        self.made_without_values = next(self.parameters()).is_meta
        super().post_init()
