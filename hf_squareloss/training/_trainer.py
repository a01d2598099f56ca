"""The Trainer with a loss of one's choice: the only file that knows how transformers' Trainer scales a loss."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Seq2SeqTrainer, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames
from transformers.utils import logging

from hf_squareloss.heads import Head, LinearHead, NotLinear
from hf_squareloss.inference import probability_generation
from hf_squareloss.losses import Loss, make_loss, scale
from hf_squareloss.training._arguments import SquareLossTrainingArguments
from hf_squareloss.training._checkpoints import last_complete_checkpoint, refuse_other_loss
from hf_squareloss.training._hub import require_push_rights
from hf_squareloss.training._model_card import model_card
from hf_squareloss.training._upstream import UpstreamRepairs

logger = logging.get_logger(__name__)


class LossSelectionMixin(UpstreamRepairs):
    """Lets any transformers Trainer train with a loss of one's choice: put it before the Trainer among the bases.

    The loss of an optimizer step is one mean over everything that step saw,

        L = sum_i w_i loss(f_i, y_i) / sum_i w_i,

    over items i of all micro-batches and all processes (items are examples, or tokens other than ignore_index; w_i is
    the class weight or 1). Gradients are therefore the same for one batch of 8, four of 2, and two processes of 4.

    Args:
        loss: a name ("square", "cross_entropy", "squentropy"), a `Loss` object, or None for what
            `SquareLossTrainingArguments` say ("square" with plain TrainingArguments).

    All other arguments are the Trainer's.

    Raises:
        ValueError: an argument that would be ignored, or a loss that cannot do the model's task.
        FloatingPointError: in training or evaluation, when the loss is not finite.

    Example:
        >>> trainer = SquareLossTrainer(model, args, train_dataset=data, loss="square")  # doctest: +SKIP
    """

    def __init__(self, *args: Any, loss: Loss | str | None = None, **kwargs: Any) -> None:
        if kwargs.pop("compute_loss_func", None) is not None:
            raise ValueError("compute_loss_func would be ignored: give the loss as `loss=`")
        self._requested_loss = loss
        super().__init__(*args, compute_loss_func=self._loss_from_outputs, **kwargs)
        # The loss is ours alone: the model need not scale one, and DataParallel cannot scatter the count (5.23).
        self.model_accepts_loss_kwargs = False
        self._select_loss()
        # Not used with a compute_loss_func; Seq2SeqTrainer's evaluation would replace our loss by it (5.23).
        self.label_smoother = None
        self.add_callback(_LossCallback(self))

    @property
    def loss(self) -> Loss:
        """The loss in use, fitted to the model's head."""
        return self._loss

    def _select_loss(self) -> None:
        """Fit the requested loss to the present model and write it into that model's config."""
        model = self._plain_model
        self._head = Head.of(model)
        self._loss = self._head.fit(_requested(self._requested_loss, self.args))
        liger = self.args.liger_kernel_config or {}
        if self.args.use_liger_kernel and self._head.language_model and liger.get("fused_linear_cross_entropy", True):
            raise ValueError(
                "use_liger_kernel fuses the head with cross-entropy and returns no scores for the loss to see: "
                'set liger_kernel_config={"fused_linear_cross_entropy": False} or drop use_liger_kernel'
            )
        self._head.write(self._loss, model)
        self._linear_head: LinearHead | None = None
        self._looked_for_linear_head = False

    # ---- the three places where the Trainer asks ------------------------------------------------------------------
    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        linear_head = None if return_outputs else self._linear_head_for(model, inputs)
        if linear_head is not None:
            labels = inputs["labels"]
            try:
                with linear_head.computing(labels):
                    given = {**linear_head.inputs(inputs), "labels": labels}
                    return super().compute_loss(model, given, num_items_in_batch=num_items_in_batch)
            except NotLinear as reason:  # which the look at the first batch could not see
                self._linear_head = None
                self._say_that_scores_are_built(reason)
        # The Trainer takes the labels out of the inputs (5.23, compute_loss); some models build on them.
        if self._head.keeps_labels and "labels" in inputs:
            model = functools.partial(model, labels=inputs["labels"])
        if self._head.blank is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        with self._head.computing(self._loss, self._plain_model):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    @property
    def _plain_model(self) -> Any:
        """The model without what Accelerate or torch.compile put around it; looks through all its modules."""
        return self.accelerator.unwrap_model(self.model, keep_torch_compile=False)

    def _linear_head_for(self, model: Any, inputs: dict[str, Any]) -> LinearHead | None:
        """The output layer that can do without scores, if this is a training batch."""
        if self._loss.needs_scores or not (model.training and torch.is_grad_enabled() and "labels" in inputs):
            return None
        if self._linear_head is not None and not self._linear_head.is_current():
            self._looked_for_linear_head = False
        if not self._looked_for_linear_head:
            found = self._find_linear_head(inputs)
            everywhere = self._in_all_processes(found is not None)
            self._linear_head, self._looked_for_linear_head = found if everywhere else None, True
        return self._linear_head

    def _find_linear_head(self, inputs: dict[str, Any]) -> LinearHead | None:
        if not self._head.language_model:
            return None
        model = self._plain_model
        try:
            if self.is_fsdp_enabled or self.args.n_gpu > 1:
                raise NotLinear("FSDP and DataParallel hold its output layer elsewhere")
            if self.args.ddp_static_graph:
                # There only a loss among the outputs has its gradients averaged (torch 2.13).
                raise NotLinear("ddp_static_graph needs them")
            if super().compute_loss.__func__ is not Trainer.compute_loss:  # type: ignore[attr-defined]
                raise NotLinear("the Trainer's own compute_loss may look at them")
            found = LinearHead(model, self._head, self._loss)
            found.check(inputs)
            return found
        except NotLinear as reason:
            self._say_that_scores_are_built(reason)
            return None

    def _in_all_processes(self, here: bool) -> bool:
        """Whether it is so in each: one that ran another forward than the rest would wait in it for their buffers."""
        if self.args.world_size == 1:
            return here
        flags = self.accelerator.gather(torch.tensor([here], dtype=torch.int, device=self.args.device))
        assert isinstance(flags, Tensor)
        return bool(flags.all())

    def _say_that_scores_are_built(self, reason: NotLinear) -> None:
        name = type(self._plain_model).__name__
        logger.warning_once(f"{name} builds the scores of all tokens in training: {reason}")

    def _loss_from_outputs(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Tensor:
        """`compute_loss_func`: one micro-batch's share of the step's mean."""
        if labels is None:
            raise ValueError(
                "the batch has no `labels`, which the loss needs; a model whose forward does not take them needs "
                "remove_unused_columns=False"
            )
        if num_items_in_batch is None:
            num_items_in_batch = self._head.num_items(self._loss, labels)
        direct = self._linear_head
        if direct is not None and direct.is_computing:
            fault = direct.fault(outputs)
            if not self._in_all_processes(fault is None):
                raise NotLinear(fault or "its forward went otherwise in another process")
            assert direct.values is not None and direct.items is not None
            total, seen = direct.values.sum(), direct.items
        else:
            total, seen = self._head.total(self._loss, outputs, labels), outputs["logits"]
        value = scale(total, num_items_in_batch)
        # Reading the value costs nothing more: the Trainer reads every step's loss too (logging_nan_inf_filter).
        if not math.isfinite(value.item()):
            raise FloatingPointError(self._describe_failure(seen))
        return value

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> Tensor | None:
        """The denominator of the step's mean: upstream (5.23) counts labels, whatever the loss makes of them."""
        if not batch_samples or batch_samples[0].get("labels") is None:
            return None
        for batch in batch_samples:
            self._head.check_labels(self._loss, batch["labels"])
        counts = [self._head.num_items(self._loss, batch["labels"]) for batch in batch_samples]
        count = (counts[0] if len(counts) == 1 else torch.stack(counts).sum()).to(device)
        if self.args.average_tokens_across_devices:
            if self.args.world_size > 1:
                gathered = self.accelerator.gather(count.reshape(1))
                assert isinstance(gathered, Tensor)
                count = gathered.sum()
            if self.args.n_gpu > 1:  # upstream multiplies DataParallel's loss by it, though it sees the whole batch
                count = count * self.args.n_gpu
        copies = self.get_tp_size() * self.get_cp_size() * self.get_sp_size()
        return count if copies == 1 else count / copies

    # ---- the Hub --------------------------------------------------------------------------------------------------
    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        if self.is_world_process_zero():
            name = self.args.hub_model_id or Path(self.args.output_dir or "").absolute().name
            private = self.args.hub_private_repo if private is None else private
            require_push_rights(name, token=token or self.args.hub_token, private=private)
        super().init_hf_repo(token, private)

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write README.md: the loss, this run's last evaluation and how to get probabilities."""
        if not self.is_world_process_zero():
            return
        args, folder = self.args, Path(self.args.output_dir or ".")
        metrics = {
            name.removeprefix("eval_"): float(value)
            for entry in self.state.log_history
            for name, value in entry.items()
            if name.startswith("eval_") and not name.endswith(("_runtime", "_per_second", "_time"))
        }
        training = {
            "learning rate": args.learning_rate,
            "epochs": args.num_train_epochs if self.state.epoch is None else round(self.state.epoch, 2),
            "optimizer steps": self.state.global_step,
            "batch size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            "optimizer": OptimizerNames(args.optim).value,
            "schedule": SchedulerType(args.lr_scheduler_type).value,
            "seed": args.seed,
        }
        card = model_card(
            repo_id=self.hub_model_id or model_name or folder.absolute().name,
            loss=self._loss,
            metrics=metrics,
            task=_first(tasks) or self._head.task,
            auto_class=self._head.auto_class,
            dataset_name=_first(dataset) or "unnamed data",
            dataset=_first(dataset_tags),
            base_model=finetuned_from,
            training=training,
            regression=self._head.num_classes == 1,
            language=language,
            license=license,
            tags=[tags] if isinstance(tags, str) else tags,
        )
        (folder / "README.md").write_text(card, encoding="utf8")

    def _describe_failure(self, scores: Tensor) -> str:
        """What went wrong at the loss of these scores, or of the hidden states that stand for them."""
        finite = bool(torch.isfinite(scores).all())
        what = "the loss overflowed" if finite else "the model's scores are not finite"
        kept = last_complete_checkpoint(self._get_output_dir(None), self.args.world_size)
        advice = "a lower learning rate, max_grad_norm or bf16 instead of fp16 usually helps"
        where = f"the last checkpoint is {kept}" if kept else "no checkpoint had been saved yet"
        step = self.state.global_step + self.is_in_train  # the step under way
        return f"step {step}, loss {self._loss}: {what}; {where}; {advice}"


class SquareLossTrainer(LossSelectionMixin, Trainer):
    """`Trainer` with `loss=`: see `LossSelectionMixin`."""


class SquareLossSeq2SeqTrainer(LossSelectionMixin, Seq2SeqTrainer):
    """`Seq2SeqTrainer` with `loss=`: see `LossSelectionMixin`."""

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if not self.args.predict_with_generate:  # type: ignore[attr-defined]
            return super().prediction_step(model, inputs, *args, **kwargs)

        # With generation the parent reads the model's own loss from its outputs (5.23): hand it ours.
        def with_loss(**inputs: Any) -> Mapping[str, Any]:
            outputs = model(**inputs)
            return {**outputs, "loss": self._loss_from_outputs(outputs, inputs.get("labels"))}

        # The parent's beam search would take the softmax of raw scores.
        plain: Any = self.accelerator.unwrap_model(self.model)
        with probability_generation(plain):
            return super().prediction_step(with_loss, inputs, *args, **kwargs)  # type: ignore[arg-type]


class _LossCallback(TrainerCallback):
    """At the start of training, after a hyper-parameter trial has changed the arguments and the model."""

    def __init__(self, trainer: LossSelectionMixin) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer._select_loss()
        refuse_other_loss(self.trainer._get_output_dir(None), self.trainer.loss)


def _first(names: str | list[str] | None) -> str | None:
    return names[0] if isinstance(names, list) else names


def _requested(loss: Loss | str | None, args: TrainingArguments) -> Loss:
    if loss is None:
        if isinstance(args, SquareLossTrainingArguments):
            return args.make_loss()
        loss = "square"
    if isinstance(loss, str):
        loss = make_loss(loss)
    if not isinstance(loss, Loss):
        raise ValueError(f"loss must be a name or a Loss object, got {type(loss).__name__}")
    if args.label_smoothing_factor:
        if loss.label_smoothing:
            raise ValueError(
                f"label smoothing is given twice: {loss.label_smoothing} by the loss and "
                f"label_smoothing_factor={args.label_smoothing_factor} by the arguments"
            )
        loss = replace(loss, label_smoothing=args.label_smoothing_factor)
    return loss
