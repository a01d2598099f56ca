"""The only file that tells model families apart: by class names, by transformers' tables of them, by config."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto as auto


def _names(mapping: Mapping[Any, Any]) -> set[str]:
    values = (v if isinstance(v, tuple | list) else (v,) for v in mapping.values())
    return {name for group in values for name in group}


_CAUSAL_LM = _names(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
# Those whose forward takes labels as they stand, "not shifted inside the model" (transformers 5.24).
_UNSHIFTED_LM = {
    f"{family}ForCausalLM"
    for family in (
        *("Bart", "BigBirdPegasus", "Blenderbot", "BlenderbotSmall", "CpmAnt", "MBart", "Marian", "Mvp", "PLBart"),
        *("Pegasus", "ProphetNet", "TrOCR", "Whisper"),
    )
} | {"XLNetLMHeadModel"}
_MASKED_LM = _names(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
_ENCODER_DECODER_LM = _names(auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES) | _names(
    auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
)
_MULTIPLE_CHOICE = _names(auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES)
_TASKS: tuple[tuple[str, str, set[str]], ...] = tuple(
    (task, auto_class, _names(mapping))
    # Audio before text: its heads end in ForSequenceClassification too.
    for task, auto_class, mapping in (
        ("audio-classification", "AutoModelForAudioClassification", auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES),
        ("image-classification", "AutoModelForImageClassification", auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES),
        (
            "text-classification",
            "AutoModelForSequenceClassification",
            auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
        ),
        ("token-classification", "AutoModelForTokenClassification", auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES),
        ("automatic-speech-recognition", "AutoModelForCTC", auto.MODEL_FOR_CTC_MAPPING_NAMES),
        (
            "automatic-speech-recognition",
            "AutoModelForSpeechSeq2Seq",
            auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES,
        ),
    )
)


def class_names(model_class: type) -> set[str]:
    """The names of a class and of those it derives from: FSDP2 and users subclass."""
    return {c.__name__ for c in model_class.__mro__}


def task_and_auto_class(names: Iterable[str]) -> tuple[str | None, str]:
    """The pipeline task of a model with these class names, or None, and the Auto class that loads it."""
    names = set(names)
    return next(((task, auto_class) for task, auto_class, known in _TASKS if names & known), (None, "AutoModel"))


def task_of(names: Iterable[str]) -> str | None:
    """The pipeline task of a model with these class names, or None."""
    return task_and_auto_class(names)[0]


# ---- CTC -------------------------------------------------------------------------------------------------------------
def is_ctc(model_class: type) -> bool:
    """Whether a class, or one it derives from, is a CTC model as transformers names them."""
    return any(name.endswith("ForCTC") for name in class_names(model_class))


def blank_of(config: PreTrainedConfig) -> int:
    """The class of a CTC model's blank."""
    return config.to_dict().get("blank_token_id", config.pad_token_id)  # OmniASR has both


def ctc_frames(model: Any, lengths: Tensor) -> Tensor:
    """How many frames (B,) a *ForCTC model of transformers makes of inputs of these lengths (B,)."""
    # One thing with two names (transformers 5.24): what the family's own forward calls.
    old = "_get_feat_extract_output_lengths"
    measure = model._get_feat_extract_output_lengths if old in dir(model) else model._get_subsampling_output_length
    return measure(lengths).long()


# ---- language models -------------------------------------------------------------------------------------------------
def is_language_model(names: set[str]) -> bool:
    """Whether the classes of a model with these class names are a vocabulary."""
    return bool(names & (_CAUSAL_LM | _MASKED_LM | _ENCODER_DECODER_LM))


def shifts_labels(names: set[str], config: PreTrainedConfig) -> bool:
    """Whether such a language model's score t belongs to label t + 1."""
    return not names & (_MASKED_LM | _UNSHIFTED_LM) and not config.is_encoder_decoder


def masks_decoder_by_labels(config: PreTrainedConfig) -> bool:
    """Whether a model that gets decoder inputs still needs its labels (EncoderDecoderModel, transformers 5.24)."""
    return config.model_type == "encoder-decoder"


def decoder_inputs(model: PreTrainedModel, labels: Tensor) -> Tensor | None:
    """The decoder inputs that an encoder-decoder makes of labels; None where its forward alone knows how."""
    plain: Any = model
    if callable(getattr(type(model), "prepare_decoder_input_ids_from_labels", None)):
        return plain.prepare_decoder_input_ids_from_labels(labels=labels)
    # Whisper, Speech2Text, Moonshine (transformers 5.24): the function that their forward applies to labels.
    modules = (vars(sys.modules[c.__module__]) for c in type(model).__mro__)
    shift: Any = next((names["shift_tokens_right"] for names in modules if "shift_tokens_right" in names), None)
    if shift is None:
        return None
    return shift(labels, plain.config.pad_token_id, plain.config.decoder_start_token_id)


# ---- others ----------------------------------------------------------------------------------------------------------
def is_multiple_choice(names: set[str]) -> bool:
    """Whether a model with these class names scores the choices of each example, as many as there are."""
    return bool(names & _MULTIPLE_CHOICE)
