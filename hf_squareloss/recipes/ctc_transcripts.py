"""What comes out of a CTC model: the likeliest class of every frame, transcripts, and how many errors they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_squareloss.heads import ctc_frames
from hf_squareloss.recipes.metrics import SpeechRecognitionMetric
from hf_squareloss.recipes.unpadded import UnpaddedTrainer

if TYPE_CHECKING:
    from transformers import EvalPrediction


class GreedyTrainer(UnpaddedTrainer):
    """Predicts the likeliest class of every frame, which no loss's link to probabilities would change.

    Predictions are classes (B, T) instead of scores (B, T, C), with -100 for padding.
    """

    def prediction_of(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        loss, scores, labels = super().prediction_of(model, inputs, *args, **kwargs)
        if scores is None:
            return loss, scores, labels
        classes = (scores[0] if isinstance(scores, tuple) else scores).argmax(-1)
        mask = inputs.get("attention_mask", inputs.get("padding_mask"))  # the latter is OmniASR's name
        if mask is not None:  # what a model says about padding depends on the batch
            frames = ctc_frames(self.accelerator.unwrap_model(model), mask.sum(-1))
            padding = torch.arange(classes.shape[1], device=classes.device) >= frames[:, None].to(classes.device)
            classes = classes.masked_fill(padding, -100)
        return loss, classes, labels


def greedy_transcripts(classes: Any, *, tokenizer: Any, blank: int) -> list[str]:
    """Greedy decoding of classes (B, T) per frame: repeats are merged, then blanks dropped; -100 is padding.

    Args:
        blank: the model's, which need not be the tokenizer's token for padding.
    """
    classes = np.asarray(classes)
    return tokenizer.batch_decode(np.where((classes < 0) | (classes == blank), tokenizer.pad_token_id, classes))


def transcript_metrics(
    prediction: EvalPrediction, *, tokenizer: Any, blank: int, names: Sequence[str]
) -> dict[str, float]:
    """The error rates of greedy transcripts, and the share of utterances without any error.

    Args:
        blank: as for `greedy_transcripts`.
        names: for `SpeechRecognitionMetric`.
    """
    labels: Any = prediction.label_ids
    references = [tokenizer.decode(row[row >= 0], group_tokens=False) for row in labels]
    found = greedy_transcripts(prediction.predictions, tokenizer=tokenizer, blank=blank)
    exact = float(np.mean([a == b for a, b in zip(found, references, strict=True)]))
    rates = SpeechRecognitionMetric(list(names)).compute(predictions=found, references=references)
    return dict(rates or {}) | {"exact_match": exact}
