"""Models from scratch: a config made of a model type and overrides, and a tokenizer built from the training texts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from transformers import AutoConfig

import hf_squareloss.models  # noqa: F401  (its model types are registered by the import)
from hf_squareloss.recipes.vocabulary import VOCABULARIES


@dataclass
class FromScratchArguments:
    """A model that is made and not loaded, for `HfArgumentParser`.

    Beside a model that is loaded (model_name_or_path) they say what it must be, so that one command can go on with what
    it has trained.
    """

    model_type: str | None = field(
        default=None, metadata={"help": "A model from scratch of this type, such as gpt2, bert or lstm."}
    )
    config_overrides: str | None = field(
        default=None, metadata={"help": "Its sizes where they are not the type's: hidden_size=128,num_hidden_layers=2."}
    )
    vocabulary: str | None = field(
        default=None,
        metadata={"help": f"Build the tokenizer from the training texts: {' or '.join(VOCABULARIES)}."},
    )
    vocabulary_size: int | None = field(
        default=None, metadata={"help": "Entries of that vocabulary at most; default: 20,000 words, all characters."}
    )

    def __post_init__(self) -> None:
        if self.vocabulary is not None and self.vocabulary not in VOCABULARIES:
            raise ValueError(f"vocabulary must be one of {', '.join(VOCABULARIES)}, got {self.vocabulary!r}")
        if self.vocabulary_size is not None and self.vocabulary is None:
            raise ValueError("vocabulary_size would be ignored: it is for --vocabulary")

    def make_config(self, **values: Any) -> Any:
        """A config of the model type, with the overrides and `values`."""
        return make_config(self.model_type or "", self.config_overrides, **values)

    def require_same(self, config: Any) -> None:
        """ValueError where the config of a loaded model is another than these arguments describe."""
        wanted = {"model_type": self.model_type, **parse_overrides(self.config_overrides)}
        there = config.to_dict()
        for name, value in wanted.items():
            if value is not None and there.get(name) != value:
                raise ValueError(
                    f"{name}={value} would be ignored: the model in model_name_or_path has {there.get(name)}"
                )


def make_config(model_type: str, overrides: str | None = None, **values: Any) -> Any:
    """A config of this type: `values`, then the overrides, then what the type has.

    Raises:
        ValueError: no such type, or an override of what the type does not have.

    Example:
        >>> make_config("gpt2", "n_embd=16,n_layer=1,activation_function=relu").n_embd
        16
    """
    try:
        known = AutoConfig.for_model(model_type)
    except (ValueError, KeyError):
        raise ValueError(
            f"no model type is called {model_type!r}: it is transformers' name of the architecture, such as gpt2, "
            f"llama or bert, or one of {', '.join(hf_squareloss.models.MODEL_TYPES)}"
        ) from None
    given = parse_overrides(overrides)
    there = known.to_dict().keys() | known.attribute_map.keys()
    unknown = [name for name in given if name not in there]
    if unknown:
        raise ValueError(f"config_overrides: {model_type} has no {unknown[0]!r}")
    return AutoConfig.for_model(model_type, **{**values, **given})


def parse_overrides(text: str | None) -> dict[str, Any]:
    """NAME=VALUE with commas between; a VALUE is a number, true, false, null or a text.

    Example:
        >>> parse_overrides("n_embd=16,use_cache=false,activation_function=relu,layer_norm_epsilon=1e-6")
        {'n_embd': 16, 'use_cache': False, 'activation_function': 'relu', 'layer_norm_epsilon': 1e-06}
    """
    values: dict[str, Any] = {}
    for part in text.split(",") if text else ():
        name, equals, word = part.strip().partition("=")
        if not (name and equals and word):
            raise ValueError(f"config_overrides are NAME=VALUE with commas between, got {part!r}")
        if name in values:
            raise ValueError(f"config_overrides: {name!r} is given twice")
        try:
            values[name] = json.loads(word)
        except ValueError:
            values[name] = word
    return values
