"""Pipelines whose scores are probabilities, whichever loss the model was trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import transformers
from transformers import (
    AudioClassificationPipeline,
    AutomaticSpeechRecognitionPipeline,
    ImageClassificationPipeline,
    Pipeline,
    PreTrainedConfig,
    PreTrainedModel,
    TextClassificationPipeline,
    VideoClassificationPipeline,
    pipeline,
)

from hf_squareloss.config import base_model, load_config, load_loss
from hf_squareloss.heads import Head, is_ctc, task_of
from hf_squareloss.inference._generation import log_probabilities, probability_generation


class _Text(TextClassificationPipeline):
    def _forward(self, model_inputs: Any) -> Any:
        return _with_probabilities(self, super()._forward(model_inputs))


class _Image(ImageClassificationPipeline):
    def _forward(self, model_inputs: Any) -> Any:
        return _with_probabilities(self, super()._forward(model_inputs))


class _Video(VideoClassificationPipeline):
    def _forward(self, model_inputs: Any) -> Any:
        outputs = _with_probabilities(self, super()._forward(model_inputs))
        outputs["logits"] = outputs["logits"].flatten(1)  # VideoPrism's are (B, 1, C) (transformers 5.24)
        return outputs


class _Audio(AudioClassificationPipeline):
    def _forward(self, model_inputs: Any) -> Any:
        return _with_probabilities(self, super()._forward(model_inputs))


class _Speech(AutomaticSpeechRecognitionPipeline):
    def _forward(self, model_inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if not is_ctc(type(base_model(self.model))):
            with probability_generation(self.model):  # five beams unless told otherwise (5.23)
                return super()._forward(model_inputs, *args, **kwargs)
        outputs = super()._forward(model_inputs, *args, **kwargs)
        if "logits" in outputs:  # they go to a decoder with a language model
            outputs["logits"] = log_probabilities(outputs["logits"], self.model)
        return outputs


def _with_probabilities(pipe: Pipeline, outputs: Any) -> Any:
    outputs["logits"] = load_loss(pipe.model).probabilities(outputs[Head.of(pipe.model).scores])
    return outputs


_CLASSES: dict[str, type[Pipeline]] = {
    "text-classification": _Text,
    "image-classification": _Image,
    "video-classification": _Video,
    "audio-classification": _Audio,
    "automatic-speech-recognition": _Speech,
}


_PARTS: dict[str, tuple[str, ...]] = {  # what else a pipeline needs
    "text-classification": ("tokenizer",),
    "image-classification": ("image_processor",),
    "video-classification": ("video_processor",),
    "audio-classification": ("feature_extractor",),
    "automatic-speech-recognition": ("tokenizer", "feature_extractor"),
}


def probability_pipeline(model: str | Path | PreTrainedModel, task: str | None = None, **kwargs: Any) -> Pipeline:
    """A transformers pipeline that works with the probabilities that the model's own loss implies.

    In classification `score` is that probability. In speech recognition the beam search of an encoder-decoder, and a
    decoder with a language model behind a CTC model, see its logarithm (a CTC model alone needs neither: the largest
    raw score is right).

    Args:
        model: a Hub name, a folder, or a model or adapter, saved by a trainer of ours or with `attach_loss`.
        task: "text-classification", "image-classification", "video-classification" (which reads videos with PyAV, `pip
            install av`), "audio-classification" or "automatic-speech-recognition"; None reads it from the model.
        kwargs: passed to `transformers.pipeline` (tokenizer, top_k, device, token, ...).

    Raises:
        ValueError: another task, or a model whose config names no loss.

    Example:
        >>> classify = probability_pipeline("user/name", top_k=None)  # doctest: +SKIP
        >>> classify("A fine film.")  # doctest: +SKIP
        [[{'label': 'positive', 'score': 0.97}, {'label': 'negative', 'score': 0.03}]]
    """
    hub = {key: kwargs[key] for key in ("revision", "token", "trust_remote_code") if key in kwargs}
    config = load_config(model, **hub) if isinstance(model, str | Path) else model.config
    task = task or _task_of(model, config)
    if task not in _CLASSES:
        raise ValueError(f"probability_pipeline knows {', '.join(_CLASSES)}, got {task!r}")
    if isinstance(model, str | Path) and config.name_or_path != str(model):
        # An adapter: transformers' pipeline would give its base model a head of two classes (5.24).
        kwargs = {**dict.fromkeys(_PARTS[task], str(model)), **kwargs}
        model = _architecture(config).from_pretrained(str(model), config=config, **hub)
    model = str(model) if isinstance(model, Path) else model
    options = {} if task == "automatic-speech-recognition" else {"function_to_apply": "none"}
    made = pipeline(task, model=model, pipeline_class=_CLASSES[task], **options, **kwargs)  # type: ignore[call-overload]
    load_loss(made.model)
    return made


def _architecture(config: PreTrainedConfig) -> Any:
    names = config.architectures or []
    found = next((getattr(transformers, name, None) for name in names), None)
    if found is None:
        raise ValueError(f"no class of transformers is called {names[0] if names else None}: give the model itself")
    return found


def _task_of(model: str | Path | PreTrainedModel, config: PreTrainedConfig) -> str:
    if isinstance(model, str | Path):
        names = config.architectures or []
    else:
        names = [c.__name__ for c in type(base_model(model)).__mro__]
    task = task_of(names)
    if task is None:
        raise ValueError(f"no pipeline for {names[0] if names else model!r}: give task=")
    return task
