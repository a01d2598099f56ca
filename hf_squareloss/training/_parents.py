"""The trainers that `LossSelectionMixin` can stand before: where they keep labels, how they run their models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from transformers import Trainer
from transformers.utils import logging

from hf_squareloss.heads import Head
from hf_squareloss.losses import Loss

logger = logging.get_logger(__name__)


class Parent:
    """A Trainer whose batches are the model's inputs and labels, as transformers' own.

    Args:
        trainer: the trainer, constructed.
    """

    def __init__(self, trainer: Trainer) -> None:
        found = trainer.label_names or ["labels"]  # none: a model that takes labels by **kwargs alone
        # Of several, `labels` are those of the scores that are `logits`: Head refuses models of which that is not true.
        names = ["labels"] if "labels" in found and trainer.args.label_names is None else found
        if len(names) > 1:
            raise ValueError(
                f"the loss needs one label for each score, but this model has {len(names)}: {', '.join(names)}. "
                "Give label_names=[NAME] in the arguments if one of them is meant"
            )
        trainer.label_names = names
        self.label_name, self._ignored = names[0], set(found) - set(names)

    def model_of(self, model: nn.Module) -> nn.Module:
        """The transformers model in what is trained."""
        return model

    def head_of(self, model: nn.Module) -> Head:
        """Its head."""
        return Head.of(self.model_of(model))

    def labels(self, batch: Mapping[str, Any]) -> Tensor | None:
        """The labels of a batch; None where it has none."""
        return batch.get(self.label_name)

    def inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What the model gets, without labels. ValueError for labels of a loss that would not be computed."""
        if ignored := self._ignored & batch.keys():
            raise ValueError(
                f"{', '.join(sorted(ignored))} would be ignored: the loss is of `{self.label_name}` alone. Take them "
                "out of the data"
            )
        return {name: value for name, value in batch.items() if name != self.label_name}

    def outputs(self, model: Any, inputs: Mapping[str, Any], **labels: Any) -> Any:
        """The model's outputs, with `logits`."""
        return model(**inputs, **labels)

    def fit_reading(self, model: nn.Module, loss: Loss) -> None:
        """Let what the model itself makes of its scores be right for `loss`."""


class SFTParent(Parent):
    """trl's SFTTrainer (1.16). Its compute_loss is cross-entropy, and measures token accuracy and entropy beside it."""

    def __init__(self, trainer: Trainer) -> None:
        super().__init__(trainer)
        args: Any = trainer.args
        if args.loss_type != "nll":
            raise ValueError(f"loss_type={args.loss_type!r} would be ignored: the loss is the one given by `loss=`")
        logger.warning_once(
            "SFTTrainer's cross-entropy is replaced by the loss given by `loss=`; its metrics entropy, "
            "mean_token_accuracy and num_tokens are not computed, since they need the scores of all tokens"
        )


class CrossEncoderParent(Parent):
    """sentence-transformers' CrossEncoderTrainer (6.2): columns of texts and `label`, scored pair by pair.

    With num_labels = 1 the score answers yes or no, with a label in [0, 1], as in its own default loss.
    """

    def __init__(self, trainer: Trainer) -> None:
        model: Any = trainer.model
        self._trainer, self.label_name, self._one_score = trainer, "label", model.num_labels == 1

    def labels(self, batch: Mapping[str, Any]) -> Tensor | None:
        labels = super().labels(batch)
        return labels if labels is None or not self._one_score else labels.float().view(-1, 1)

    def model_of(self, model: nn.Module) -> nn.Module:
        found: Any = model
        return found.model

    def head_of(self, model: nn.Module) -> Head:
        head = super().head_of(model)
        return replace(head, multi_label=True) if head.num_classes == 1 else head

    def inputs(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in batch.items() if name not in (self.label_name, "dataset_name")}
        options = {name: kept.pop(name) for name in ("prompt", "task") if name in kept}
        return {"pairs": list(zip(*kept.values(), strict=True)), **options}

    def outputs(self, model: Any, inputs: Mapping[str, Any], **labels: Any) -> Any:
        plain: Any = self._trainer.model  # without what Accelerate or torch.compile put around it
        tokens = plain.preprocess(inputs["pairs"], prompt=inputs.get("prompt"), task=inputs.get("task"))
        tokens = {k: v.to(plain.device) if isinstance(v, Tensor) else v for k, v in tokens.items()}
        return {"logits": model(tokens)["scores"]}

    def fit_reading(self, model: nn.Module, loss: Loss) -> None:
        if not loss.scores_are_logits:
            found: Any = model
            found.activation_fn = nn.Identity()  # else `predict` would take the sigmoid of a score that is none


_KNOWN: dict[str, type[Parent]] = {
    "trl.trainer.sft_trainer.SFTTrainer": SFTParent,
    "sentence_transformers.cross_encoder.trainer.CrossEncoderTrainer": CrossEncoderParent,
}


def parent_class(trainer_class: type, mixin: type) -> type[Parent]:
    """What the mixin must know of the trainer it stands before.

    Raises:
        ValueError: it stands before no Trainer of transformers, or before one whose own compute_loss is another loss.
    """
    bases = trainer_class.__mro__[trainer_class.__mro__.index(mixin) + 1 :]
    if Trainer not in bases:
        raise ValueError(
            f"{trainer_class.__name__}: {mixin.__name__} must stand before a Trainer of transformers among the bases, "
            f"which {', '.join(base.__name__ for base in trainer_class.__bases__)} are not"
        )
    owner = next(base for base in bases if "compute_loss" in vars(base))
    if owner is Trainer:
        return Parent
    name = f"{owner.__module__}.{owner.__qualname__}"
    if name not in _KNOWN:
        raise ValueError(
            f"{owner.__name__}.compute_loss computes a loss of its own, which would not be used: the loss is the one "
            "given by `loss=`. Class weights and label smoothing are parameters of a loss; what else compute_loss "
            f"does belongs into a subclass of yours, after `super().compute_loss(...)`, with {mixin.__name__} before "
            "the plain Trainer"
        )
    return _KNOWN[name]
