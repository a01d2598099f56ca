"""Low-rank adapters (PEFT's LoRA) for the example scripts, named as in trl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from hf_squareloss.config import has_adapter
from hf_squareloss.heads import Head


@dataclass
class LoraArguments:
    """Train low-rank adapters beside frozen weights, W + (alpha / r) B A, for `HfArgumentParser`."""

    use_lora: bool = field(default=False, metadata={"help": "Train low-rank adapters and the new parts alone."})
    lora_r: int = field(default=8, metadata={"help": "Rank r of the adapters."})
    lora_alpha: int = field(default=16, metadata={"help": "Their scale is alpha / r."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout of what goes into them."})
    lora_target_modules: list[str] | None = field(
        default=None, metadata={"help": "Modules that get one, by the ends of their names; default: the linear ones."}
    )
    lora_modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "Modules to train whole, beside a classifier's head and what was not loaded."}
    )

    def __post_init__(self) -> None:
        if self.lora_r < 1:
            raise ValueError(f"lora_r must be at least 1, got {self.lora_r}")
        if not 0.0 <= self.lora_dropout < 1.0:
            raise ValueError(f"lora_dropout must be in [0, 1), got {self.lora_dropout}")
        if not self.use_lora and (given := self._given()):
            raise ValueError(f"{', '.join(given)} would be ignored without use_lora")

    def _given(self) -> list[str]:
        """The options of the adapters that are not as by default."""
        values = {f.name: (vars(self)[f.name], f.default) for f in fields(LoraArguments) if f.name != "use_lora"}
        return [f"{name}={value}" for name, (value, default) in values.items() if value != default]

    def wrap(
        self, model: Any, loading_info: Mapping[str, Any] | None, *, train: bool, task_type: str | None = None
    ) -> Any:
        """The model with adapters, or as it is without `use_lora`; the adapter that it has already is trained on.

        Args:
            model: as loaded.
            loading_info: what `from_pretrained(..., output_loading_info=True)` gives with it; None from scratch.
            train: whether it is about to be trained.
            task_type: PEFT's name of the task.

        Raises:
            ValueError: a model from scratch, whose weights would stay random; one that is an adapter already, without
                `use_lora` or with options that its own adapter has decided; one without linear layers.
            ModuleNotFoundError: PEFT is not installed.
        """
        if train and has_adapter(model):
            if not self.use_lora:
                raise ValueError(
                    "the model is an adapter, of which transformers would train the base model and save the adapter "
                    "alone: --use_lora goes on training the adapter; or merge it first (peft's merge_and_unload, of a "
                    "base model with config=load_config(ADAPTER), which keeps the adapter's loss)"
                )
            if given := self._given():
                raise ValueError(f"{', '.join(given)} would be ignored: the model has an adapter, with its own values")
            return _trainable(model)
        if not self.use_lora or not train:
            return model
        if loading_info is None:
            raise ValueError("use_lora needs a trained model, since all else stays as it is: give --model_name_or_path")
        from peft import LoraConfig, get_peft_model

        named = {*(self.lora_modules_to_save or ()), *_heads(model), *_new_modules(model, loading_info)}
        named |= _batch_norms(model)
        whole = {name for name in named if not name.startswith(_inside(named))}
        targets = self.lora_target_modules or _linear_modules(model, whole)
        if not targets:
            raise ValueError(
                f"a {type(model).__name__} has no linear layer for an adapter: name other parts, such as "
                "--lora_target_modules convolution"
            )
        config = LoraConfig(
            task_type=task_type,
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=targets,
            modules_to_save=sorted(whole) or None,
        )
        return get_peft_model(model, config)


def _trainable(model: Any) -> Any:
    """The PEFT model, ready for training, of a model whose adapter transformers has loaded: for inference alone."""
    from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    ((name, config),) = model.peft_config.items()
    weights = get_peft_model_state_dict(model, adapter_name=name)
    for place, part in list(model.named_modules()):
        if isinstance(part, BaseTunerLayer):
            model.set_submodule(place, part.get_base_layer())
        elif isinstance(part, ModulesToSaveWrapper):
            model.set_submodule(place, part.original_module)
    del model.peft_config
    model._hf_peft_config_loaded = False  # public is only `delete_adapter`, which wants peft 0.22 (transformers 5.24)
    config.inference_mode = False
    wrapped: Any = get_peft_model(model, config)
    result = set_peft_model_state_dict(wrapped, {f"base_model.model.{key}": value for key, value in weights.items()})
    assert not result.unexpected_keys, result.unexpected_keys
    return wrapped


def _heads(model: PreTrainedModel) -> set[str]:
    """What stands behind the body of a classifier or a CTC model: small, and the first to change with the loss."""
    if Head.of(model).language_model:
        return set()
    children = {name for name, child in model.named_children() if any(True for _ in child.parameters())}
    return children - {model.base_model_prefix} if model.base_model_prefix in children else set()


def _linear_modules(model: PreTrainedModel, whole: set[str]) -> list[str]:
    """The linear layers that are neither trained whole nor the output layer of a vocabulary."""
    linear = {name: part for name, part in model.named_modules() if isinstance(part, nn.Linear | Conv1D)}
    output: Any = model.get_output_embeddings()
    return [
        name
        for name, part in linear.items()
        if part is not output and name not in whole and not name.startswith(_inside(whole))
    ]


def _batch_norms(model: nn.Module) -> set[str]:
    """The batch norms: frozen, their running statistics would still move in training, and be in no file."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return {name for name, part in model.named_modules() if isinstance(part, kinds) and part.track_running_stats}


def _inside(whole: set[str]) -> tuple[str, ...]:
    return tuple(f"{name}." for name in whole)


def _new_modules(model: nn.Module, loading_info: Mapping[str, Any]) -> set[str]:
    """The modules with weights that no file held: frozen they would stay random, and be others after loading."""
    mismatched = (key if isinstance(key, str) else key[0] for key in loading_info["mismatched_keys"])
    owners = {key.rpartition(".")[0] for key in {*loading_info["missing_keys"], *mismatched}}
    modules = dict(model.named_modules())
    return {name for name in owners if name and not list(modules[name].children())}
