"""Adapters of one language in a multilingual recogniser (MMS), trained alone and kept in a file of their own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_squareloss.config import has_adapter

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer

_LAYER = "adapter_layer"  # the name of the module in each layer of the encoder (transformers 5.24)


@dataclass
class LanguageAdapterArguments:
    """Train the adapter layers and the head alone, for `HfArgumentParser`.

    Source: Pratap et al. 2023 (arXiv 2305.13516), whose models have an adapter for each language in a shared encoder.
    """

    train_adapter_only: bool = field(
        default=False, metadata={"help": "Train the adapter of one language, and the head; all else stays as it is."}
    )
    target_language: str | None = field(
        default=None, metadata={"help": "Name of that language: the file is adapter.LANGUAGE.safetensors."}
    )

    def __post_init__(self) -> None:
        if self.target_language is not None and not self.train_adapter_only:
            raise ValueError(f"target_language={self.target_language} would be ignored without train_adapter_only")
        if self.train_adapter_only and not self.target_language:
            raise ValueError("train_adapter_only needs --target_language, the name of the file that it is saved in")

    def freeze(self, model: PreTrainedModel) -> None:
        """Make new adapter layers, and leave only them and the head to be trained.

        Raises:
            ValueError: a model without such layers, or one with other adapters.
        """
        if not self.train_adapter_only:
            return
        if has_adapter(model):
            raise ValueError("use_lora and train_adapter_only exclude each other: give one")
        if model.config.to_dict().get("adapter_attn_dim") is None:
            raise ValueError(
                f"train_adapter_only: this {type(model).__name__} has no adapter layers; "
                "--adapter_attn_dim 16 gives a Wav2Vec2 model some"
            )
        with_layers: Any = model
        with_layers.init_adapter_layers()
        with_layers.freeze_base_model()
        for name, parameter in model.named_parameters():
            if _is_adapter(name):
                parameter.requires_grad_(True)

    def save(self, trainer: Trainer) -> None:
        """Write adapter.LANGUAGE.safetensors beside the model, which `model.load_adapter(LANGUAGE)` reads.

        Only weights that one process holds whole: not those of FSDP and ZeRO-3.
        """
        if not self.train_adapter_only or not trainer.is_world_process_zero():
            return
        from safetensors.torch import save_file
        from transformers.models.wav2vec2.modeling_wav2vec2 import WAV2VEC2_ADAPTER_SAFE_FILE

        model: Any = trainer.accelerator.unwrap_model(trainer.model)
        weights = {
            name: parameter.detach().cpu().contiguous()
            for name, parameter in model.named_parameters()
            if _is_adapter(name) or name.startswith("lm_head.")
        }
        file = WAV2VEC2_ADAPTER_SAFE_FILE.format(self.target_language)
        save_file(weights, Path(trainer.args.output_dir or ".") / file, metadata={"format": "pt"})


def _is_adapter(name: str) -> bool:
    return f".{_LAYER}." in name
