"""The loss in config.json, or in an adapter's: written by trainers and `attach_loss`, read back by `load_loss`."""

from __future__ import annotations

import copy
import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from hf_squareloss.losses import Loss, loss_from_dict

KEY = "hf_squareloss"
_ADAPTER_FILE = "adapter_config.json"
_HEAD = ("id2label", "label2id", "problem_type")  # what training writes into a model's config beside the loss


def base_model(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT wrapper, or `model` itself."""
    # Who made a PeftModel has imported it; asking transformers reads files each time.
    peft: Any = sys.modules.get("peft")
    return peft.PeftModel.get_base_model(model) if peft and isinstance(model, peft.PeftModel) else model


def write_loss(config: PreTrainedConfig, loss: Loss, *, num_classes: int | None) -> None:
    """Write `loss` into a model's config, with what keeps plain pipelines from a softmax of raw scores.

    Where scores are logits, or the loss's calibration has been folded into the weights, plain pipelines are right.
    `problem_type = "regression"` is the one switch that makes transformers' text, image, audio and video pipelines
    (and vLLM) return raw scores: config.function_to_apply is dead code in transformers 5.24.

    Args:
        num_classes: of a head that classifies examples or tokens; None leaves `problem_type` as it is.
    """
    setattr(config, KEY, loss.to_dict() | {"version": version("hf_squareloss")})
    if num_classes is None:
        return
    folded = loss.calibration is not None and loss.calibration.folded_into is not None
    if folded or (num_classes > 1 and loss.scores_are_logits):
        config.problem_type = "multi_label_classification" if loss.multi_label else "single_label_classification"
    else:
        config.problem_type = "regression"


def own_config(model: nn.Module) -> None:
    """Give a model without a loss yet a config of its own: others that were made from the same object keep theirs.

    transformers (5.24) shares the object between `Model(config)` and all of its parts.
    """
    config = getattr(base_model(model), "config", None)
    if not isinstance(config, PreTrainedConfig) or KEY in vars(config):
        return
    copies: dict[int, Any] = {}
    copy.deepcopy(config, copies)
    for module in model.modules():
        shared = vars(module).get("config")
        if isinstance(shared, PreTrainedConfig) and id(shared) in copies:
            module.config = copies[id(shared)]  # type: ignore[assignment]


def forget_calibration(model: nn.Module) -> None:
    """Take the calibration out of what a model's config, and those of its adapters, say of its loss."""
    entry, config = saved_entry(model), getattr(base_model(model), "config", None)
    if isinstance(entry, dict) and config is not None:
        setattr(config, KEY, {name: value for name, value in entry.items() if name != "calibration"})
        write_adapter(model)


def load_loss(model: PreTrainedModel | PreTrainedConfig | str | Path) -> Loss:
    """The loss a model or its adapter was trained with, from its config.

    Args:
        model: a model (maybe PEFT's) or config loaded with from_pretrained, or its name on the Hub, or its folder.

    Raises:
        ValueError: the config names no loss, or one that is not known here; if it is defined outside this package, the
            error names the module to import, and nothing is imported because a config says so.

    Example:
        >>> model = AutoModelForSequenceClassification.from_pretrained("user/name")  # doctest: +SKIP
        >>> load_loss(model).probabilities(model(**inputs).logits)  # doctest: +SKIP
    """
    if isinstance(model, str | Path):
        model = load_config(model)
    plain = base_model(model) if isinstance(model, nn.Module) else model
    if not isinstance(plain, PreTrainedModel | PreTrainedConfig):
        raise ValueError(f"load_loss takes a transformers model, its config or its name, got {type(model).__name__}")
    loss = saved_loss(model)
    if loss is None:
        raise ValueError(f"this model's config has no {KEY!r} entry: it was not trained and saved with hf_squareloss")
    return loss


def saved_loss(model: nn.Module | PreTrainedConfig) -> Loss | None:
    """The loss in a model's config, or None where it names none.

    Raises:
        ValueError: it names one that is not known here (the error names the module to import), or its entry is broken.
    """
    saved = saved_entry(model)
    return None if saved is None or saved == {} else loss_from_dict(saved)


def saved_entry(model: nn.Module | PreTrainedConfig) -> Any:
    """What a model's active adapter, or else its config, says of the loss: from a file it may be anything, or None."""
    for adapter in _adapters(model).values():
        if entry := _entry(adapter.auto_mapping):
            return entry.get(KEY)
    model = base_model(model) if isinstance(model, nn.Module) else model
    config = model.config if isinstance(model, PreTrainedModel) else model
    return vars(config).get(KEY) if isinstance(config, PreTrainedConfig) else None  # to_dict would copy everything


# ---- adapters --------------------------------------------------------------------------------------------------------
# PEFT saves no config.json of the model, and transformers takes an adapter's folder that has one for a whole model. Of
# an adapter's own config `auto_mapping` is the one entry that may hold more than PEFT knows (peft 0.21): every way to
# load an adapter brings it back. Without a task_type PEFT writes it anew at each save.
def has_adapter(model: nn.Module) -> bool:
    """Whether PEFT's adapters are what would be saved of a model."""
    return bool(_adapters(model))


def virtual_tokens(model: nn.Module) -> int:
    """How many tokens a model's adapter puts before those of the text, with scores of their own."""
    adapters = [adapter for adapter in _adapters(model).values() if adapter.is_prompt_learning]
    return sum(adapter.num_virtual_tokens for adapter in adapters if adapter.peft_type != "PREFIX_TUNING")


def write_adapter(model: nn.Module) -> None:
    """Copy the loss and the label names from a model's config to its active adapters, with which they are saved."""
    base = base_model(model)
    if not isinstance(base, PreTrainedModel):
        return
    config = base.config  # of which timm's to_dict leaves the names out (transformers 5.24)
    head = {"id2label": config.id2label, "label2id": config.label2id, "problem_type": config.problem_type}
    entry = {KEY: vars(config).get(KEY), **head, "architectures": [type(base).__name__]}
    for adapter in _adapters(model).values():
        adapter.auto_mapping = {**(adapter.auto_mapping or {}), KEY: entry}


def complete_adapter(model: nn.Module, folder: str | Path) -> None:
    """Put what `write_adapter` wrote into the adapter's file in `folder`, if saving left it out."""
    for name, adapter in _adapters(model).items():
        path = Path(folder, _ADAPTER_FILE) if name == "default" else Path(folder, name, _ADAPTER_FILE)
        entry = _entry(adapter.auto_mapping)
        if not entry or not path.is_file():
            continue
        values = json.loads(path.read_text(encoding="utf8"))
        if not _entry(values.get("auto_mapping")):
            values["auto_mapping"] = {**(values.get("auto_mapping") or {}), KEY: entry}
            path.write_text(json.dumps(values, indent=2, sort_keys=True), encoding="utf8")


def load_config(name: str | Path, **options: Any) -> PreTrainedConfig:
    """The config of a saved model; for an adapter, its base model's with the adapter's loss and label names.

    A model made with it has the head that the adapter was trained with, whose number of classes an adapter's own files
    do not hold.

    Args:
        name: a name on the Hub or a folder, of a model or of an adapter that a trainer of ours saved.
        options: for `AutoConfig.from_pretrained` (revision, token, cache_dir, ...).

    Raises:
        OSError, ValueError: there is neither, as `AutoConfig` says it.

    Example:
        >>> config = load_config("user/adapter")  # doctest: +SKIP
        >>> model = AutoModelForSequenceClassification.from_pretrained("user/adapter", config=config)  # doctest: +SKIP
    """
    try:
        return AutoConfig.from_pretrained(name, **options)
    except (OSError, ValueError):  # the latter for a folder without a config.json (transformers 5.24)
        places = {key: options[key] for key in ("cache_dir", "token", "revision") if key in options}
        path = find_adapter_config_file(str(name), **places)
        if path is None:
            raise
    adapter = json.loads(Path(path).read_text(encoding="utf8"))
    options = {key: value for key, value in options.items() if key != "revision"}  # the adapter's
    config = AutoConfig.from_pretrained(adapter["base_model_name_or_path"], **options)
    entry = _entry(adapter.get("auto_mapping"))
    for key in (KEY, *_HEAD, "architectures"):
        if key in entry:
            value = entry[key]
            setattr(config, key, {int(c): label for c, label in value.items()} if key == "id2label" else value)
    return config


def _entry(auto_mapping: Any) -> dict[str, Any]:
    """What `write_adapter` put into an adapter's `auto_mapping`; empty where there is nothing of ours."""
    entry = auto_mapping.get(KEY) if isinstance(auto_mapping, dict) else None
    return entry if isinstance(entry, dict) else {}


def _adapters(model: nn.Module | PreTrainedConfig) -> dict[str, Any]:
    """PEFT's config of each active adapter: of a PeftModel, or of a model with transformers' `add_adapter`."""
    peft: Any = sys.modules.get("peft")
    adapted: Any = model
    if peft and isinstance(model, peft.PeftModel):
        return {name: adapted.peft_config[name] for name in adapted.active_adapters}
    if isinstance(model, PreTrainedModel) and "peft_config" in vars(model):
        return {"default": next(iter(adapted.peft_config.values()))}  # its saving takes one alone (transformers 5.24)
    return {}
