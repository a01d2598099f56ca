"""Evaluation without padding, of models that mix it into what they say about a row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.trainer_pt_utils import nested_concat

from hf_squareloss.training import SquareLossTrainer


class UnpaddedTrainer(SquareLossTrainer):
    """Evaluates and calibrates the rows of a batch one by one where the batch says how long each of them is.

    By `input_lengths` (B,), which goes to no model. Models without a mask whose norm is over time (wav2vec2-base's
    group norm) would say something else about a row in every batch, and a pipeline gives them one row at a time.
    """

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        inputs = {name: value for name, value in inputs.items() if name != "input_lengths"}
        return super().compute_loss(model, inputs, *args, **kwargs)

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if "input_lengths" not in inputs:
            return self.prediction_of(model, inputs, *args, **kwargs)
        steps = [self.prediction_of(model, one, *args, **kwargs) for one in self._alone(inputs)]
        losses, predictions, labels = zip(*steps, strict=True)
        join = partial(reduce, partial(nested_concat, padding_index=-100))
        return (
            None if losses[0] is None else torch.stack(losses).mean(),
            None if predictions[0] is None else join(predictions),
            None if labels[0] is None else join(labels),
        )

    def prediction_of(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Loss, predictions and labels of a batch as it is."""
        return super().prediction_step(model, inputs, *args, **kwargs)

    def _batch_items(self, inputs: Mapping[str, Any], labels: Tensor, per_row: int) -> tuple[Tensor, ...]:
        of_batch = super()._batch_items
        if "input_lengths" not in inputs:
            return of_batch(inputs, labels, per_row)
        each = zip(self._alone(inputs), labels.split(1), strict=True)
        scores, kept, *frames = zip(*(of_batch(one, label, per_row) for one, label in each), strict=True)
        return pad_sequence([s[0] for s in scores], True), torch.cat(kept), *map(torch.cat, frames)

    def _alone(self, inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """A padded batch with its lengths as batches of one row, without padding."""
        plain: Any = self.accelerator.unwrap_model(self.model)
        name: str = plain.main_input_name
        others = {key: value for key, value in inputs.items() if key not in (name, "input_lengths")}
        for i, length in enumerate(inputs["input_lengths"].tolist()):
            yield {name: inputs[name][i : i + 1, ..., :length]} | {k: v[i : i + 1] for k, v in others.items()}
