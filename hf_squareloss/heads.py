"""What a model's head expects: which scores belong to which labels. The only file that tells model families apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto as auto

from hf_squareloss.losses import Loss


def _names(mapping: Mapping[Any, Any]) -> set[str]:
    values = (v if isinstance(v, tuple | list) else (v,) for v in mapping.values())
    return {name for group in values for name in group}


_CAUSAL_LM = _names(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
_MASKED_LM = _names(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
_ENCODER_DECODER_LM = _names(auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES) | _names(
    auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
)
_CTC = _names(auto.MODEL_FOR_CTC_MAPPING_NAMES)
_MULTIPLE_CHOICE = _names(auto.MODEL_FOR_MULTIPLE_CHOICE_MAPPING_NAMES)


@dataclass(frozen=True)
class Head:
    """What a loss must know of a model's head.

    Attributes:
        num_classes: C where the config fixes it; None for multiple choice and for modules without a config.
        multi_label: the targets are one yes or no per class.
        shifts: score t belongs to label t + 1 (causal language models).
        keeps_labels: the model needs the labels itself, to build its decoder inputs.
        language_model: the classes are a vocabulary.
        task: the classification pipeline that this head has, as transformers and the Hub call it.
    """

    num_classes: int | None = None
    multi_label: bool = False
    shifts: bool = False
    keeps_labels: bool = False
    language_model: bool = False
    task: str | None = None

    @classmethod
    def of(cls, model: nn.Module) -> Head:
        """The head of `model` (a PEFT wrapper is looked through).

        Raises:
            ValueError: a CTC head, whose labels are not aligned with its scores.
        """
        model = base_model(model)
        if not isinstance(model, PreTrainedModel):
            return cls()
        # FSDP2 and users subclass: a head is known by any of its classes.
        names, config = {c.__name__ for c in type(model).__mro__}, model.config
        if names & _CTC:
            raise ValueError(
                f"{type(model).__name__}: CTC heads need a loss over alignments, which this release does not have"
            )
        if names & (_CAUSAL_LM | _MASKED_LM | _ENCODER_DECODER_LM):
            encoder_decoder = config.is_encoder_decoder
            return cls(
                num_classes=config.get_text_config().vocab_size,
                shifts=not names & _MASKED_LM and not encoder_decoder,
                keeps_labels=encoder_decoder,
                language_model=True,
            )
        if names & _MULTIPLE_CHOICE:
            return cls()
        saved = config.to_dict().get("hf_squareloss") or {}
        multi_label = config.problem_type == "multi_label_classification" or bool(saved.get("multi_label"))
        return cls(num_classes=config.num_labels, multi_label=multi_label, task=task_of(names))

    def fit(self, loss: Loss) -> Loss:
        """`loss` for this head: multi-label where the head is, parameters as numbers where C is known.

        Raises:
            ValueError: the loss cannot do this head's task.
        """
        if self.multi_label and not loss.multi_label:
            loss = replace(loss, multi_label=True)
        if self.num_classes is None:
            return loss
        loss = loss.resolve(self.num_classes)
        # One item of the right shape: a loss that cannot do this task says so now and not after the first batch.
        example = torch.zeros(1, self.num_classes)
        if loss.multi_label:
            loss(example, torch.zeros(1, self.num_classes))
        else:
            loss(example, torch.zeros(1, dtype=torch.float if self.num_classes == 1 else torch.long))
        return loss

    def scores_and_labels(self, outputs: Any, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The scores (..., C) of a model's outputs and the labels that belong to them."""
        if not isinstance(outputs, Mapping) or "logits" not in outputs:
            raise ValueError(
                "the model must return a dict-like output with `logits`: use return_dict=True "
                f"(got {type(outputs).__name__})"
            )
        scores = outputs["logits"]
        if self.num_classes not in (None, scores.shape[-1]):
            raise ValueError(
                f"the model's config says {self.num_classes} classes but its scores are {tuple(scores.shape)}: "
                "this kind of head is not supported"
            )
        return (scores[..., :-1, :], self.aligned(labels)) if self.shifts else (scores, labels)

    def aligned(self, labels: Tensor) -> Tensor:
        """The labels that have a score."""
        return labels[..., 1:] if self.shifts else labels

    def num_items(self, loss: Loss, labels: Tensor) -> Tensor:
        """The denominator that `labels` contribute to the mean: scalar. ValueError for labels out of range."""
        labels = self.aligned(labels)
        if self.num_classes not in (None, 1):
            loss.check_labels(labels, self.num_classes)
        return loss.item_weights(labels, self.num_classes).sum()


def task_of(class_names: Iterable[str]) -> str | None:
    """The classification task of a model with these class names, or None."""
    names = set(class_names)
    # Audio before text: its heads end in ForSequenceClassification too.
    for task, mapping in (
        ("audio-classification", auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES),
        ("image-classification", auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES),
        ("text-classification", auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES),
        ("token-classification", auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES),
    ):
        if names & _names(mapping):
            return task
    return None


def base_model(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT wrapper, or `model` itself."""
    from transformers.utils.import_utils import is_peft_available

    if is_peft_available():
        from peft import PeftModel

        if isinstance(model, PeftModel):
            return model.get_base_model()
    return model
