"""A training in a plain Accelerate loop, of a model with a loss attached: options, steps, evaluation, what is saved."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, send_to_device, set_seed
from huggingface_hub import HfApi
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, SchedulerType, get_scheduler

from hf_squareloss.config import complete_adapter, has_adapter, load_loss, write_adapter
from hf_squareloss.heads import Head
from hf_squareloss.inference import calibrate, fold_calibration
from hf_squareloss.losses import Loss
from hf_squareloss.recipes.arguments import DataSourceArguments, require_positive
from hf_squareloss.recipes.classification import ClassificationData, classification_metrics, columns_of
from hf_squareloss.recipes.cli import show_table
from hf_squareloss.recipes.epoch_rows import EpochRows
from hf_squareloss.recipes.folder_lock import folder_lock
from hf_squareloss.recipes.loop_checkpoints import choose_checkpoint, save_checkpoint, steps_done
from hf_squareloss.recipes.run_identity import identity_of, option_values, refuse_other_run, write_run
from hf_squareloss.recipes.stages import write_predictions
from hf_squareloss.training import (
    LossArguments,
    model_card,
    push_errors,
    registering_module,
    require_no_tokens,
    require_push_rights,
)


@dataclass(kw_only=True)
class LoopArguments(LossArguments):
    output_dir: str = field(metadata={"help": "Where the model and the results go."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Examples of a process at once."})
    per_device_eval_batch_size: int = field(default=32, metadata={"help": "The same in evaluation."})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "Batches of one optimizer step."})
    learning_rate: float = field(default=5e-5, metadata={"help": "Learning rate of AdamW at its highest."})
    weight_decay: float = field(default=0.0, metadata={"help": "Weight decay of AdamW."})
    num_train_epochs: int = field(default=3, metadata={"help": "How often the training data is read."})
    max_train_steps: int | None = field(
        default=None, metadata={"help": "Optimizer steps in all, in place of num_train_epochs."}
    )
    lr_scheduler_type: SchedulerType = field(default=SchedulerType.LINEAR, metadata={"help": "Learning rate schedule."})
    num_warmup_steps: int = field(default=0, metadata={"help": "Optimizer steps until the highest learning rate."})
    seed: int = field(default=42, metadata={"help": "Seed of the order of the data, of dropout and of new weights."})
    checkpointing_steps: str | None = field(
        default=None, metadata={"help": "Optimizer steps between checkpoints, or epoch; default: no checkpoints."}
    )
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "A checkpoint of this run to go on from, if not the newest."}
    )
    push_to_hub: bool = field(default=False, metadata={"help": "Push the model to the Hub at the end."})
    hub_model_id: str | None = field(default=None, metadata={"help": "Its repository; default: the folder's name."})
    hub_token: str | None = field(default=None, metadata={"help": "Token for it; default: the stored one."})

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "max_train_steps")
        steps = self.checkpointing_steps
        if steps not in (None, "epoch") and not (str(steps).isdigit() and int(str(steps)) > 0):
            raise ValueError(f"checkpointing_steps must be a positive number or epoch, got {steps!r}")


def start_loop(loop: LoopArguments) -> Accelerator:
    """Seed all processes, and ask for the rights to push before anything is trained.

    Raises:
        ValueError: no rights.
    """
    accelerator = Accelerator(gradient_accumulation_steps=loop.gradient_accumulation_steps)
    set_seed(loop.seed)
    if loop.push_to_hub and accelerator.is_main_process:
        name = loop.hub_model_id or Path(loop.output_dir).absolute().name
        loop.hub_model_id = require_push_rights(name, token=loop.hub_token)
    return accelerator


def run_loop(
    accelerator: Accelerator,
    loop: LoopArguments,
    model: Any,
    data: ClassificationData,
    rows: Mapping[str, Any],
    collate: Any,
    *,
    processor: Any,
    options: Sequence[Any],
    predicted: bool,
    sources: Mapping[str, Any] | None = None,
    card: Mapping[str, Any],
) -> dict[str, float]:
    """Train, evaluate, predict, save and push; the metrics of validation, and as test_* those of test.

    Args:
        model: with a loss attached.
        rows: encoded splits; validation_mm and test_mm are MNLI's second ones.
        processor: tokenizer or image processor, saved beside the model.
        options: the script's other dataclasses of arguments, for the run's identity.
        predicted: whether the test splits are predicted.
        sources: the splits whose content tells one run from another; default: the encoded ones.
        card: what `model_card` takes of the data and the task.

    Raises:
        ValueError: another run is at work in the output folder, or the one there is not this one, nor that of the
            checkpoint given; or `record_epochs`, which is for the scripts with a Trainer.
        PushError: the push failed.
    """
    if any(isinstance(each, DataSourceArguments) and each.record_epochs for each in options):
        raise ValueError("record_epochs would be ignored: it is for the script with a Trainer")
    first, loss = accelerator.is_main_process, load_loss(model)
    with folder_lock(loop.output_dir) if first else nullcontext():
        if first:
            batch_size = loop.per_device_train_batch_size * loop.gradient_accumulation_steps * accelerator.num_processes
            is_tokenizer = isinstance(processor, PreTrainedTokenizerBase)
            identity = identity_of(
                option_values([loop, *options]),
                loss=loss,
                batch_size=batch_size,
                train_rows=(sources or rows)["train"],
                tokenizer=processor if is_tokenizer else None,
                extractor=None if is_tokenizer else processor,
                model=model,
            )
            refuse_other_run(loop.output_dir, identity, loop.resume_from_checkpoint)
            write_run(loop.output_dir, identity=identity)
        model = train_loop(accelerator, loop, model, rows["train"], collate)
        metrics: dict[str, float] = {}
        evaluated = {
            split: evaluate_loop(accelerator, model, accelerator.prepare(
                DataLoader(part, loop.per_device_eval_batch_size, collate_fn=collate)
            ))
            for split, part in rows.items()
            if split != "train" and (predicted or not split.startswith("test"))
        }  # fmt: skip
        held_out, known = evaluated["validation"]
        if loop.calibrate and data.label_names is not None and known is not None:
            loss = calibrate(loss, held_out, known, source="validation")
        for split, (logits, labels) in evaluated.items():
            scores = logits.numpy()
            found = {} if labels is None else classification_metrics(scores, labels, data, loss)
            prefix = "test_" if split.startswith("test") else ""
            suffix = "_mm" if split.endswith("_mm") else ""
            metrics |= {f"{prefix}{name}{suffix}": value for name, value in found.items()}
            if prefix and first:
                file = Path(loop.output_dir, f"{split}_predictions.tsv")
                write_predictions(file, columns_of(scores, data, loss))
        if first:
            plain = accelerator.unwrap_model(model)
            if loop.calibrate:
                write_calibration(
                    loop, plain, loss, send_to_device(collate([rows["validation"][0]]), accelerator.device)
                )
            save_loop(loop, plain, processor, metrics, card)
        accelerator.wait_for_everyone()
    return metrics


def train_loop(accelerator: Accelerator, loop: LoopArguments, model: Any, rows: Any, collate: Any) -> Any:
    """The prepared model, trained to the end from the last whole checkpoint."""
    order = torch.Generator()
    batches = DataLoader(rows, loop.per_device_train_batch_size, shuffle=True, generator=order, collate_fn=collate)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=loop.learning_rate, weight_decay=loop.weight_decay)
    model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
    per_epoch = math.ceil(len(batches) / loop.gradient_accumulation_steps)
    steps = loop.max_train_steps or loop.num_train_epochs * per_epoch
    schedule = get_scheduler(loop.lr_scheduler_type, optimizer, loop.num_warmup_steps, steps)
    accelerator.register_for_checkpointing(schedule)
    every = per_epoch if loop.checkpointing_steps == "epoch" else int(loop.checkpointing_steps or 0)

    choice: list[Any] = [None, ""]
    if accelerator.is_main_process:
        choice = [*choose_checkpoint(loop.output_dir, loop.resume_from_checkpoint)]
    checkpoint, notice = broadcast_object_list(choice)
    if checkpoint:
        accelerator.load_state(checkpoint)
        notice += f"\nResuming from {checkpoint}"
    if notice and accelerator.is_main_process:
        print(notice.strip())  # noqa: T201
    step = done = steps_done(checkpoint)
    with tqdm(total=steps, initial=done, disable=not accelerator.is_local_main_process) as progress:
        for epoch in range(done // per_epoch, math.ceil(steps / per_epoch)):
            model.train()
            order.manual_seed(loop.seed + epoch)  # an epoch's order is its own, wherever the run goes on from
            batches.set_epoch(epoch)  # accelerate tells the rows its own count, which begins anew (1.15)
            if isinstance(rows, EpochRows):
                rows.set_epoch(epoch)
            before = max(done - epoch * per_epoch, 0) * loop.gradient_accumulation_steps
            for i, batch in enumerate(batches):
                if i < before:
                    continue
                if step == steps:
                    break
                with accelerator.accumulate(model):
                    accelerator.backward(model(**batch).loss)
                    optimizer.step()
                    if accelerator.sync_gradients:
                        schedule.step()
                    optimizer.zero_grad()
                if accelerator.sync_gradients:
                    step += 1
                    progress.update()
                    if every and step % every == 0:
                        save_checkpoint(accelerator, loop.output_dir, step)
    return model


@torch.no_grad()
def evaluate_loop(accelerator: Accelerator, model: Any, batches: Any) -> tuple[Tensor, Tensor | None]:
    """The scores (N, C) over all processes, and the labels where they are known."""
    model.eval()
    scores, labels, known = [], [], None
    for batch in batches:
        known = batch.pop("labels", None)
        logits = model(**batch).logits.float()
        gathered = accelerator.gather_for_metrics((logits, logits[:, 0] if known is None else known))
        scores.append(gathered[0].cpu())
        labels.append(gathered[1].cpu())
    return torch.cat(scores), None if known is None else torch.cat(labels)


def write_calibration(loop: LoopArguments, model: Any, loss: Loss, batch: Mapping[str, Any]) -> None:
    """The loss's calibration in the model's config, and in its weights where that is wanted and can be done."""
    if loss.calibration is None:
        return
    Head.of(model).write(loss, model)
    if loop.fold_calibration:
        try:
            fold_calibration(model, {name: value for name, value in batch.items() if name != "labels"})
        except ValueError as error:
            print(error)  # noqa: T201


def save_loop(
    loop: LoopArguments,
    model: Any,
    processor: Any,
    metrics: Mapping[str, float],
    card: Mapping[str, Any],
) -> None:
    """The model, its processor, results and card on disk, on the screen, and on the Hub where that is wanted."""
    folder = Path(loop.output_dir)
    write_adapter(model)  # the loss's name, where adapters are saved and no config
    model.save_pretrained(folder)
    complete_adapter(model, folder)
    processor.save_pretrained(folder)
    (folder / "all_results.json").write_text(json.dumps(metrics, indent=4) + "\n")
    text = model_card(
        repo_id=loop.hub_model_id or folder.absolute().name,
        loss=load_loss(model),
        metrics={name: value for name, value in metrics.items() if not name.startswith("test_")},
        regression=model.config.num_labels == 1,
        adapter=has_adapter(model),
        module=registering_module(model),
        training={
            "learning rate": loop.learning_rate,
            **({"steps": loop.max_train_steps} if loop.max_train_steps else {"epochs": loop.num_train_epochs}),
            "seed": loop.seed,
        },
        **card,
    )
    (folder / "README.md").write_text(text, encoding="utf8")
    show_table(str(card["dataset_name"]), {**metrics, "the model": loop.output_dir})
    if loop.push_to_hub and loop.hub_model_id:
        require_no_tokens(folder)
        private = ["checkpoint-*", "_*"]  # as the Trainer
        with push_errors(loop.hub_model_id, folder):
            HfApi(token=loop.hub_token).upload_folder(
                repo_id=loop.hub_model_id, folder_path=folder, ignore_patterns=private
            )
