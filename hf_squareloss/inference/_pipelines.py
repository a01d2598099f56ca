"""Pipelines whose scores are probabilities, whichever loss the model was trained with."""

from __future__ import annotations

from typing import Any

from transformers import (
    AudioClassificationPipeline,
    AutoConfig,
    AutomaticSpeechRecognitionPipeline,
    ImageClassificationPipeline,
    Pipeline,
    PreTrainedModel,
    TextClassificationPipeline,
    pipeline,
)

from hf_squareloss.config import base_model, load_loss
from hf_squareloss.heads import is_ctc, task_of
from hf_squareloss.inference._generation import log_probabilities, probability_generation


class _Text(TextClassificationPipeline):
    def _forward(self, model_inputs: Any) -> Any:
        return _with_probabilities(self, super()._forward(model_inputs))


class _Image(ImageClassificationPipeline):
    def _forward(self, model_inputs: Any) -> Any:
        return _with_probabilities(self, super()._forward(model_inputs))


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
    outputs["logits"] = load_loss(pipe.model).probabilities(outputs["logits"])
    return outputs


_CLASSES: dict[str, type[Pipeline]] = {
    "text-classification": _Text,
    "image-classification": _Image,
    "audio-classification": _Audio,
    "automatic-speech-recognition": _Speech,
}


def probability_pipeline(model: str | PreTrainedModel, task: str | None = None, **kwargs: Any) -> Pipeline:
    """A transformers pipeline that works with the probabilities that the model's own loss implies.

    In classification `score` is that probability. In speech recognition the beam search of an encoder-decoder, and a
    decoder with a language model behind a CTC model, see its logarithm (a CTC model alone needs neither: the largest
    raw score is right).

    Args:
        model: a Hub name, a folder, or a model, saved by a trainer of ours or with `attach_loss`.
        task: "text-classification", "image-classification", "audio-classification" or "automatic-speech-recognition";
            None reads it from the model.
        kwargs: passed to `transformers.pipeline` (tokenizer, top_k, device, token, ...).

    Raises:
        ValueError: another task, or a model whose config names no loss.

    Example:
        >>> classify = probability_pipeline("user/name", top_k=None)  # doctest: +SKIP
        >>> classify("A fine film.")  # doctest: +SKIP
        [[{'label': 'positive', 'score': 0.97}, {'label': 'negative', 'score': 0.03}]]
    """
    task = task or _task_of(model, kwargs)
    if task not in _CLASSES:
        raise ValueError(f"probability_pipeline knows {', '.join(_CLASSES)}, got {task!r}")
    options = {} if task == "automatic-speech-recognition" else {"function_to_apply": "none"}
    made = pipeline(task, model=model, pipeline_class=_CLASSES[task], **options, **kwargs)  # type: ignore[call-overload]
    load_loss(made.model)
    return made


def _task_of(model: str | PreTrainedModel, kwargs: dict[str, Any]) -> str:
    if isinstance(model, str):
        hub = {key: kwargs[key] for key in ("revision", "token", "trust_remote_code") if key in kwargs}
        names = AutoConfig.from_pretrained(model, **hub).architectures or []
    else:
        names = [c.__name__ for c in type(base_model(model)).__mro__]
    task = task_of(names)
    if task is None:
        raise ValueError(f"no pipeline for {names[0] if names else model!r}: give task=")
    return task
