"""The speed of examples/run_glue.py's training beside a plain transformers Trainer doing the same.

    python benchmarks/text_classification.py --train_file train.tsv --model_name_or_path MODEL

Seconds to import, the share of padding, and training samples per second: the stock Trainer with cross-entropy and
batches in random order, ours with the same settings, and ours with the defaults of run_glue.py (texts of one length
together), also in bfloat16 where the processor has it. Without a file: the docstrings of run_glue.py's demo.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from linear_square_loss import has_bfloat16
from measuring import parsed, parser, save
from rich.console import Console
from rich.table import Table
from tqdm import tqdm
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from hf_squareloss import SquareLossTrainer
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.demo_encoder import demo_encoder
from hf_squareloss.recipes.text_data import from_dataset_dict, load_files
from hf_squareloss.recipes.text_demo import docstring_topics
from hf_squareloss.recipes.text_encoding import tokenize

IMPORTS = {
    "Trainer": "from transformers import Trainer",
    "SquareLossTrainer": "from hf_squareloss import SquareLossTrainer",
}
GROUPED = {"train_sampling_strategy": "group_by_length"}
BATCH = 32
QUIET: dict[str, Any] = {
    **{"report_to": "none", "logging_strategy": "no", "save_strategy": "no", "disable_tqdm": True},
    **{"per_device_train_batch_size": BATCH, "num_train_epochs": 1},
    **{"dataloader_pin_memory": torch.cuda.is_available(), "use_cpu": not torch.cuda.is_available()},
}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    options = parser(__doc__, rounds=5)
    options.add_argument("--train_file", help="texts and labels: csv, tsv or json with the columns text and label")
    options.add_argument("--model_name_or_path", help="default: the demo's small encoder")
    options.add_argument("--max_train_samples", type=int, default=50 * BATCH, help="examples in one run")
    args = parsed(options, argv)
    if args.quick:
        args.max_train_samples = 2 * BATCH
    data = from_dataset_dict(docstring_topics())
    if args.train_file:
        data = load_files({"train": args.train_file}, {"text": "text", "label": "label"})
    name = args.model_name_or_path or demo_encoder()
    results = save(
        args,
        "text_classification",
        data=Path(args.train_file).parent.name if args.train_file else "docstrings",
        model=Path(name).name,
        samples=args.max_train_samples,
        batch_size=BATCH,
        import_seconds=import_seconds(0 if args.quick else 7),
        **throughput(data, name, args.max_train_samples, 1 if args.quick else args.rounds),
    )
    show(results)
    return results


def import_seconds(rounds: int) -> dict[str, float]:
    """Median seconds of a new Python that imports one or the other, in turns."""
    times: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(rounds + 1):
        for name, code in IMPORTS.items():
            start = perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
            times[name].append(perf_counter() - start)
    return {name: median(values[1:] or values) for name, values in times.items()}


def throughput(data: ClassificationData, name: str, samples: int, rounds: int) -> dict[str, Any]:
    """Samples per second of one epoch over `samples` examples, and the padding in one over all of them."""
    tokenizer = AutoTokenizer.from_pretrained(name)
    every: Any = tokenize(
        ClassificationData({"train": data.splits["train"]}, data.label_names), tokenizer, max_length=128
    )["train"]
    dataset = every.shuffle(seed=0).select(range(samples))
    contenders: dict[str, tuple[Callable[..., Trainer], dict[str, Any]]] = {
        "Trainer, cross-entropy": (Trainer, {}),
        "SquareLossTrainer, same settings": (SquareLossTrainer, {}),
        "SquareLossTrainer, defaults of run_glue.py": (SquareLossTrainer, GROUPED),
    }
    if has_bfloat16():
        contenders["the same with --bf16"] = (SquareLossTrainer, GROUPED | {"bf16": True})

    def make(label: str, dataset: Any, folder: str) -> Trainer:
        trainer, settings = contenders[label]
        model = AutoModelForSequenceClassification.from_pretrained(
            name, num_labels=data.num_labels, dtype=torch.float32
        )
        args = TrainingArguments(folder, **QUIET, **settings)
        collator = DataCollatorWithPadding(tokenizer)
        return trainer(model, args, train_dataset=dataset, data_collator=collator, processing_class=tokenizer)

    times: dict[str, list[float]] = {label: [] for label in contenders}
    for number in tqdm(range(rounds), desc="training"):
        labels = list(contenders)
        for label in labels[number % len(labels) :] + labels[: number % len(labels)]:  # none is always the first
            with tempfile.TemporaryDirectory() as folder:
                trainer = make(label, dataset, folder)
                start = perf_counter()
                trainer.train()
                times[label].append(perf_counter() - start)
    with tempfile.TemporaryDirectory() as folder:
        padding = {label: padded(make(label, every, folder)) for label in contenders}
    return {"samples_per_second": {k: samples / median(v) for k, v in times.items()}, "padding": padding}


def padded(trainer: Trainer) -> float:
    """The share of padding among the tokens of an epoch."""
    tokens = padding = 0
    for batch in tqdm(trainer.get_train_dataloader(), desc="padding", leave=False):
        mask = batch["attention_mask"]
        tokens, padding = tokens + mask.numel(), padding + int((mask == 0).sum())
    return padding / tokens


def show(results: dict[str, Any]) -> None:
    table = Table(title=f"{results['data']}, {results['model']}", title_justify="left")
    for column in ("", "samples/s", "relative", "padding"):
        table.add_column(column)
    base = results["samples_per_second"]["Trainer, cross-entropy"]
    for label, speed in results["samples_per_second"].items():
        table.add_row(label, f"{speed:.0f}", f"{speed / base:.2f}", f"{results['padding'][label]:.1%}")
    console = Console()
    console.print(table)
    imports = results["import_seconds"]
    ratio = imports["SquareLossTrainer"] / imports["Trainer"]
    console.print(f"importing SquareLossTrainer takes {ratio:.2f} times the import of transformers' Trainer")


if __name__ == "__main__":
    main()
