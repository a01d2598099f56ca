"""Time of a training step with SquareLossTrainer beside the stock Trainer with cross-entropy: same model, same data.

    python benchmarks/training_step.py

Three models: a tiny and a BERT-sized classifier, where the loss should cost nothing, and a causal language model with a
vocabulary of 32,000, where the square loss does without the scores; there torch's F.linear_cross_entropy competes too.
"""

import tempfile
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
import transformers as tf
from measuring import parsed, parser, save
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from hf_squareloss import SquareLossTrainer

STOCK = "Trainer, cross-entropy"
OURS = "SquareLossTrainer, square"


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = parsed(parser(__doc__, rounds=5), argv)
    cases = CASES if not args.quick else {name: CASES[name] for name in ("tiny classifier",)}
    rows = [measured(name, *case, rounds=1 if args.quick else args.rounds) for name, case in cases.items()]
    results = save(args, "training_step", rows=rows)
    show(results)
    return results


# ---- models and data -------------------------------------------------------------------------------------------------
def tiny_classifier() -> tf.PreTrainedModel:
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return tf.BertForSequenceClassification(tf.BertConfig(vocab_size=1000, **sizes))


def bert_classifier() -> tf.PreTrainedModel:
    return tf.BertForSequenceClassification(tf.BertConfig())


def language_model() -> tf.PreTrainedModel:
    sizes: dict[str, Any] = {
        "hidden_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
    }
    return tf.LlamaForCausalLM(tf.LlamaConfig(vocab_size=32000, intermediate_size=512, **sizes))


def classification(items: int, length: int) -> list[dict[str, Any]]:
    random = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 1000, (items, length), generator=random)
    return [{"input_ids": row, "labels": torch.tensor(i % 2)} for i, row in enumerate(tokens)]


def text(items: int, length: int) -> list[dict[str, Any]]:
    tokens = torch.randint(0, 32000, (items, length), generator=torch.Generator().manual_seed(0))
    return [{"input_ids": row, "labels": row} for row in tokens]


class FusedCrossEntropyTrainer(tf.Trainer):
    """Cross-entropy by torch's F.linear_cross_entropy on the hidden states."""

    options: Any = None

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        hidden = model.model(inputs["input_ids"]).last_hidden_state[:, :-1].flatten(0, 1)
        labels = inputs["labels"][:, 1:].flatten()
        fused: Any = F.linear_cross_entropy  # type: ignore[attr-defined]
        return fused(hidden, model.lm_head.weight, labels, options=self.options)


class ChunkedCrossEntropyTrainer(FusedCrossEntropyTrainer):
    options = getattr(torch.nn, "LinearCrossEntropyOptions", lambda: None)()


Case = tuple[Callable[[], tf.PreTrainedModel], list[dict[str, Any]], int, int]
CASES: dict[str, Case] = {  # model, data, batch size, steps in one run
    "tiny classifier": (tiny_classifier, classification(800, 8), 8, 100),
    "BERT-sized classifier": (bert_classifier, classification(40, 32), 8, 5),
    "causal language model": (language_model, text(12, 512), 4, 3),
}


# ---- measuring -------------------------------------------------------------------------------------------------------
class StepTimes(tf.TrainerCallback):
    """Seconds from one step's begin to the next one's: all of a step, its data included."""

    def __init__(self) -> None:
        self.begins: list[float] = []

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        self.begins.append(perf_counter())

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.begins.append(perf_counter())

    @property
    def seconds(self) -> list[float]:
        """Without the first step, which sets things up."""
        return [after - before for before, after in zip(self.begins[1:-1], self.begins[2:], strict=True)]


def measured(
    name: str,
    make_model: Callable[[], tf.PreTrainedModel],
    data: list[dict[str, Any]],
    batch_size: int,
    steps: int,
    rounds: int,
) -> dict[str, Any]:
    trainers: dict[str, Callable[..., tf.Trainer]] = {STOCK: tf.Trainer, OURS: SquareLossTrainer}
    if name == "causal language model" and hasattr(F, "linear_cross_entropy"):
        trainers |= {"F.linear_cross_entropy": FusedCrossEntropyTrainer}
        trainers |= {"F.linear_cross_entropy, chunked": ChunkedCrossEntropyTrainer}
    times: dict[str, list[float]] = {label: [] for label in trainers}
    for number in tqdm(range(rounds + 1), desc=name, leave=False):
        for label, trainer in trainers.items():
            took = run(trainer, make_model(), data, batch_size, steps)
            times[label] += took if number else []  # the first round warms up
    medians = {label: median(values) for label, values in times.items()}
    tokens = batch_size * len(data[0]["input_ids"])
    return {"case": name, "seconds": medians, "tokens_per_second": {k: tokens / v for k, v in medians.items()}}


def run(
    trainer: Callable[..., tf.Trainer], model: tf.PreTrainedModel, data: Any, batch_size: int, steps: int
) -> list[float]:
    times = StepTimes()
    quiet: dict[str, Any] = {"report_to": "none", "logging_strategy": "no", "save_strategy": "no", "disable_tqdm": True}
    with tempfile.TemporaryDirectory() as folder:
        args = tf.TrainingArguments(folder, per_device_train_batch_size=batch_size, max_steps=steps + 1, **quiet)
        args.dataloader_pin_memory = torch.cuda.is_available()
        trainer(model, args, train_dataset=data, callbacks=[times]).train()
    return times.seconds


def show(results: dict[str, Any]) -> None:
    table = Table(title="seconds of a step, relative to the stock Trainer's", title_justify="left")
    for column in ("model", "stock, ms", "contender", "relative", "tokens/s"):
        table.add_column(column)
    for row in results["rows"]:
        base = row["seconds"][STOCK]
        for label in row["seconds"]:
            ratio, speed = row["seconds"][label] / base, row["tokens_per_second"][label]
            table.add_row(row["case"], f"{base * 1e3:.1f}", label, f"{ratio:.3f}", f"{speed:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
