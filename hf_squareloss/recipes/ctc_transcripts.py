"""What comes out of a CTC model: the likeliest class of every frame, transcripts, and how many errors they have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hf_squareloss.heads import ctc_frames
from hf_squareloss.recipes.metrics import SpeechRecognitionMetric
from hf_squareloss.training import SquareLossTrainer

if TYPE_CHECKING:
    from transformers import EvalPrediction


class GreedyTrainer(SquareLossTrainer):
    """Predicts the likeliest class of every frame, which no loss's link to probabilities would change.

    Predictions are classes (B, T) instead of scores (B, T, C), with -100 for padding. A batch without a mask says by
    `input_lengths` (B,) where padding begins: such models mix it into every frame (group norm over time), so that in
    evaluation and calibration each utterance goes through the model alone, as it would be transcribed.
    """

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        inputs = {name: value for name, value in inputs.items() if name != "input_lengths"}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if "input_lengths" in inputs:
            return self._one_by_one(model, inputs, *args, **kwargs)
        loss, scores, labels = super().prediction_step(model, inputs, *args, **kwargs)
        if scores is None:
            return loss, scores, labels
        classes = (scores[0] if isinstance(scores, tuple) else scores).argmax(-1)
        mask = inputs.get("attention_mask", inputs.get("padding_mask"))  # the latter is OmniASR's name
        if mask is not None:  # what a model says about padding depends on the batch
            frames = ctc_frames(self.accelerator.unwrap_model(model), mask.sum(-1))
            padding = torch.arange(classes.shape[1], device=classes.device) >= frames[:, None].to(classes.device)
            classes = classes.masked_fill(padding, -100)
        return loss, classes, labels

    def _batch_items(self, inputs: Mapping[str, Any], labels: Tensor, per_row: int) -> tuple[Tensor, ...]:
        if "input_lengths" not in inputs:
            return super()._batch_items(inputs, labels, per_row)
        each = zip(self._alone(inputs), labels.split(1), strict=True)
        scores, kept, frames = zip(
            *(super(GreedyTrainer, self)._batch_items(*one, per_row) for one in each), strict=True
        )
        return pad_sequence([s[0] for s in scores], batch_first=True), torch.cat(kept), torch.cat(frames)

    def _one_by_one(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        steps = [self.prediction_step(model, one, *args, **kwargs) for one in self._alone(inputs)]
        losses, classes, labels = zip(*steps, strict=True)
        return (
            None if losses[0] is None else torch.stack(losses).mean(),
            None if classes[0] is None else pad_sequence([c[0] for c in classes], True, -100),
            None if labels[0] is None else torch.cat(labels),
        )

    def _alone(self, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """A padded batch with its lengths as batches of one utterance, without padding."""
        plain: Any = self.accelerator.unwrap_model(self.model)
        name: str = plain.main_input_name
        others = {key: value for key, value in inputs.items() if key not in (name, "input_lengths")}
        for i, length in enumerate(inputs["input_lengths"].tolist()):
            yield {name: inputs[name][i : i + 1, ..., :length]} | {k: v[i : i + 1] for k, v in others.items()}


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
