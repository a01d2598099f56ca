"""The loss in config.json: written by trainers and `attach_loss`, read back by `load_loss`."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel

from hf_squareloss.losses import Loss, loss_from_dict

KEY = "hf_squareloss"


def base_model(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT wrapper, or `model` itself."""
    # Who made a PeftModel has imported it; asking transformers reads files each time.
    peft: Any = sys.modules.get("peft")
    return peft.PeftModel.get_base_model(model) if peft and isinstance(model, peft.PeftModel) else model


def write_loss(config: PreTrainedConfig, loss: Loss, *, num_classes: int | None) -> None:
    """Write `loss` into a model's config, with what keeps plain pipelines from a softmax of raw scores.

    `problem_type = "regression"` is the one switch that makes transformers' text, image, audio and video pipelines
    (and vLLM) return raw scores: config.function_to_apply is dead code in transformers 5.24.

    Args:
        num_classes: of a head that classifies examples or tokens; None leaves `problem_type` as it is.
    """
    setattr(config, KEY, loss.to_dict() | {"version": version("hf_squareloss")})
    if num_classes is None:
        return
    if num_classes > 1 and loss.scores_are_logits:
        config.problem_type = "multi_label_classification" if loss.multi_label else "single_label_classification"
    else:
        config.problem_type = "regression"


def load_loss(model: PreTrainedModel | PreTrainedConfig | str | Path) -> Loss:
    """The loss a model was trained with, from its config.

    Args:
        model: a model or config loaded with from_pretrained, or its name on the Hub, or its folder.

    Raises:
        ValueError: the config names no loss, or one that is not known here; if it is defined outside this package, the
            error names the module to import, and nothing is imported because a config says so.

    Example:
        >>> model = AutoModelForSequenceClassification.from_pretrained("user/name")  # doctest: +SKIP
        >>> load_loss(model).probabilities(model(**inputs).logits)  # doctest: +SKIP
    """
    if isinstance(model, str | Path):
        model = AutoConfig.from_pretrained(model)
    plain = base_model(model) if isinstance(model, nn.Module) else model
    if not isinstance(plain, PreTrainedModel | PreTrainedConfig):
        raise ValueError(f"load_loss takes a transformers model, its config or its name, got {type(model).__name__}")
    loss = saved_loss(plain)
    if loss is None:
        raise ValueError(f"this model's config has no {KEY!r} entry: it was not trained and saved with hf_squareloss")
    return loss


def saved_loss(model: nn.Module | PreTrainedConfig) -> Loss | None:
    """The loss in a model's config, or None where it names none.

    Raises:
        ValueError: it names one that is not known here (the error names the module to import), or its entry is broken.
    """
    model = base_model(model) if isinstance(model, nn.Module) else model
    if not isinstance(model, PreTrainedModel | PreTrainedConfig):
        return None
    config = model.config if isinstance(model, PreTrainedModel) else model
    saved = vars(config).get(KEY)  # to_dict would copy everything
    if saved is None or saved == {}:
        return None
    return loss_from_dict(saved)
