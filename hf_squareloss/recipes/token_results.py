"""What a token classifier's scores say: metrics of entities with calibration, and the columns of a predictions file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_squareloss.inference import calibration_metrics
from hf_squareloss.recipes.classification import ClassificationData, first_scores
from hf_squareloss.recipes.metrics import EntityMetric
from hf_squareloss.recipes.token_data import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import EvalPrediction

    from hf_squareloss.training import SquareLossTrainer


def token_metrics(
    prediction: EvalPrediction, *, data: ClassificationData, trainer: SquareLossTrainer, by_type: bool = False
) -> dict[str, float]:
    """`EntityMetric`, and the calibration of the loss's own probabilities over tokens, as a Trainer calls it."""
    names = np.asarray(data.label_names)
    scores, labels = first_scores(prediction.predictions), np.asarray(prediction.label_ids)
    kept = labels != IGNORED
    best = names[scores.argmax(-1)]
    found = EntityMetric(names.tolist(), by_type=by_type).compute(
        predictions=[tags[there].tolist() for tags, there in zip(best, kept, strict=True)],
        references=[names[classes[there]].tolist() for classes, there in zip(labels, kept, strict=True)],
    )
    p = trainer.loss.probabilities(torch.from_numpy(scores[kept]).float())
    return dict(found or {}) | calibration_metrics(p, torch.from_numpy(labels[kept]))


def token_columns(
    predictions: Any, *, data: ClassificationData, trainer: SquareLossTrainer, encoded: Mapping[str, Dataset]
) -> dict[str, Sequence[object]]:
    """Columns of a predictions file, one row per token of the test split: its sentence, its tag, p(TAG) of every tag.

    Args:
        encoded: as of `encode_sentences`. A token that was cut off, or has no piece, has empty cells. Sentences count
            from 0.
    """
    scores, names = first_scores(predictions), data.label_names or []
    places = encoded["test"]["starts"][:]
    sentences = np.repeat(np.arange(len(places)), [len(here) for here in places])
    flat = np.asarray([place for here in places for place in here], dtype=int)
    there = flat >= 0
    chosen = torch.from_numpy(scores[sentences[there], flat[there]]).float()
    shown = zip(chosen.argmax(-1).tolist(), trainer.loss.probabilities(chosen).tolist(), strict=True)
    cells = iter([names[best], *(f"{value:.6f}" for value in p)] for best, p in shown)
    rows = [next(cells) if known else [""] * (len(names) + 1) for known in there]
    columns = zip(["prediction", *(f"p({name})" for name in names)], zip(*rows, strict=True), strict=True)
    words = [word for sentence in data.splits["test"]["tokens"] for word in sentence]
    return {"sentence": sentences.tolist(), "token": words, **dict(columns)}
