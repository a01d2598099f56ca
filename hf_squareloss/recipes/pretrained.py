"""Trained models for the example scripts: whole ones, and adapters on the model that they were trained beside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file


def load_pretrained(
    auto_class: Any, name: str, config: Any, *, ignore_mismatched_sizes: bool = False, **options: Any
) -> tuple[Any, Mapping[str, Any]]:
    """The model of a name on the Hub or a folder, and what its files held.

    An adapter brings its own head: that of its base model may have another number of classes. Wav2Vec2's classes have a
    `load_adapter` of their own, so that `auto_class.from_pretrained` does not load PEFT's (transformers 5.24).

    Args:
        auto_class: such as `AutoModelForCTC`.
        config: `load_config`'s.
        ignore_mismatched_sizes: replace a head that has another number of classes.
        options: for from_pretrained (revision, token, cache_dir, dtype, ...).

    Raises:
        OSError, ValueError, RuntimeError: as from_pretrained.
    """
    places = {key: options[key] for key in ("cache_dir", "revision", "token") if key in options}
    file = None if Path(name, "config.json").is_file() else find_adapter_config_file(name, **places)
    if file is not None:
        base = json.loads(Path(file).read_text(encoding="utf8"))["base_model_name_or_path"]
        own = {key: value for key, value in options.items() if key != "revision"}  # the revision is the adapter's
        model = auto_class.from_pretrained(base, config=config, ignore_mismatched_sizes=True, **own)
        return model, PreTrainedModel.load_adapter(model, name, adapter_kwargs=places).to_dict()
    return auto_class.from_pretrained(
        name,
        config=config,
        ignore_mismatched_sizes=ignore_mismatched_sizes,
        output_loading_info=True,
        **options,
    )
