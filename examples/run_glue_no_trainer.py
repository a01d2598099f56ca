"""The same task as run_glue.py in a plain Accelerate loop: `attach_loss` is the only line that knows of the loss.

    accelerate launch examples/run_glue_no_trainer.py --task_name mrpc --model_name_or_path bert-base-cased \
        --loss square --learning_rate 2e-5 --output_dir outputs/mrpc-no-trainer

    accelerate launch examples/run_glue_no_trainer.py --train_file train.tsv --validation_file dev.tsv \
        --model_name_or_path bert-base-cased --loss square --output_dir outputs/mine
"""

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from huggingface_hub import HfApi
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    SchedulerType,
    get_scheduler,
)

from hf_squareloss import attach_loss, detach_loss, load_loss
from hf_squareloss.losses import LOSSES, loss_from_dict
from hf_squareloss.recipes.arguments import sample
from hf_squareloss.recipes.classification import ClassificationData, classification_metrics, name_classes
from hf_squareloss.recipes.cli import run_script, show_table
from hf_squareloss.recipes.model_classes import class_difference
from hf_squareloss.recipes.text_data import GLUE_TASKS, load_files, load_glue
from hf_squareloss.recipes.text_encoding import pad_with_end, tokenize
from hf_squareloss.training import model_card, parse_loss_parameters, push_errors, require_push_rights


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task_name", choices=list(GLUE_TASKS))
    parser.add_argument("--train_file", help="csv, tsv, json or parquet: columns text, text_pair (pairs) and label")
    parser.add_argument("--validation_file")
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--loss", default="square", help=", ".join(LOSSES))
    parser.add_argument("--loss_k", help="square loss: weight of the true class; a number, auto or paper")
    parser.add_argument("--loss_M", help="square loss: target of the true class; a number, auto or paper")
    parser.add_argument("--loss_parameters", nargs="+", default=[], help="the loss's own: gamma=2 alpha=0.25")
    parser.add_argument("--label_smoothing", type=float)
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--max_train_samples", type=int)
    parser.add_argument("--max_eval_samples", type=int)
    parser.add_argument("--per_device_train_batch_size", type=int, default=8)
    parser.add_argument("--per_device_eval_batch_size", type=int, default=32)
    parser.add_argument("--gradient_accumulation_steps", type=int, default=1)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--weight_decay", type=float, default=0.0)
    parser.add_argument("--num_train_epochs", type=int, default=3)
    parser.add_argument("--lr_scheduler_type", type=SchedulerType, default=SchedulerType.LINEAR)
    parser.add_argument("--num_warmup_steps", type=int, default=0)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--push_to_hub", action="store_true")
    parser.add_argument("--hub_model_id")
    parser.add_argument("--hub_token")
    args = parser.parse_args(argv)
    if (args.task_name is None) == (args.train_file is None or args.validation_file is None):
        parser.error("give --task_name, or --train_file and --validation_file")
    return args


def main(argv: list[str] | None = None) -> dict[str, float]:
    args = parse(argv)
    accelerator = Accelerator(gradient_accumulation_steps=args.gradient_accumulation_steps)
    set_seed(args.seed)
    options = {"k": args.loss_k, "M": args.loss_M, "label_smoothing": args.label_smoothing}
    words = [f"{name}={value}" for name, value in options.items() if value is not None]
    loss = loss_from_dict({"loss": args.loss, **parse_loss_parameters([*words, *args.loss_parameters])})
    if args.push_to_hub and accelerator.is_main_process:
        args.hub_model_id = require_push_rights(
            args.hub_model_id or args.output_dir.absolute().name, token=args.hub_token
        )

    with accelerator.main_process_first():
        columns = {"text": "text", "label": "label"}
        files = {"train": args.train_file, "validation": args.validation_file}
        data = load_glue(args.task_name) if args.task_name else load_files(files, columns)
        tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path)
        splits = tokenize(data, tokenizer, max_length=args.max_length)
    config = AutoConfig.from_pretrained(args.model_name_or_path)
    if accelerator.is_main_process and (difference := class_difference(data, config, training=True)):
        print(difference)
    name_classes(config, data)
    pad_with_end(tokenizer, config)
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model_name_or_path, config=config, dtype=torch.float32
    )
    attach_loss(model, loss)

    def batched(name: str, size: int, most: int | None, shuffle: bool = False) -> Any:
        rows: Any = sample(splits[name], most, args.seed if name == "train" else 0)
        return DataLoader(rows, size, shuffle=shuffle, collate_fn=DataCollatorWithPadding(tokenizer))

    batches = batched("train", args.per_device_train_batch_size, args.max_train_samples, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    model, optimizer, batches = accelerator.prepare(model, optimizer, batches)
    held_out = {
        name.removeprefix("validation"): accelerator.prepare(
            batched(name, args.per_device_eval_batch_size, args.max_eval_samples)
        )
        for name in ("validation", "validation_mm")  # MNLI has two
        if name in splits
    }
    steps = args.num_train_epochs * math.ceil(len(batches) / args.gradient_accumulation_steps)
    schedule = get_scheduler(args.lr_scheduler_type, optimizer, args.num_warmup_steps, steps)

    metrics: dict[str, float] = {}
    with tqdm(total=steps, disable=not accelerator.is_local_main_process) as progress:
        for _ in range(args.num_train_epochs):
            model.train()
            for batch in batches:
                with accelerator.accumulate(model):
                    accelerator.backward(model(**batch).loss)
                    optimizer.step()
                    if accelerator.sync_gradients:
                        schedule.step()
                        progress.update()
                    optimizer.zero_grad()
            metrics = {
                name + suffix: value
                for suffix, part in held_out.items()
                for name, value in evaluate(accelerator, model, part, data).items()
            }
            progress.set_postfix(metrics)

    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        save(accelerator, args, model, tokenizer, metrics)
        show_table(str(args.task_name or args.train_file), metrics | {"the model": str(args.output_dir)})
        if args.push_to_hub:
            with push_errors(args.hub_model_id, args.output_dir):
                HfApi(token=args.hub_token).upload_folder(
                    repo_id=args.hub_model_id, folder_path=args.output_dir, ignore_patterns=["checkpoint-*"]
                )
    return metrics


@torch.no_grad()
def evaluate(accelerator: Accelerator, model: Any, batches: Any, data: ClassificationData) -> dict[str, float]:
    """Task metrics over all processes, and calibration through the loss's own link."""
    model.eval()
    scores, labels = [], []
    for batch in batches:
        gathered = accelerator.gather_for_metrics((model(**batch).logits.float(), batch["labels"]))
        scores.append(gathered[0].cpu())
        labels.append(gathered[1].cpu())
    unwrapped: Any = accelerator.unwrap_model(model)
    return classification_metrics(torch.cat(scores), torch.cat(labels), data, load_loss(unwrapped))


def save(
    accelerator: Accelerator, args: argparse.Namespace, model: Any, tokenizer: Any, metrics: dict[str, float]
) -> None:
    plain: Any = accelerator.unwrap_model(model)
    plain.save_pretrained(args.output_dir)
    tokenizer.save_pretrained(args.output_dir)
    (args.output_dir / "all_results.json").write_text(json.dumps(metrics, indent=4) + "\n")
    card = model_card(
        repo_id=args.hub_model_id or args.output_dir.absolute().name,
        loss=load_loss(plain),
        metrics=metrics,
        dataset_name=f"GLUE {args.task_name.upper()}" if args.task_name else "local files",
        dataset="nyu-mll/glue" if args.task_name else None,
        base_model=args.model_name_or_path,
        regression=plain.config.num_labels == 1,
        training={"learning rate": args.learning_rate, "epochs": args.num_train_epochs, "seed": args.seed},
    )
    (args.output_dir / "README.md").write_text(card, encoding="utf8")
    detach_loss(plain)


if __name__ == "__main__":
    run_script(main)
