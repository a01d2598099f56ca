"""Repairs of transformers' Trainer, one method each: take one out when the release that needs it is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices
from transformers.trainer_utils import PredictionOutput

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class UpstreamRepairs(_Trainer):
    """What transformers 5.24 does wrong and the results would show; no change to what is right."""

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        """Length groups in an order that a resumed run goes on with."""
        sampler = super()._get_train_sampler(*args, **kwargs)
        if type(sampler) is not LengthGroupedSampler:
            return sampler
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return EpochSeededLengthSampler(sampler.batch_size, sampler.lengths, seed)

    def _prepare_inputs(self, inputs: Any) -> Any:
        """With bf16_full_eval or fp16_full_eval the model is in 16 bits: so are its inputs then, but not its labels."""
        inputs = super()._prepare_inputs(inputs)
        if not (self.args.bf16_full_eval or self.args.fp16_full_eval):
            return inputs
        model: Any = self.model
        dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
        cast = {k for k, v in inputs.items() if isinstance(v, Tensor) and v.is_floating_point()} - {*self.label_names}
        return {name: value.to(dtype) if name in cast else value for name, value in inputs.items()}

    def predict(self, *args: Any, **kwargs: Any) -> PredictionOutput:
        """In the order of the rows: "group_by_length" would order the predictions too (transformers 5.24)."""
        strategy, self.args.train_sampling_strategy = self.args.train_sampling_strategy, "random"
        try:
            return super().predict(*args, **kwargs)
        finally:
            self.args.train_sampling_strategy = strategy

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # Resumed at its last step in an epoch's middle, the Trainer (transformers 5.24) takes one step more first.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
        else:
            super()._run_epoch(*args, **kwargs)


class EpochSeededLengthSampler(LengthGroupedSampler):
    """`LengthGroupedSampler`, which draws from the global generator (5.24) and so anew in the middle of an epoch.

    Args:
        batch_size: examples in a batch.
        lengths: of every example, in tokens or frames.
        seed: the order of epoch e is drawn with seed + e.
    """

    def __init__(self, batch_size: int, lengths: list[int], seed: int) -> None:
        super().__init__(batch_size, lengths=lengths)
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        self.epoch += 1  # where nobody calls set_epoch
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))
