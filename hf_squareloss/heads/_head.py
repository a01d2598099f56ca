"""What a model's head expects: which scores belong to which labels."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from hf_squareloss.config import base_model, own_config, saved_entry, virtual_tokens, write_adapter, write_loss
from hf_squareloss.heads._ctc import UNALIGNED, utterance_loss
from hf_squareloss.heads._families import (
    auto_class_of,
    blank_of,
    class_names,
    is_ctc,
    is_language_model,
    is_multiple_choice,
    refuse_head,
    scores_name,
    shifts_labels,
    task_of,
)
from hf_squareloss.losses import Loss, ctc_loss, may_read, refuse, refuse_distributions, widened

logger = logging.get_logger(__name__)


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
        scores: what the model calls its scores.
    """

    num_classes: int | None = None
    multi_label: bool = False
    shifts: bool = False
    keeps_labels: bool = False
    language_model: bool = False
    blank: int | None = None
    task: str | None = None
    auto_class: str = "AutoModel"
    scores: str = "logits"

    @classmethod
    def of(cls, model: nn.Module) -> Head:
        """The head of `model` (a PEFT wrapper is looked through).

        Raises:
            ValueError: a head whose scores are not one row for each label (transducers, codebooks, answers' places,
                tokens of prompt tuning), or are several real values.
        """
        saved, wrapper, model = saved_entry(model), model, base_model(model)
        if not isinstance(model, PreTrainedModel):
            return cls()
        refuse_head(type(model))
        names, config = class_names(type(model)), model.config
        task, auto_class = task_of(names), auto_class_of(type(model))
        if virtual_tokens(wrapper) and not config.is_encoder_decoder and task != "text-classification":
            raise ValueError(
                "prompt tuning puts tokens without labels before the text, so that scores and labels are no longer "
                "as many: take LoRA or prefix tuning"
            )
        if is_ctc(type(model)):
            return cls(
                num_classes=config.vocab_size,
                keeps_labels=True,
                blank=blank_of(config),
                task=task or "automatic-speech-recognition",
                auto_class=auto_class,
            )
        if is_language_model(names):
            return cls(
                num_classes=config.get_text_config().vocab_size,
                shifts=shifts_labels(names, config),
                keeps_labels=config.is_encoder_decoder,
                language_model=True,
                task=task,
                auto_class=auto_class,
            )
        if is_multiple_choice(names):
            return cls(task=task, auto_class=auto_class)
        if config.problem_type == "regression" and (config.num_labels or 0) > 1 and saved is None:
            raise ValueError(
                f"a regression of {config.num_labels} values (problem_type in the config) is not supported: "
                "num_labels=1 is; or take a loss on the scores in a compute_loss of your own. For classes, set "
                "problem_type to None"
            )
        return cls(
            num_classes=config.num_labels,
            multi_label=_is_multi_label(model, saved, of_tokens=task == "token-classification"),
            task=task,
            auto_class=auto_class,
            scores=scores_name(names),
        )

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

    def fit_saved(self, loss: Loss) -> Loss:
        """As `fit`, of a loss that a model was trained with: what its scores mean is not to be asked for anew.

        Raises:
            ValueError: also where it was trained for single labels and this head is for several at once, or so.
        """
        if loss.multi_label != self.multi_label:
            kinds = ("one class for each example", "several classes at once")
            raise ValueError(
                f"{loss} is of {kinds[loss.multi_label]}, and problem_type asks for {kinds[self.multi_label]}"
            )
        return self.fit(loss)

    def write(self, loss: Loss, model: nn.Module) -> None:
        """Write `loss` into the model's config, where it has one, and into those of its adapters."""
        base = base_model(model)
        if isinstance(base, PreTrainedModel):
            plain = not self.language_model and self.blank is None
            own_config(model)
            write_loss(base.config, loss, num_classes=self.num_classes if plain else None)
            write_adapter(model)

    def computing(self, loss: Loss, model: nn.Module, *, checked: bool = False) -> AbstractContextManager[None]:
        """Within, a CTC model's forward with labels gives `loss` per utterance, (B,); others are as ever.

        Args:
            checked: the labels are right: nothing need be read from an accelerator to see that.
        """
        model = base_model(model)
        if self.blank is None or not isinstance(model, PreTrainedModel):
            return nullcontext()
        return utterance_loss(model, loss, checked=checked)

    def total(self, loss: Loss, outputs: Any, labels: Tensor) -> Tensor:
        """The sum of `loss` over the items, scalar, from the outputs of a forward within `computing`."""
        scores, labels = self.scores_and_labels(outputs, labels)
        if self.blank is None:
            return loss.total(scores, labels)
        return torch.where(self.unaligned(outputs), 0.0, outputs["loss"]).sum()

    def unaligned(self, outputs: Any) -> Tensor:
        """(B,) whether an utterance has fewer frames than its labels need, and so no loss; within `computing`."""
        return outputs["loss"] == UNALIGNED

    def warn_unaligned(self) -> None:
        """Once, what such utterances come from and what to do about them."""
        logger.warning_once(
            "utterances have fewer frames than their labels need (one for each, and one between equal neighbours): "
            "their loss is 0 and nothing is learnt from them. Leave them out (hf_squareloss.heads.ctc_frames tells a "
            "model's frames from the lengths of its inputs), or correct their labels or audio"
        )

    def scores_and_labels(self, outputs: Any, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The scores (..., C) of a model's outputs and the labels that belong to them."""
        if not isinstance(outputs, Mapping):
            raise ValueError(
                f"the model must return a mapping with `logits`, which are the scores of the classes, and returned a "
                f"{type(outputs).__name__}: return_dict=True makes a transformers model do so; a module of your own "
                'returns {"logits": scores}'
            )
        if self.scores not in outputs:
            raise ValueError(
                f"the model's outputs have no `{self.scores}`, which are the scores of the classes: "
                f"a {type(outputs).__name__} with {', '.join(outputs) or 'nothing in it'}"
            )
        scores = outputs[self.scores]
        if self.num_classes not in (None, scores.shape[-1]):
            raise ValueError(
                f"the model's config says {self.num_classes} classes but its scores are {tuple(scores.shape)}: make "
                "its num_labels that of a head of your own; a head with other scores is not supported"
            )
        if self.num_classes is None and scores.shape[-1] == 1 and labels.dim() > 1 and labels.shape[-1] != 1:
            raise ValueError(
                f"one real-valued score (C = 1) of a module without a config needs labels of shape (B,) or (..., 1) "
                f"for scores {tuple(scores.shape)}, got {tuple(labels.shape)}: what they count could not be told"
            )
        rows, classes = scores.shape[:1], scores.shape[::2]
        if scores.dim() == 3 and scores.shape[1] == 1 and labels.shape in (rows, classes):
            scores = scores.squeeze(1)  # VideoPrism's (B, 1, C): one row for each example (transformers 5.24)
        return (scores[..., :-1, :], self.aligned(labels)) if self.shifts else (scores, labels)

    def aligned(self, labels: Tensor) -> Tensor:
        """The labels that have a score; floating ones are distributions (B, T, C)."""
        if not self.shifts:
            return labels
        return labels[..., 1:, :] if labels.is_floating_point() else labels[..., 1:]

    def num_items(self, loss: Loss, labels: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
        """The denominator that `labels` contribute to the mean: scalar; weights are summed in `dtype`."""
        if self.blank is not None:
            return torch.full((), float(len(labels)), device=labels.device)
        num_classes = self.num_classes
        if num_classes is None and labels.is_floating_point() and (labels.dim() == 1 or labels.shape[-1] == 1):
            num_classes = 1  # real values of a module without a config: no distribution is over one class
        return loss.total_weight(self.aligned(labels), num_classes, dtype=dtype)

    def checked(self, loss: Loss, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """The labels with ignore_index in place of wrong ones, and which are wrong; None where they cannot be.

        Wrong are labels that are no class, a blank among the labels of an utterance, and rows of floating targets that
        are no distribution. No value is read from an accelerator: `refuse_wrong` says what is wrong with them once
        somebody has looked.
        """
        labels = widened(labels)
        if self.num_classes is None or (self.num_classes == 1 and not loss.multi_label):
            return labels, None
        if self.blank is None and not self.keeps_labels and may_read(labels):  # there the loss looks and refuses
            return labels, None
        if loss.multi_label or labels.is_floating_point():
            return labels, None if may_read(labels) else loss.wrong_targets(self.aligned(labels))
        if labels.dtype == torch.bool:  # which the loss refuses
            return labels, None
        wrong = loss.wrong_labels(labels, self.num_classes)
        if self.blank is not None:
            wrong = wrong | ((labels == self.blank) & (self.blank != loss.ignore_index))
        return torch.where(wrong, loss.ignore_index, labels), self.aligned(wrong)

    def refuse_wrong(self, loss: Loss, labels: Tensor, wrong: Tensor) -> None:
        """ValueError with the first label that `checked` found wrong."""
        classes = f"[0, {self.num_classes})"
        if loss.multi_label or labels.is_floating_point():
            kind = {"multi_label": loss.multi_label, "ignore_index": loss.ignore_index}
            refuse_distributions(self.aligned(labels), **kind)
        elif self.blank is None:
            refuse(self.aligned(labels), wrong, classes)
        else:
            refuse(labels, wrong, f"{classes} without the blank ({self.blank})", row="utterance")


def _is_multi_label(model: PreTrainedModel, saved: Any, *, of_tokens: bool) -> bool:
    """Whether the config's `problem_type` says so, which heads of tokens do not heed, or the loss of this very head.

    A model that was saved with another head (`architectures`) says nothing of this one by its loss.
    """
    config = model.config
    if config.problem_type == "multi_label_classification" and not of_tokens:
        return True
    its_own = not config.architectures or type(model).__name__ in config.architectures
    says_so = isinstance(saved, Mapping) and saved.get("multi_label") is True  # the rest is checked by loss_from_dict
    return its_own and says_so and config.problem_type != "single_label_classification"
