"""PEFT's adapters on an output layer. Who made a PeftModel has imported PEFT: nothing here does."""

from __future__ import annotations

import sys
from typing import Any

from torch import Tensor, nn


def _peft() -> Any:
    return sys.modules.get("peft")


def is_prompt_learning(model: nn.Module) -> bool:
    """Whether a PEFT wrapper adds tokens of its own to the model's."""
    peft = _peft()
    wrapper: Any = model
    return peft is not None and isinstance(model, peft.PeftModel) and wrapper.active_peft_config.is_prompt_learning


def has_plain_adapters(layer: Any) -> bool:
    """Whether a layer is PEFT's linear one and its output is that of W + s B A, in training too."""
    peft = _peft()
    if peft is None or type(layer) is not peft.tuners.lora.Linear or layer.merged or layer.disable_adapters:
        return False
    return all(
        type(layer.lora_dropout[name]) is nn.Identity and name not in layer.lora_variant and not layer.lora_bias[name]
        for name in layer.lora_A
    )


def operands(layer: Any, linear: nn.Linear, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """The hidden states, W, or W + s B A where low-rank adapters stand beside it, and the bias.

    Adapters may have a wider type than the model; W + s B A, and what goes with it, then has it too.

    Args:
        layer: the output layer.
        linear: the `nn.Linear` in it, or the layer itself.
        hidden: what goes into it.
    """
    adapters = [] if layer is linear else [name for name in layer.active_adapters if name in layer.lora_A]
    weight = sum((layer.get_delta_weight(name) for name in adapters), linear.weight)
    bias = linear.bias
    if weight.dtype == linear.weight.dtype:
        return hidden, weight, bias
    return hidden.to(weight.dtype), weight, None if bias is None else bias.to(weight.dtype)
