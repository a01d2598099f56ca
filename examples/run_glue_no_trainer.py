"""The same task as run_glue.py in a plain Accelerate loop: `attach_loss` is the only line that knows of the loss.

    accelerate launch examples/run_glue_no_trainer.py --task_name mrpc --model_name_or_path bert-base-cased \
        --loss square --learning_rate 2e-5 --output_dir outputs/mrpc-no-trainer

    accelerate launch examples/run_glue_no_trainer.py --train_file train.tsv --validation_file dev.tsv \
        --model_name_or_path bert-base-cased --loss square --checkpointing_steps epoch --output_dir outputs/mine

The same command again goes on from the last checkpoint that was written to its end.
"""

import json
import math
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, set_seed
from huggingface_hub import HfApi
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import DataCollatorWithPadding, SchedulerType, get_scheduler

from hf_squareloss import Loss, attach_loss, load_loss
from hf_squareloss.config import has_adapter, write_adapter
from hf_squareloss.recipes.classification import ClassificationData, classification_metrics, columns_of
from hf_squareloss.recipes.cli import parse_arguments, run_script, show_table
from hf_squareloss.recipes.folder_lock import folder_lock
from hf_squareloss.recipes.loop_checkpoints import choose_checkpoint, save_checkpoint, steps_done
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.model_classes import fit_loss_to_data
from hf_squareloss.recipes.run_identity import identity_of, option_values, refuse_other_run, write_run
from hf_squareloss.recipes.stages import NO_VALIDATION, write_predictions
from hf_squareloss.recipes.text_arguments import DataArguments, ModelArguments, load_classifier
from hf_squareloss.training import LossArguments, model_card, push_errors, require_push_rights


@dataclass(kw_only=True)
class LoopArguments(LossArguments):
    output_dir: str = field(metadata={"help": "Where the model and the results go."})
    per_device_train_batch_size: int = field(default=8, metadata={"help": "Texts of a process at once."})
    per_device_eval_batch_size: int = field(default=32, metadata={"help": "The same in evaluation."})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "Batches of one optimizer step."})
    learning_rate: float = field(default=5e-5, metadata={"help": "Learning rate of AdamW at its highest."})
    weight_decay: float = field(default=0.0, metadata={"help": "Weight decay of AdamW."})
    num_train_epochs: int = field(default=3, metadata={"help": "How often the training data is read."})
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
        steps = self.checkpointing_steps
        if steps not in (None, "epoch") and not (str(steps).isdigit() and int(str(steps)) > 0):
            raise ValueError(f"checkpointing_steps must be a positive number or epoch, got {steps!r}")


def parse(argv: list[str] | None) -> tuple[LoopArguments, DataArguments, ModelArguments, LoraArguments]:
    loop, data, model, lora = parse_arguments((LoopArguments, DataArguments, ModelArguments, LoraArguments), argv)
    if data.is_demo:
        raise ValueError("give the data: --task_name, --dataset_name, or --train_file and --validation_file")
    if model.model_name_or_path is None and model.model_type is None:
        raise ValueError("give a model: --model_name_or_path with a name from the Hub or a folder, or --model_type")
    return loop, data, model, lora


def main(argv: list[str] | None = None) -> dict[str, float]:
    loop, data_args, model_args, lora_args = parse(argv)
    accelerator = Accelerator(gradient_accumulation_steps=loop.gradient_accumulation_steps)
    first = accelerator.is_main_process
    set_seed(loop.seed)
    if loop.push_to_hub and first:
        name = loop.hub_model_id or Path(loop.output_dir).absolute().name
        loop.hub_model_id = require_push_rights(name, token=loop.hub_token)

    with accelerator.main_process_first():
        data = data_args.load(model_args)
        data = replace(data, splits=data_args.chosen(data.splits, loop.seed))
        if not {"train", "validation"} <= data.splits.keys():
            raise ValueError(f"there must be a train and a validation split: {NO_VALIDATION}")
        model, loading_info, tokenizer, data = load_classifier(model_args, data, train=True, verbose=first)
        splits = data_args.tokenize(data, tokenizer, model_args)
    fit_loss_to_data(loop, data, train=True, verbose=first)
    loss = load_loss(attach_loss(model, loop.make_loss()))
    model = lora_args.wrap(model, loading_info, train=True, task_type="SEQ_CLS")
    write_adapter(model)  # the loss's name, where adapters are saved and no config

    with folder_lock(loop.output_dir) if first else nullcontext():
        if first:
            batch_size = loop.per_device_train_batch_size * loop.gradient_accumulation_steps * accelerator.num_processes
            settings = option_values([loop, data_args, model_args, lora_args])
            identity = identity_of(
                settings, loss=loss, batch_size=batch_size, train_rows=splits["train"], tokenizer=tokenizer, model=model
            )
            refuse_other_run(loop.output_dir, identity)
            write_run(loop.output_dir, identity=identity)
        collate = DataCollatorWithPadding(tokenizer)
        model = train(accelerator, loop, model, splits["train"], collate)
        metrics = {}
        for split, rows in splits.items():  # MNLI has two validation splits; the test labels of GLUE are hidden
            if split == "train" or (
                split.startswith("test") and not (data_args.test_file or data_args.test_split_name)
            ):
                continue
            batches = DataLoader(rows, loop.per_device_eval_batch_size, collate_fn=collate)  # type: ignore[arg-type]
            scores, found = evaluate(accelerator, model, accelerator.prepare(batches), data, loss)
            prefix = "test_" if split.startswith("test") else ""
            suffix = "_mm" if split.endswith("_mm") else ""
            metrics |= {f"{prefix}{name}{suffix}": value for name, value in found.items()}
            if prefix and first:
                file = Path(loop.output_dir, f"{split}_predictions.tsv")
                write_predictions(file, columns_of(scores, data, loss))
        if first:
            save(accelerator, loop, data_args, model_args, model, tokenizer, loss, metrics)
            show_table(data_args.title, metrics | {"the model": loop.output_dir})
            if loop.push_to_hub and loop.hub_model_id:
                private = ["checkpoint-*", "_*"]  # as the Trainer
                with push_errors(loop.hub_model_id, loop.output_dir):
                    HfApi(token=loop.hub_token).upload_folder(
                        repo_id=loop.hub_model_id, folder_path=loop.output_dir, ignore_patterns=private
                    )
        accelerator.wait_for_everyone()
    return metrics


def train(accelerator: Accelerator, loop: LoopArguments, model: Any, rows: Any, collate: Any) -> Any:
    """The prepared model, trained to the end from the last whole checkpoint."""
    order = torch.Generator()
    batches = DataLoader(rows, loop.per_device_train_batch_size, shuffle=True, generator=order, collate_fn=collate)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=loop.learning_rate, weight_decay=loop.weight_decay)
    model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
    per_epoch = math.ceil(len(batches) / loop.gradient_accumulation_steps)
    steps = loop.num_train_epochs * per_epoch
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
        print(notice.strip())
    step = done = steps_done(checkpoint)
    with tqdm(total=steps, initial=done, disable=not accelerator.is_local_main_process) as progress:
        for epoch in range(done // per_epoch, loop.num_train_epochs):
            model.train()
            order.manual_seed(loop.seed + epoch)  # an epoch's order is its own, wherever the run goes on from
            before = max(done - epoch * per_epoch, 0) * loop.gradient_accumulation_steps
            for i, batch in enumerate(batches):
                if i < before:
                    continue
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
def evaluate(
    accelerator: Accelerator, model: Any, batches: Any, data: ClassificationData, loss: Loss
) -> tuple[Any, dict[str, float]]:
    """The scores over all processes; and where labels are known the task's metrics, with calibration by the loss."""
    model.eval()
    scores, labels, known = [], [], None
    for batch in batches:
        known = batch.pop("labels", None)
        logits = model(**batch).logits.float()
        gathered = accelerator.gather_for_metrics((logits, logits[:, 0] if known is None else known))
        scores.append(gathered[0].cpu())
        labels.append(gathered[1].cpu())
    array = torch.cat(scores).numpy()
    return array, classification_metrics(array, torch.cat(labels), data, loss) if known is not None else {}


def save(
    accelerator: Accelerator,
    loop: LoopArguments,
    data_args: DataArguments,
    model_args: ModelArguments,
    model: Any,
    tokenizer: Any,
    loss: Loss,
    metrics: dict[str, float],
) -> None:
    """The model, its tokenizer, results and card on disk."""
    plain: Any = accelerator.unwrap_model(model)
    folder = Path(loop.output_dir)
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "all_results.json").write_text(json.dumps(metrics, indent=4) + "\n")
    card = model_card(
        repo_id=loop.hub_model_id or folder.absolute().name,
        loss=loss,
        metrics={name: value for name, value in metrics.items() if not name.startswith("test_")},
        dataset_name=data_args.title,
        dataset=data_args.hub_name,
        base_model=model_args.model_name_or_path,
        regression=plain.config.num_labels == 1,
        adapter=has_adapter(plain),
        training={"learning rate": loop.learning_rate, "epochs": loop.num_train_epochs, "seed": loop.seed},
    )
    (folder / "README.md").write_text(card, encoding="utf8")


if __name__ == "__main__":
    run_script(main)
