"""The only file that tells model families apart: by class names, by transformers' tables of them, by config."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto as auto

from hf_squareloss.config import base_model


def mapped_names(mapping: Mapping[Any, Any]) -> set[str]:
    values = (v if isinstance(v, tuple | list) else (v,) for v in mapping.values())
    return {name for group in values for name in group}


_CAUSAL_LM = mapped_names(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
# Those that see no token ahead, whatever is_decoder says in their config (transformers 5.24).
_ALWAYS_CAUSAL = {"GPTNeoXForCausalLM", "GPTNeoXJapaneseForCausalLM"}
# Those whose forward takes labels as they stand, "not shifted inside the model" (transformers 5.24).
_UNSHIFTED_LM = {
    f"{family}ForCausalLM"
    for family in (
        *("Bart", "BigBirdPegasus", "Blenderbot", "BlenderbotSmall", "CpmAnt", "MBart", "Marian", "Mvp", "PLBart"),
        *("Pegasus", "ProphetNet", "TrOCR", "Whisper"),
    )
} | {"XLNetLMHeadModel"}
_MASKED_LM = mapped_names(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
_ENCODER_DECODER_LM = (
    mapped_names(auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    | mapped_names(auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES)
    | {f"{family}ForConditionalGeneration" for family in ("Florence2", "Pix2Struct", "Udop")}
    | {"VisionEncoderDecoderModel"}
)
# Images or videos stand among the tokens: the rest is a causal language model's.
_VISION_LM = {
    *mapped_names(auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    *mapped_names(auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES),
}
# Heads whose scores are not one row for each label, and why.
_REFUSED: tuple[tuple[str, str], ...] = (
    (r"For(RNNT|TDT)$", "a transducer scores pairs of a frame and a token, and its loss is one of alignments"),
    (
        r"^(Csm|CsmDepthDecoder|Dia|HiggsAudioV2|Musicgen|MusicgenMelody)For|^MoshiForConditionalGeneration$",
        "it predicts several codebooks, with a row of scores for each",
    ),
    (r"For(TextToSpeech|SpeechToSpeech)$|TTSFor", "it predicts sound"),
    (r"(?<!Vilt)ForQuestionAnswering(Simple)?$", "it scores where an answer begins and where it ends, by two losses"),
    (r"For(PreTraining|Pretraining)$|DoubleHeadsModel$", "it has several heads with a loss each"),
    (r"^BrosSpade", "it scores pairs of tokens"),
    (r"^(Blip2|InstructBlip|InstructBlipVideo)For", "it scores the queries of the image beside the tokens"),
    (r"^(Blip|Kosmos2|Kosmos2_5)For", "a model inside it computes the loss"),
    (r"^Inkling\w*For", "its scores leave out a part of its vocabulary"),
    (r"^PPFormulaNetFor", "it makes no decoder inputs of its labels"),
    (r"^(Qwen2_5Omni|Qwen3OmniMoe)ForCond", "it speaks, and has no loss: train its thinker"),
    (r"^PI0For", "it predicts movements"),
    (r"ForBlockDiffusion$", "it restores blocks of noise"),
    (r"ForXVector$", "its scores are made for a loss of its own"),
    (r"For(ObjectDetection|\w*Segmentation)$", "its scores are of boxes or of pixels"),
)
_TASKS: tuple[tuple[str | None, str, set[str]], ...] = tuple(
    (task, f"AutoModelFor{head}", mapped_names(mapping))
    # Audio before text: its heads end in ForSequenceClassification too. Speech before text: so do language models.
    for task, head, mapping in (
        ("audio-classification", "AudioClassification", auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES),
        ("image-classification", "ImageClassification", auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES),
        ("video-classification", "VideoClassification", auto.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES),
        ("text-classification", "SequenceClassification", auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
        ("token-classification", "TokenClassification", auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES),
        ("automatic-speech-recognition", "CTC", auto.MODEL_FOR_CTC_MAPPING_NAMES),
        ("automatic-speech-recognition", "SpeechSeq2Seq", auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
        ("multiple-choice", "MultipleChoice", auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES),
        (None, "NextSentencePrediction", auto.MODEL_FOR_NEXT_SENTENCE_PREDICTION_MAPPING_NAMES),
        (None, "CausalLM", auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES),
        (None, "MaskedLM", auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES),
        (None, "Seq2SeqLM", auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES),
        (None, "ImageTextToText", auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES),
    )
)


def class_names(model_class: type) -> set[str]:
    """The names of a class and of those it derives from: FSDP2 and users subclass."""
    return {c.__name__ for c in model_class.__mro__}


def task_of(names: Iterable[str]) -> str | None:
    """The pipeline task of a model with these class names, or None; transformers has none for multiple-choice."""
    names = set(names)
    listed = next((task for task, _, known in _TASKS if names & known), None)
    return listed or next((task for task, head, _ in _TASKS if _is_called(names, head)), None)


def auto_class_of(model_class: type) -> str:
    """The class of transformers that loads such a model: an Auto class, or its own where no Auto class knows it."""
    names = class_names(model_class)
    own = (c.__name__ for c in model_class.__mro__ if c.__module__.startswith("transformers.models."))
    known = (auto_class for _, auto_class, heads in _TASKS if names & heads)
    called = (auto_class for _, auto_class, _ in _TASKS if _is_called(names, auto_class))
    return next(known, next((name for name in own if "For" in name), next(called, "AutoModel")))


def _is_called(names: Iterable[str], auto_class: str) -> bool:
    """Whether a class that no table has, one of ours or of the Hub, says by its name that this loads it."""
    return any(name.endswith(auto_class.removeprefix("AutoModel")) for name in names)


def refuse_head(model_class: type) -> None:
    """ValueError for a head whose scores are not one row for each label, by its name."""
    names = class_names(model_class)
    unknown = "which of its scores belong to which labels is not known here"
    for name in (c.__name__ for c in model_class.__mro__):
        reason = next((reason for pattern, reason in _REFUSED if re.search(pattern, name)), None)
        if name.endswith("ForConditionalGeneration") and not is_language_model(names):
            reason = reason or unknown
        if reason is not None:
            raise ValueError(f"{name}: this kind of head is not supported: {reason}")


# ---- CTC -------------------------------------------------------------------------------------------------------------
def is_ctc(model_class: type) -> bool:
    """Whether a class, or one it derives from, is a CTC model as transformers names them."""
    return any(name.endswith("ForCTC") for name in class_names(model_class))


def blank_of(config: PreTrainedConfig) -> int:
    """The class of a CTC model's blank."""
    return config.to_dict().get("blank_token_id", config.pad_token_id)  # OmniASR has both


def ctc_frames(model: Any, lengths: Tensor, *, before_adapter: bool = False) -> Tensor:
    """How many frames (B,) a *ForCTC model of transformers makes of inputs of these lengths (B,).

    Args:
        before_adapter: the frames that a convolutional adapter (`add_adapter`), which makes fewer of them, gets:
            SpecAugment masks there.
    """
    model = base_model(model)
    # One thing with two names (transformers 5.24): what the family's own forward calls.
    old = "_get_feat_extract_output_lengths"
    measure = model._get_feat_extract_output_lengths if old in dir(model) else model._get_subsampling_output_length
    options = {"add_adapter": False} if before_adapter and model.config.to_dict().get("add_adapter") else {}
    return measure(lengths, **options).long()


# ---- language models -------------------------------------------------------------------------------------------------
def is_language_model(names: set[str]) -> bool:
    """Whether the classes of a model with these class names are a vocabulary."""
    ending = ("ForCausalLM", "LMHeadModel", "ForMaskedLM")  # of models that no table has, as those of the Hub
    tables = _CAUSAL_LM | _MASKED_LM | _ENCODER_DECODER_LM | _VISION_LM
    return bool(names & tables) or any(name.endswith(ending) for name in names)


def shifts_labels(names: set[str], config: PreTrainedConfig) -> bool:
    """Whether such a language model's score t belongs to label t + 1."""
    masked = bool(names & (_MASKED_LM | _UNSHIFTED_LM)) or any(name.endswith("ForMaskedLM") for name in names)
    return not masked and not config.is_encoder_decoder


def refuse_copying(model: PreTrainedModel) -> None:
    """ValueError for a model to which the next token is known: trained on a text as its labels it learns to copy."""
    names, config = class_names(type(model)), model.config
    if not shifts_labels(names, config):
        raise ValueError(
            f"{type(model).__name__} would learn to copy, since it takes labels as they stand: take another model "
            "type, or --objective masked where it has such a model"
        )
    if names & _CAUSAL_LM - _ALWAYS_CAUSAL and config.to_dict().get("is_decoder") is False:
        raise ValueError(
            f"{type(model).__name__} sees the tokens that it is to predict, since its config has is_decoder = False: "
            "--objective masked, or is_decoder = true, by --config_overrides is_decoder=true for a model from scratch "
            "and else by a file for --config_name"
        )


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
def scores_name(names: set[str]) -> str:
    """What a model with these class names calls its scores."""
    return "last_hidden_state" if "PPLCNetForImageClassification" in names else "logits"  # transformers 5.24


def is_multiple_choice(names: set[str]) -> bool:
    """Whether a model with these class names scores the choices of each example, as many as there are."""
    return any(name.endswith("ForMultipleChoice") for name in names)
