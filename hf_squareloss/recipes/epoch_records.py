"""What validation and test measure at every evaluation of a training, in a file: the curves of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from transformers import EvalPrediction, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_squareloss.inference import calibrate, calibration_metrics
from hf_squareloss.losses import Loss
from hf_squareloss.recipes.run_files import EPOCHS, read_object, write_object
from hf_squareloss.training import LossSelectionMixin

if TYPE_CHECKING:
    from datasets import Dataset

BINS = 15
_TIMINGS = ("runtime", "per_second", "model_preparation_time")


class EpochRecords(TrainerCallback):
    """Evaluates validation and, where its labels are known, test, and keeps what they measure in epochs.json.

    Its `epochs` are a list with one entry per evaluation: `epoch`; `validation` and `test`, metric -> value;
    `reliability`, split -> `equal_mass_bins` of the loss's own probabilities where an item has one class; `seconds`
    that the evaluation took. `calibrated_ece` and so on are those of the probabilities that the model would be saved
    with: by the number that `calibrate` finds on validation, where it flatters, for both splits. A run that goes on
    keeps the entries up to its checkpoint, and makes the evaluation again that came after it.

    Args:
        trainer: with its `compute_metrics`; its eval_dataset becomes both splits.
        splits: encoded, among them validation.

    Raises:
        ValueError: nothing would be evaluated.
    """

    def __init__(self, trainer: Trainer, splits: Mapping[str, Dataset]) -> None:
        if trainer.args.eval_strategy == "no" or "validation" not in splits:
            raise ValueError("record_epochs needs a validation split and an --eval_strategy, such as epoch")
        labelled = set(splits["validation"][0])  # rows need not be a Dataset
        names = [name for name in ("validation", "test") if name in splits]
        known = {name: splits[name] for name in names if labelled <= set(splits[name][0])}
        trainer.eval_dataset = known  # type: ignore[assignment]
        self.trainer, self.measure = trainer, trainer.compute_metrics
        self.last = list(known)[-1]
        self.curve: dict[str, list[Any]] | None = None
        self.calibrated: Loss | None = None  # by the validation split of the evaluation under way
        trainer.compute_metrics = self._measure if self.measure else None
        self.entries: list[dict[str, Any]] = []
        self.overdue = False  # the evaluation at the checkpoint that the run goes on from

    @property
    def path(self) -> Path:
        return Path(self.trainer.args.output_dir or ".", EPOCHS)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        earlier = read_object(self.path).get("epochs", []) if state.global_step else []
        self.entries = [entry for entry in earlier if entry["epoch"] <= (state.epoch or 0)]
        # By the files that the first process sees.
        (self.overdue,) = broadcast_object_list([self._is_overdue(state)])
        if self.overdue and state.global_step >= state.max_steps:
            self._catch_up(state)  # no step follows

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.overdue:  # only now: at its first batch the Trainer takes up the checkpoint's random state (5.24)
            self._catch_up(state)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        found: Mapping[str, float] = kwargs["metrics"]
        split = next((n for n in ("validation", "test") if any(m.startswith(f"eval_{n}_") for m in found)), None)
        if split is None or state.epoch is None or self._ends_early(state):
            return
        if not self.entries or self.entries[-1]["epoch"] != state.epoch:
            self.entries.append({"epoch": state.epoch, "reliability": {}, "seconds": 0.0})
        values = {name.removeprefix(f"eval_{split}_"): value for name, value in found.items() if name != "epoch"}
        entry = self.entries[-1]
        entry["seconds"] += values.get("runtime", 0.0)
        entry[split] = {name: value for name, value in values.items() if not name.endswith(_TIMINGS)}
        entry["reliability"][split], self.curve = self.curve, None
        if split == self.last:
            self.calibrated = None
        if state.is_world_process_zero:
            write_object(self.path, {"epochs": self.entries})

    def _is_overdue(self, state: TrainerState) -> bool:
        """Whether the checkpoint is older than the evaluation at its step, as with save_strategy steps."""
        args, epoch = self.trainer.args, state.epoch or 0.0
        due = args.eval_strategy == "epoch" and args.eval_delay <= epoch and not self._ends_early(state)
        if not state.global_step or not due:
            return False
        made = any(f"eval_{self.last}_runtime" in line and line["epoch"] == epoch for line in state.log_history)
        kept = any(self.last in entry and entry["epoch"] == epoch for entry in self.entries)
        ended = state.global_step >= state.max_steps and (self.path.parent / "train_results.json").exists()
        return not made and not (kept and ended)

    def _catch_up(self, state: TrainerState) -> None:
        self.overdue = False
        self.entries = [entry for entry in self.entries if entry["epoch"] != state.epoch]
        # As where training evaluates (transformers 5.24): a scheduler that follows a metric takes its step.
        self.trainer._determine_best_metric(self.trainer._evaluate(None, None), None)

    def _ends_early(self, state: TrainerState) -> bool:
        """A run that a signal ends in the middle of an epoch is evaluated there too (transformers 5.24)."""
        by_epoch = self.trainer.args.eval_strategy == "epoch" and state.global_step < state.max_steps
        return by_epoch and abs((state.epoch or 0) - round(state.epoch or 0)) > 1e-6

    def _measure(self, prediction: EvalPrediction, *args: Any, **kwargs: Any) -> dict[str, float]:
        assert self.measure is not None and isinstance(self.trainer, LossSelectionMixin)
        found = self.measure(prediction, *args, **kwargs)
        pair = _classes(prediction)
        if pair is None:
            return found
        scores, labels = pair
        loss = self.trainer.selected_loss
        self.curve = equal_mass_bins(loss.probabilities(scores).numpy(), labels.numpy())
        self.calibrated = self.calibrated or calibrate(loss, scores, labels, source="validation")
        measured = calibration_metrics(self.calibrated.probabilities(scores), labels)
        return found | {f"calibrated_{name}": value for name, value in measured.items()}


def equal_mass_bins(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> dict[str, list[Any]]:
    """Mean confidence, share of right predictions and number of items in bins of equally many items.

    Items are sorted by max_c p_c and cut into `bins` parts, whose sizes differ by one at most; where there are fewer
    items than bins, each is a bin.

    Args:
        probabilities: (N, C), rows that sum to one.
        labels: (N,) integers in [0, C).

    Returns:
        confidence, accuracy and count, of min(bins, N) values each, the least confident bin first.

    Source: Nguyen & O'Connor, Posterior calibration and exploratory analysis for NLP models, EMNLP 2015, section 3.

    Example:
        >>> equal_mass_bins(np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([1, 0]), bins=2)
        {'confidence': [0.5, 0.75], 'accuracy': [1.0, 0.0], 'count': [1, 1]}
    """
    confidence, right = probabilities.max(-1), probabilities.argmax(-1) == labels
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]
    return {
        "confidence": [float(confidence[part].mean()) for part in parts],
        "accuracy": [float(right[part].mean()) for part in parts],
        "count": [len(part) for part in parts],
    }


def _classes(prediction: EvalPrediction) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Scores (N, C) and labels (N,) where items have scores of two classes or more, and one class; else None."""
    scores: Any = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    labels: Any = prediction.label_ids
    if not (isinstance(scores, np.ndarray) and isinstance(labels, np.ndarray) and np.isfinite(scores).all()):
        return None
    if scores.ndim != 2 or scores.shape[1] < 2 or labels.shape != scores.shape[:1] or labels.dtype.kind != "i":
        return None
    return torch.from_numpy(scores).float(), torch.from_numpy(labels)
