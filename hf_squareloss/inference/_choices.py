"""A pipeline for multiple choice, which transformers does not have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForMultipleChoice, AutoTokenizer, Pipeline, PreTrainedModel

from hf_squareloss.config import load_loss


class MultipleChoicePipeline(Pipeline):
    """From {"context": text, "choices": [text, ...]} to the probability of each choice, by the model's own loss.

    The answer is a list of {"label": choice, "score": probability} in the order of the choices; the scores sum to one.
    There may be any number of choices.
    """

    _load_processor = False  # which parts a pipeline loads (transformers 5.24)
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        if kwargs:
            raise ValueError(f"{next(iter(kwargs))} would be ignored: multiple choice takes no such argument")
        return {}, {}, {}

    def preprocess(self, inputs: Mapping[str, Any], **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
        choices, tokenizer = list(inputs["choices"]), self.tokenizer
        assert tokenizer is not None
        contexts = [inputs["context"]] * len(choices)
        encoded = tokenizer(contexts, choices, truncation=True, padding=True, return_tensors="pt")
        return {"choices": choices, **{name: values.unsqueeze(0) for name, values in encoded.items()}}

    def _forward(self, input_tensors: dict[str, Any], **kwargs: Any) -> Any:
        choices = input_tensors.pop("choices")
        return {"choices": choices, "logits": self.model(**input_tensors)["logits"]}

    def postprocess(self, model_outputs: dict[str, Any], **kwargs: Any) -> list[dict[str, Any]]:
        scores = load_loss(self.model).probabilities(model_outputs["logits"][0].float())
        return [
            {"label": choice, "score": score}
            for choice, score in zip(model_outputs["choices"], scores.tolist(), strict=True)
        ]


def choice_pipeline(
    model: str | Path | PreTrainedModel, config: Any, *, tokenizer: Any = None, **kwargs: Any
) -> MultipleChoicePipeline:
    """The pipeline of a model, or of its name with its config; `kwargs` are as for `transformers.pipeline`."""
    hub = {name: kwargs.pop(name) for name in ("revision", "token", "trust_remote_code") if name in kwargs}
    loaded: Any = model
    if isinstance(model, str | Path):
        tokenizer = str(model) if tokenizer is None else tokenizer
        loaded = AutoModelForMultipleChoice.from_pretrained(str(model), config=config, dtype=torch.float32, **hub)
    if isinstance(tokenizer, str):
        tokenizer = AutoTokenizer.from_pretrained(tokenizer, **hub)
    if tokenizer is None:
        raise ValueError("give the model's tokenizer: tokenizer=...")
    return MultipleChoicePipeline(model=loaded, tokenizer=tokenizer, **kwargs)
