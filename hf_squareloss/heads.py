"""What a model's head expects: which scores belong to which labels. The only file that tells model families apart."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.auto import modeling_auto as auto

from hf_squareloss.losses import Loss, ctc_loss


def _names(mapping: Mapping[Any, Any]) -> set[str]:
    values = (v if isinstance(v, tuple | list) else (v,) for v in mapping.values())
    return {name for group in values for name in group}


_CAUSAL_LM = _names(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
# Those whose forward takes labels as they stand, "not shifted inside the model" (5.24): the caller shifts them.
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
_SPEECH = "automatic-speech-recognition"
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
        (_SPEECH, "AutoModelForCTC", auto.MODEL_FOR_CTC_MAPPING_NAMES),
        (_SPEECH, "AutoModelForSpeechSeq2Seq", auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES),
    )
)
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
        blank: CTC's blank, in a model whose labels are not aligned with its scores: its loss is one per utterance.
        task: the pipeline that this head has, as transformers and the Hub call it.
        auto_class: the transformers class that loads such a model.
    """

    num_classes: int | None = None
    multi_label: bool = False
    shifts: bool = False
    keeps_labels: bool = False
    language_model: bool = False
    blank: int | None = None
    task: str | None = None
    auto_class: str = "AutoModel"

    @classmethod
    def of(cls, model: nn.Module) -> Head:
        """The head of `model` (a PEFT wrapper is looked through)."""
        model = base_model(model)
        if not isinstance(model, PreTrainedModel):
            return cls()
        # FSDP2 and users subclass: a head is known by any of its classes.
        names, config = {c.__name__ for c in type(model).__mro__}, model.config
        task, auto_class = _task_and_auto_class(names)
        if is_ctc(type(model)):
            blank = config.to_dict().get("blank_token_id", config.pad_token_id)  # OmniASR has both
            return cls(
                num_classes=config.vocab_size,
                keeps_labels=True,
                blank=blank,
                task=_SPEECH,
                auto_class="AutoModelForCTC",
            )
        if names & (_CAUSAL_LM | _MASKED_LM | _ENCODER_DECODER_LM):
            encoder_decoder = config.is_encoder_decoder
            return cls(
                num_classes=config.get_text_config().vocab_size,
                shifts=not names & (_MASKED_LM | _UNSHIFTED_LM) and not encoder_decoder,
                keeps_labels=encoder_decoder,
                language_model=True,
                task=task,
                auto_class=auto_class,
            )
        if names & _MULTIPLE_CHOICE:
            return cls()
        saved = config.to_dict().get("hf_squareloss") or {}
        multi_label = config.problem_type == "multi_label_classification" or bool(saved.get("multi_label"))
        return cls(num_classes=config.num_labels, multi_label=multi_label, task=task, auto_class=auto_class)

    def fit(self, loss: Loss) -> Loss:
        """`loss` for this head: multi-label where the head is, parameters as numbers where C is known.

        Raises:
            ValueError: the loss cannot do this head's task.
        """
        if self.multi_label and not loss.multi_label:
            loss = replace(loss, multi_label=True)
        if loss.ctc_tau != "auto" and self.blank is None:
            raise ValueError(f"ctc_tau={loss.ctc_tau} would be ignored: this model has no CTC head")
        if self.num_classes is None:
            return loss
        if self.blank is not None:
            loss, one = loss.for_ctc(self.num_classes, self.blank), torch.ones(1, dtype=torch.long)
            ctc_loss(torch.zeros(1, 1, self.num_classes), one.new_zeros(1, 0), one, loss=loss, blank=self.blank)
            return loss
        loss = loss.resolve(self.num_classes)
        # One item of the right shape: a loss that cannot do this task says so now and not after the first batch.
        example = torch.zeros(1, self.num_classes)
        if loss.multi_label:
            loss(example, torch.zeros(1, self.num_classes))
        else:
            loss(example, torch.zeros(1, dtype=torch.float if self.num_classes == 1 else torch.long))
        return loss

    @contextmanager
    def computing(self, loss: Loss, model: nn.Module) -> Iterator[None]:
        """Within, a CTC model's forward with labels gives `loss` per utterance, (B,), as its own loss.

        Each family finds the frames of an utterance in its own way and hands them to `loss_function` (5.23, all
        *ForCTC), so that is where the loss must be. Other heads: nothing happens.
        """
        model = base_model(model)
        if self.blank is None or not isinstance(model, PreTrainedModel):
            yield
            return
        before = model.__dict__.get("_loss_function")
        model.loss_function = _UtteranceLoss(loss)
        try:
            yield
        finally:
            if before is None:
                del model._loss_function
            else:
                model.loss_function = before

    def total(self, loss: Loss, outputs: Any, labels: Tensor) -> Tensor:
        """The sum of `loss` over the items, scalar, from the outputs of a forward within `computing`."""
        scores, labels = self.scores_and_labels(outputs, labels)
        return loss.total(scores, labels) if self.blank is None else outputs["loss"].sum()

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
        """The denominator that `labels` contribute to the mean: scalar."""
        if self.blank is not None:
            return torch.tensor(float(len(labels)), device=labels.device)
        return loss.total_weight(self.aligned(labels), self.num_classes)

    def check_labels(self, loss: Loss, labels: Tensor) -> None:
        """ValueError for labels out of range, on any device."""
        if self.num_classes not in (None, 1):
            loss.check_labels(self.aligned(labels), self.num_classes)


@dataclass(frozen=True)
class _UtteranceLoss:
    """What stands in for a CTC model's `loss_function`; equal for equal losses, so that compiled code is kept.

    One convention for every family, whatever the config's ctc_loss_reduction and ctc_zero_infinity say: a value per
    utterance, not divided by any length, and zero where no alignment exists.
    """

    loss: Loss

    def __call__(self, logits: Tensor, labels: Tensor, logit_lengths: Tensor, blank_token_id: int, **_: Any) -> Tensor:
        return ctc_loss(logits, labels, logit_lengths, loss=self.loss, blank=blank_token_id, zero_infinity=True)


def is_ctc(model_class: type) -> bool:
    """Whether a class, or one it derives from, is a CTC model as transformers names them."""
    return any(c.__name__.endswith("ForCTC") for c in model_class.__mro__)


def task_of(class_names: Iterable[str]) -> str | None:
    """The pipeline task of a model with these class names, or None."""
    return _task_and_auto_class(set(class_names))[0]


def _task_and_auto_class(names: set[str]) -> tuple[str | None, str]:
    return next(((task, auto_class) for task, auto_class, known in _TASKS if names & known), (None, "AutoModel"))


def base_model(model: nn.Module) -> nn.Module:
    """The transformers model inside a PEFT wrapper, or `model` itself."""
    # Who made a PeftModel has imported it; asking transformers reads files each time.
    peft: Any = sys.modules.get("peft")
    return peft.PeftModel.get_base_model(model) if peft and isinstance(model, peft.PeftModel) else model
