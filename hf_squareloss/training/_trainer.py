"""The Trainer with a loss of one's choice, and how transformers' Trainer wants a loss scaled."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch import Tensor
from transformers import Seq2SeqTrainer, Trainer
from transformers.utils import logging

from hf_squareloss.config import saved_loss
from hf_squareloss.heads import FusedSearch
from hf_squareloss.inference import probability_generation, raw_scores
from hf_squareloss.losses import Loss, scale
from hf_squareloss.training._adapters import AdapterMixin
from hf_squareloss.training._arguments import SquareLossTrainingArguments, requested_loss
from hf_squareloss.training._attach import refuse_attached
from hf_squareloss.training._calibration import CalibrationMixin
from hf_squareloss.training._callback import AtEvents
from hf_squareloss.training._checkpoints import last_complete_checkpoint, refuse_other_loss
from hf_squareloss.training._hub import HubMixin
from hf_squareloss.training._parents import parent_class
from hf_squareloss.training._resuming import ResumedTraining, RunTotals
from hf_squareloss.training._step import Step
from hf_squareloss.training._upstream import UpstreamRepairs

logger = logging.get_logger(__name__)


class LossSelectionMixin(CalibrationMixin, ResumedTraining, UpstreamRepairs, AdapterMixin, HubMixin):
    """Lets a transformers Trainer train with a loss of one's choice: put it before the Trainer among the bases.

    The loss of an optimizer step is one mean over everything that step saw,

        L = sum_i w_i loss(f_i, y_i) / sum_i w_i,

    over items i of all micro-batches and all processes (items are examples, or tokens other than ignore_index; w_i is
    the class weight or 1). Gradients are therefore the same for one batch of 8, four of 2, and two processes of 4.

    A Trainer that only evaluates or predicts does so with the loss that the model was trained with, where its config
    names one; training writes its loss there. At the end of training the probabilities of that loss are calibrated on
    the evaluation set (`hf_squareloss.inference.calibrate`), or by the loss's own rule where there is none, and
    `save_model` writes an ordinary classifier, whose softmax they are; `calibrate` and `fold_calibration` of
    `SquareLossTrainingArguments` say otherwise. In memory, for this Trainer, scores are always the loss's own.

    A subclass may override `compute_loss` to look at what `super().compute_loss` returns, or to add to it: the values
    of a step's micro-batches are summed, so divide what you add by `self.current_gradient_accumulation_steps`.

    Args:
        loss: a name ("square", "cross_entropy", "squentropy"), a `Loss` object, or None for what
            `SquareLossTrainingArguments` say ("square" with plain TrainingArguments).

    All other arguments are the Trainer's.

    Raises:
        ValueError: a Trainer with a loss of its own, an argument that would be ignored, or a loss that cannot do the
            model's task.
        FloatingPointError: in training or evaluation, when the loss is not finite.

    Example:
        >>> class MyTrainer(LossSelectionMixin, Trainer):
        ...     pass
        >>> trainer = MyTrainer(model, args, train_dataset=data, loss="square")  # doctest: +SKIP
    """

    loss_is_scaled_for_ga: bool | None = True  # by `compute_loss`, over the whole optimizer step

    def __init__(self, *args: Any, loss: Loss | str | None = None, **kwargs: Any) -> None:
        parent = parent_class(type(self), LossSelectionMixin)
        self._requested_loss = loss
        super().__init__(*args, **kwargs)
        if self.compute_loss_func is not None:
            raise ValueError("compute_loss_func would be ignored: give the loss as `loss=`")
        if self.get_cp_size() * self.get_sp_size() > 1:
            raise ValueError("context and sequence parallelism cut the labels of a sequence apart: not supported")
        self._parent = parent(self)
        self._step: Step | None = None
        # The model need not scale a loss, and DataParallel cannot scatter the count (transformers 5.24).
        self.model_accepts_loss_kwargs = False
        # Seq2SeqTrainer's evaluation would replace our loss by it (transformers 5.24).
        self.label_smoother = None
        # A loss that is not finite raises: the filter would read two values more from the device at every micro-batch.
        self.args.logging_nan_inf_filter = False
        self._select_loss(to_train=False)
        self.add_callback(AtEvents(self._begin, epoch_end=self._drop_open_step, train_end=self._calibrate))
        self.add_callback(RunTotals())

    @property
    def selected_loss(self) -> Loss:
        """The loss in use, fitted to the model's head."""
        return self._loss

    def _begin(self) -> None:
        self._select_loss(to_train=True)
        refuse_other_loss(self._get_output_dir(None), self._loss, resumed_from=self._resumed_from)

    def _select_loss(self, *, to_train: bool) -> None:
        """Fit the loss to the present model; write it into the model's config if the model is about to be trained."""
        model = self._plain_model
        plain = self._parent.model_of(model)
        self._unfold(to_train=to_train)
        self._head, self._step = self._parent.head_of(model), None
        refuse_attached(plain, self._head)
        trained = None if to_train else self._loss_trained_with(plain)
        self._calibrated = self._calibrated.of(trained)
        self._loss = trained or self._head.fit(requested_loss(self._requested_loss, self.args))
        liger = self.args.liger_kernel_config or {}
        if self.args.use_liger_kernel and self._head.language_model and liger.get("fused_linear_cross_entropy", True):
            raise ValueError(
                "use_liger_kernel fuses the head with cross-entropy and returns no scores for the loss to see: "
                'set liger_kernel_config={"fused_linear_cross_entropy": False} or drop use_liger_kernel'
            )
        if to_train:
            self._head.write(self._loss, plain)
            self._parent.fit_reading(model, self._loss)
        self._fused = FusedSearch(
            model,
            self._head,
            self._loss,
            refusal=self._refusal_of_fused_head(),
            gather=self.accelerator.gather if self.args.world_size > 1 else None,  # type: ignore[arg-type]
        )

    def _loss_trained_with(self, model: torch.nn.Module) -> Loss | None:
        """The loss in the model's config, where it fits the model's head."""
        try:
            saved = saved_loss(model)
            trained = None if saved is None else self._head.fit_saved(saved)
        except ValueError as error:  # of another task's head, or of a package that is not imported
            logger.warning_once(f"the loss in the model's config is not used: {error}")
            return None
        by_arguments = isinstance(self.args, SquareLossTrainingArguments) and self.args.says_a_loss()
        if trained is not None and (self._requested_loss is not None or by_arguments):
            # Arguments may ask for what training alone can make, such as balanced class weights.
            with contextlib.nullcontext() if self._requested_loss is not None else contextlib.suppress(ValueError):
                requested = self._head.fit(requested_loss(self._requested_loss, self.args))
                if requested != trained:
                    logger.warning_once(
                        f"until it is trained, the model is evaluated with the loss that it was trained with, "
                        f"{trained}; and not with {requested}"
                    )
        return trained

    def _refusal_of_fused_head(self) -> str | None:
        if self.is_fsdp_enabled or self.args.n_gpu > 1:
            return "FSDP and DataParallel hold its output layer elsewhere"
        if self.args.ddp_static_graph:  # only a loss among the outputs has its gradients averaged there (torch 2.13)
            return "ddp_static_graph needs them"
        return None

    @property
    def _plain_model(self) -> Any:
        """The model without what Accelerate or torch.compile put around it; looks through all its modules."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    # ---- where the Trainer asks ------------------------------------------------------------------------------------
    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This micro-batch's share of the step's mean, and the outputs if they are asked for."""
        given, inputs = self._parent.labels(inputs), self._parent.inputs(inputs)
        if given is None:
            raise ValueError(
                f"the batch has no `{self._parent.label_name}`, which the loss needs: it has "
                f"{', '.join(inputs) or 'nothing else'}. A model whose forward does not take them needs "
                "remove_unused_columns=False"
            )
        within = self._step is not None and self._step.under_way
        step = (self._step if within else None) or Step()
        step.computed = True
        num_items_in_batch = step.num_items if num_items_in_batch is None else num_items_in_batch
        labels, wrong = self._head.checked(self._loss, given)
        if wrong is not None:
            step.require(~wrong.any(), partial(self._head.refuse_wrong, self._loss, given, wrong))
        may_fuse = within and not return_outputs and model.training
        fused, outputs = self._fused.head_for(inputs, labels) if may_fuse else None, None
        if fused is None:
            outputs = self._outputs(model, inputs, labels)
            total = self._head.total(self._loss, outputs, labels)
            if self._head.blank is not None:
                step.require(~self._head.unaligned(outputs).any(), self._head.warn_unaligned)
        else:
            total, changed = fused.total(model, inputs, labels)
            step.changed.append(changed)
        if num_items_in_batch is None:
            num_items = self._head.num_items(self._loss, labels, dtype=total.dtype)
        else:
            num_items = num_items_in_batch
        value = scale(total, num_items)
        step.require(value.detach().abs() < torch.inf, partial(self._fail, inputs, labels))
        if not within:
            step.look()
        if num_items_in_batch is not None and self.args.average_tokens_across_devices and self.args.world_size > 1:
            # The count is that of all processes, over whose gradients a mean is taken.
            value = value * (self.accelerator.num_processes // self.get_tp_size())
        return (value, outputs) if return_outputs else value

    def _outputs(self, model: Any, inputs: dict[str, Any], labels: Tensor) -> Any:
        labelled = {"labels": labels} if self._head.keeps_labels else {}
        if self._head.blank is None:
            return self._parent.outputs(model, inputs, **labelled)
        with self._head.computing(self._loss, self._plain_model, checked=True):
            return self._parent.outputs(model, inputs, **labelled)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As the parent's; behind the last backward pass of an optimizer step comes one look at all its checks."""
        step = self._step = self._step or Step()
        step.under_way, step.computed, step.num_items, done = True, False, num_items_in_batch, True
        try:
            value = super().training_step(model, inputs, num_items_in_batch)
            if not step.computed:
                raise ValueError(
                    f"{type(self).__name__}.compute_loss does not call super().compute_loss(...): it would train with "
                    f"another loss than {self._loss}, which the model's config names"
                )
            step.batches.append((inputs, num_items_in_batch))
            step.values.append(value)
            done = self.accelerator.sync_gradients
            if not done:
                return value
            if self._fused.in_use:
                unchanged, current = ~self._fused.faults(step.changed, value.device)
                step.checks[:0] = [
                    (current, self._fused.look_again),
                    (unchanged, partial(self._repeat_with_scores, model, step)),
                ]
            repeated = step.look()
            return value if repeated is None else repeated
        finally:
            step.under_way = False
            self._step = None if done else step

    def _drop_open_step(self) -> None:
        """What is left of a pass over a stream, or of a step that was stopped, is no step: it trains nothing.

        transformers 5.24 would add its gradients, a mean of their own, to the next step's.
        """
        step, self._step = self._step, None
        if step is None:
            return
        step.look()
        wrapped: Any = self.model_wrapped
        wrapped.zero_grad()
        self._tr_loss -= sum(step.values)

    def _repeat_with_scores(self, model: Any, step: Step) -> Tensor:
        """The step once more, since its gradients meant nothing: what must be added to the losses logged so far."""
        self._fused.give_up()
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED:
            raise RuntimeError(
                "the model no longer hands on the scores of its output layer, and DeepSpeed cannot take a step back: "
                "resume from the last checkpoint"
            )
        model.zero_grad()
        again = self._step = Step(under_way=True)
        for number, (inputs, num_items_in_batch) in enumerate(step.batches, start=1):
            last, again.num_items = number == len(step.batches), num_items_in_batch
            with contextlib.nullcontext() if last else self.accelerator.no_sync(model):
                again.values.append(super().training_step(model, inputs, num_items_in_batch))
        again.look()
        return torch.stack(again.values).sum() - sum(step.values[:-1])  # the Trainer has added up those before

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor | None:
        """The denominator of the step's mean: transformers 5.24 counts labels, whatever a loss makes of them."""
        labels = [self._parent.labels(batch) for batch in batch_samples]
        if not labels or any(label is None for label in labels):
            return None
        double = self._loss.class_weights is not None and next(self._plain_model.parameters()).dtype == torch.float64
        dtype = torch.float64 if double else torch.float32  # class weights are summed as the scores will be
        counts = [self._head.num_items(self._loss, label, dtype=dtype) for label in labels if label is not None]
        count = (counts[0] if len(counts) == 1 else torch.stack(counts).sum()).to(device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            gathered = self.accelerator.gather(count.reshape(1))
            assert isinstance(gathered, Tensor)
            count = gathered.sum()
        copies = self.get_tp_size()  # processes with the same batch
        return count if copies == 1 else count / copies

    # ---- what went wrong -------------------------------------------------------------------------------------------
    def _fail(self, inputs: dict[str, Any], labels: Tensor) -> None:
        """FloatingPointError: says what is not finite, by one more forward where that waits for no other process."""
        what = "the loss is not finite"
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled or self.get_tp_size() > 1):
            with torch.no_grad(), self.compute_loss_context_manager():
                scores = self._outputs(self._plain_model, inputs, labels)[self._head.scores]
            what = "the loss overflowed" if scores.isfinite().all() else "the model's scores are not finite"
        kept = last_complete_checkpoint(self._get_output_dir(None), self.args.world_size)
        advice = "a lower learning rate, max_grad_norm or bf16 instead of fp16 usually helps"
        where = f"the last checkpoint is {kept}" if kept else "no checkpoint had been saved yet"
        number = self.state.global_step + self.is_in_train  # the step under way
        raise FloatingPointError(f"step {number}, loss {self._loss}: {what}; {where}; {advice}")


class SquareLossTrainer(LossSelectionMixin, Trainer):
    """`Trainer` with `loss=`: see `LossSelectionMixin`."""

    @property
    def loss(self) -> Loss:
        """The loss in use, fitted to the model's head."""
        return self.selected_loss


class SquareLossSeq2SeqTrainer(LossSelectionMixin, Seq2SeqTrainer):
    """`Seq2SeqTrainer` with `loss=`: see `LossSelectionMixin`."""

    @property
    def loss(self) -> Loss:
        """The loss in use, fitted to the model's head."""
        return self.selected_loss

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        only_loss = kwargs["prediction_loss_only"] if "prediction_loss_only" in kwargs else args[0]
        if only_loss or not self.args.predict_with_generate:  # type: ignore[attr-defined]
            return super().prediction_step(model, inputs, *args, **kwargs)

        # With generation the parent reads the model's own loss from its outputs (transformers 5.24): hand it ours.
        def with_loss(**given: Any) -> Mapping[str, Any]:
            with raw_scores(plain):
                value, outputs = self.compute_loss(model, given, return_outputs=True)
            return {**outputs, "loss": value}

        # The parent's beam search would take the softmax of raw scores.
        plain: Any = self.accelerator.unwrap_model(self.model)
        with probability_generation(plain, self.selected_loss):
            return super().prediction_step(with_loss, inputs, *args, **kwargs)  # type: ignore[arg-type]
