"""At the end of training: the number that makes probabilities right, fitted to held-out scores and folded in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import IterableDataset, Subset
from transformers import PreTrainedModel
from transformers.utils import logging

from hf_squareloss.config import base_model
from hf_squareloss.heads import Head, captured_frames
from hf_squareloss.inference import (
    LastLayer,
    ReliabilityCurve,
    calibrate,
    reliability_curve,
    reliability_diagram,
    shifts,
    unfold_calibration,
    unfoldable,
)
from hf_squareloss.losses import Loss
from hf_squareloss.training._parents import Parent

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object

logger = logging.get_logger(__name__)

_PICTURE = "reliability.png"
_ROWS = 5000  # T has a standard error of about one part in sqrt(rows)
_UTTERANCES = 500  # each has many frames
_SCORES = 2**25  # of all rows together; of a vocabulary's scores a few tokens of each row are taken


@dataclass(frozen=True, eq=False)
class Calibrated:
    """What the end of training found out beside the number itself.

    Attributes:
        layer: what saving multiplies by it; None in training, and where it stays beside the weights.
        curve: the reliability of the probabilities on the rows that it was fitted to, for the card's picture.
    """

    layer: LastLayer | None = None
    curve: ReliabilityCurve | None = None

    def saved(self, loss: Loss) -> Loss:
        """The loss as the config of the saved model has it."""
        return loss if self.layer is None else self.layer.folded_loss(loss)

    def of(self, loss: Loss | None) -> Calibrated:
        """This, where it is of a loss that is in use; of one without a calibration there is nothing to multiply by."""
        return Calibrated() if loss is None or loss.calibration is None else self

    def draw(self, folder: Path) -> str | None:
        """Write the reliability diagram into the folder, where matplotlib is installed; the file's name."""
        if self.curve is None or find_spec("matplotlib") is None:
            return None
        reliability_diagram(self.curve).savefig(folder / _PICTURE, dpi=150)
        return _PICTURE


class CalibrationMixin(_Trainer):
    """A Trainer whose kept model has calibrated probabilities, and is saved with them in its weights.

    In memory the model's scores stay the loss's own, here and in checkpoints.
    """

    _head: Head
    _loss: Loss
    _parent: Parent
    _plain_model: Any
    _calibrated = Calibrated()

    def _calibrate(self) -> None:
        """Take the calibration from at most 5,000 rows of the evaluation set, and find the layer to fold it into."""
        num_classes = self._head.num_classes
        if not getattr(self.args, "calibrate", True) or (num_classes == 1 and not self._head.multi_label):
            return
        rows = self.eval_dataset
        if isinstance(rows, Mapping):
            rows = next(iter(rows.values()), None)
        model: Any = self.model
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), self.compute_loss_context_manager():
                if rows is None:
                    self._calibrate_by_rule(num_classes)
                else:
                    self._calibrate_on(rows)
        except Exception as error:  # hidden labels, or whatever it is: hours of training must not be lost for it
            logger.warning_once(f"the model's probabilities are not calibrated: {type(error).__name__}: {error}")
        finally:
            model.train(was_training)
        if self._loss.calibration is not None:
            self._head.write(self._loss, self._parent.model_of(self._plain_model))

    def _calibrate_by_rule(self, num_classes: int | None) -> None:
        calibration = None if num_classes is None else self._loss.default_calibration(num_classes)
        if calibration is None or self.train_dataset is None:
            return
        calibration = replace(calibration, weights_undone=self._head.blank is None)
        self._loss = replace(self._loss, calibration=calibration)
        if type(self._parent) is not Parent or unfoldable(self._head) is not None:
            return
        few = _spread(self.train_dataset, self.args.eval_batch_size * self.args.world_size)
        for batch in self.get_test_dataloader(few):
            self._calibrated = Calibrated(self._find_layer(self._parent.inputs(self._prepare_inputs(batch))))
            break

    def _calibrate_on(self, rows: Any) -> None:
        items, example = self._items(rows)
        if not items or (items[0][0].shape[-1] == 1 and not self._loss.multi_label):  # nothing, or real values
            return
        same = _same_width(items, self._loss.ignore_index)
        scores, labels, *frames = (torch.cat(parts) for parts in zip(*same, strict=True))
        options = {"frames": frames[0], "blank": self._head.blank} if frames else {}
        self._loss = calibrate(self._loss, scores, labels, source="validation", **options)
        curve = None if frames else _curve(self._loss, scores, labels)
        self._calibrated = Calibrated(self._find_layer(example), curve)

    def _items(self, rows: Any) -> tuple[list[tuple[Tensor, ...]], Mapping[str, Any]]:
        """Scores with their labels, and CTC's frames, of some rows, the same in all processes; and the first batch."""
        limit, per_row = self._limits()
        items: list[tuple[Tensor, ...]] = []
        example: Mapping[str, Any] = {}
        for batch in self.get_test_dataloader(_spread(rows, limit)):
            batch = self._prepare_inputs(batch)
            given, inputs = self._parent.labels(batch), self._parent.inputs(batch)
            if given is None:
                return [], example
            example = example or inputs
            labels, _ = self._head.checked(self._loss, given)
            parts = self._of_one_width(self._batch_items(inputs, labels, per_row))
            gathered: Any = self.accelerator.gather_for_metrics(parts)
            items.append(tuple(part.cpu() for part in gathered))
            if sum(len(scores) for scores, *_ in items) >= limit or sum(s.numel() for s, *_ in items) >= _SCORES:
                break
        return items, example

    def _limits(self) -> tuple[int, int]:
        """How many rows, and of each how many labels at most, so that the scores fit into memory."""
        if self._head.blank is not None:
            return _UTTERANCES, 0
        num_classes = self._head.num_classes or 1
        rows = min(_ROWS, max(64, _SCORES // (16 * num_classes)))
        return rows, max(1, _SCORES // (rows * num_classes))

    def _batch_items(self, inputs: Mapping[str, Any], labels: Tensor, per_row: int) -> tuple[Tensor, ...]:
        """Of a batch in this process the scores with their labels, and CTC's frames."""
        frames: list[Tensor] = []
        if self._head.blank is not None:
            if self.args.n_gpu > 1:
                raise ValueError("DataParallel holds the frames of utterances elsewhere: start a process for each GPU")
            plain: Any = base_model(self._plain_model)
            with captured_frames(plain) as captured:
                self._parent.outputs(self.model_wrapped, inputs, labels=labels)
            scores, *frames = captured[-1]
        else:
            kept = {"labels": labels} if self._head.keeps_labels else {}
            outputs = self._parent.outputs(self.model_wrapped, inputs, **kept)
            scores, labels = self._head.scores_and_labels(outputs, labels)
        scores = scores.float()
        if scores.dim() == 3 and self._head.blank is None:  # tokens: those that count, spread over the row
            scores, labels = _tokens(scores, labels, per_row, self._loss.ignore_index)
        return scores, labels, *frames

    def _of_one_width(self, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Sequences padded to the longest of all processes; rows with one label or target as they are."""
        scores, labels, *frames = parts
        if scores.dim() < 3:
            return parts
        longest: Any = self.accelerator.pad_across_processes
        labels = longest(labels, dim=1, pad_index=self._loss.ignore_index)
        return longest(scores, dim=1), labels, *frames

    def _find_layer(self, inputs: Mapping[str, Any]) -> LastLayer | None:
        if not getattr(self.args, "fold_calibration", True):
            return None
        reason = unfoldable(self._head)
        if reason is None and not isinstance(base_model(self._parent.model_of(self._plain_model)), PreTrainedModel):
            reason = "it has no config, which would say so to whoever loads it"
        if reason is None and (type(self._parent) is not Parent or self.is_fsdp_enabled or self.args.n_gpu > 1):
            reason = "its weights are not here as one layer, or another package reads its scores"
        found: Any = reason
        if reason is None:
            found = LastLayer.of(
                self._plain_model,
                lambda: self._parent.outputs(self.model_wrapped, inputs)[self._head.scores],
                shifted=shifts(self._loss),
            )
        here = torch.tensor([isinstance(found, LastLayer)], device=self.args.device)
        everywhere: Any = self.accelerator.gather(here) if self.args.world_size > 1 else here
        if isinstance(found, str) and not (self._head.language_model or self._head.blank is not None):
            logger.warning_once(
                f"{type(self._plain_model).__name__} is saved with raw scores, its calibration beside them: {found}"
            )
        return found if isinstance(found, LastLayer) and everywhere.all() else None

    def call_model_init(self, trial: Any = None) -> Any:
        """A fresh model for `train`, raw before a checkpoint's raw weights are loaded into it."""
        model = super().call_model_init(trial)
        if "_parent" in vars(self):  # not when the Trainer is made: what is not trained is saved as it came
            unfold_calibration(self._parent.model_of(model))
        return model

    def _unfold(self, *, to_train: bool) -> None:
        """Before anything else: the weights as the loss knows them. What is not trained is saved as it came."""
        layer = unfold_calibration(self._parent.model_of(self._plain_model))
        if to_train or layer is not None:
            self._calibrated = Calibrated(None if to_train else layer)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Where all saving ends, that of checkpoints too (transformers 5.24 has no public place there).
        layer = self._calibrated.layer
        if layer is None:
            super()._save(output_dir, state_dict)
            return
        model = self._plain_model
        state = model.state_dict() if state_dict is None else state_dict
        with self._named_folded():
            super()._save(output_dir, {**state, **layer.state(model, self._loss)})

    @contextmanager
    def _named_folded(self) -> Iterator[None]:
        """Within, the model's config says what its saved weights are."""
        model = self._parent.model_of(self._plain_model)
        self._head.write(self._calibrated.saved(self._loss), model)
        try:
            yield
        finally:
            self._head.write(self._loss, model)


def _curve(loss: Loss, scores: Tensor, labels: Tensor) -> ReliabilityCurve | None:
    """Of the class that is predicted; with several classes at once, of the answer to each question."""
    p = loss.probabilities(scores)
    if loss.multi_label:
        p, labels = torch.stack([1.0 - p, p], -1).flatten(0, -2), labels.long().flatten()
    elif labels.is_floating_point():
        return None
    p, labels = p.reshape(-1, p.shape[-1]), labels.flatten()
    kept = labels != loss.ignore_index
    return reliability_curve(p[kept], labels[kept])


def _spread(rows: Any, limit: int) -> Any:
    """At most `limit` rows, spread evenly over all of them; a stream as it is."""
    if isinstance(rows, IterableDataset) or not hasattr(rows, "__len__") or len(rows) <= limit:
        return rows
    chosen = [i * len(rows) // limit for i in range(limit)]
    return rows.select(chosen) if hasattr(rows, "select") else Subset(rows, chosen)


def _tokens(scores: Tensor, labels: Tensor, limit: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Of each row at most `limit` of the labels that count, spread evenly, in front of what is ignored."""
    width = min(limit, labels.shape[1])
    kept = labels != ignore_index
    kept = kept.any(-1) if labels.dim() == 3 else kept  # distributions
    order = (~kept).int().argsort(dim=1, stable=True)
    counted = kept.sum(1, keepdim=True)
    at = torch.arange(width, device=labels.device)
    places = torch.where(counted > width, at * counted // width, at)
    chosen = order.gather(1, places)
    rows = torch.arange(len(labels), device=labels.device).unsqueeze(-1)
    return scores[rows, chosen], labels[rows, chosen]


def _same_width(items: list[tuple[Tensor, ...]], ignore_index: int) -> list[tuple[Tensor, ...]]:
    """Batches of one width: sequences padded, and of multiple choices those with as many as the first."""
    if items[0][0].dim() != 3:
        return [parts for parts in items if parts[0].shape[1:] == items[0][0].shape[1:]]
    frames, places = (max(parts[i].shape[1] for parts in items) for i in range(2))
    return [
        (
            pad(scores, (0, 0, 0, frames - scores.shape[1])),
            pad(labels, (0, 0) * (labels.dim() - 2) + (0, places - labels.shape[1]), value=ignore_index),
            *lengths,
        )
        for scores, labels, *lengths in items
    ]
