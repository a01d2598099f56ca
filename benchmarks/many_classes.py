"""Why the square loss is behind with many even classes: losses between it and cross-entropy, one property at a time.

    python benchmarks/many_classes.py --train_file train.tsv --validation_file dev.tsv --model_name_or_path MODEL

Each loss fine-tunes the same encoder on the same rows: every learning rate with the first two seeds, and the one with
the best validation accuracy with all. Accuracy after the last epoch is measured on validation and on rows that were
trained on, so that one sees whether a loss learns less or generalises less; no test part is read. Each run is written
into --output as it ends, and what is there is not run again.

Losses of separate scores are (1/C) [k r(f_y) + sum_{i != y} w(f_i)] with the k of "auto":

    loss          r(f)               w(f)                what it has in common with cross-entropy
    square        (f - 1)^2          f^2                 nothing
    free_below    (f - 1)^2          max(0, f)^2         wrong scores may be as low as they like
    free_above    max(0, 1 - f)^2    f^2                 the right score may be as high as it likes
    free_both     max(0, 1 - f)^2    max(0, f)^2         both: the squared hinge
    logistic      log(1 + e^-f)      log(1 + e^f)        both, and a slope that falls off slowly

and two are of differences of scores, as cross-entropy is:

    relative_hinge    (1/C) sum_{i != y} max(0, 1 - f_y + f_i)^2
    relative_square   (1/C) sum_{i != y} (1 - f_y + f_i)^2

Three are the square loss, trained otherwise:

    square_fast_head    the head's learning rate is 10 times that of the encoder
    square_from_prior   the head's bias begins at the minimiser for the classes' frequencies, k M p / (1 + (k - 1) p)
    square_rising_M     M grows linearly from 0 to its value during the first fifth of the steps
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from measuring import read, write
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from hf_squareloss import CrossEntropy, Loss, SquareLoss, SquareLossTrainer, Squentropy
from hf_squareloss.comparison import environment
from hf_squareloss.losses import square_costs
from hf_squareloss.recipes.text_data import load_files
from hf_squareloss.recipes.text_encoding import tokenize

RESULTS = Path(__file__).with_suffix(".json")
TUNING = 2  # seeds
TRAINED_ON = 1000  # rows
FAST, RISE = 10.0, 0.2  # how many times as fast a head; the share of the steps in which M grows
Of = Callable[[Tensor], Tensor]


def _rest(scores: Tensor) -> Tensor:
    """What is missing to one, squared; nothing above."""
    return F.relu(1.0 - scores).square()


def _excess(scores: Tensor) -> Tensor:
    return F.relu(scores).square()


def _distance(scores: Tensor) -> Tensor:
    return (scores - 1.0).square()


SEPARATE: dict[str, tuple[Of, Of]] = {  # cost of the right score, cost of a wrong one
    "free_below": (_distance, _excess),
    "free_above": (_rest, torch.square),
    "free_both": (_rest, _excess),
    "logistic": (lambda scores: F.softplus(-scores), F.softplus),
}
RELATIVE: dict[str, Of] = {"relative_hinge": _rest, "relative_square": _distance}  # of f_y - f_i


@dataclass(frozen=True, kw_only=True)
class Between(Loss):
    """A loss of the tables above, by the name that `kind` is."""

    name: ClassVar[str] = "between"
    kind: str = "free_both"

    def costs(self, scores: Tensor) -> Tensor:
        scores, classes = scores.float(), scores.shape[-1]
        if self.kind in RELATIVE:
            apart = RELATIVE[self.kind](scores.unsqueeze(-1) - scores.unsqueeze(-2))
            return (apart.sum(-1) - apart.diagonal(dim1=-2, dim2=-1)) / classes
        right, wrong = SEPARATE[self.kind]
        k = float(SquareLoss().resolve(classes).k)
        of_wrong = wrong(scores)
        return (k * right(scores) + of_wrong.sum(-1, keepdim=True) - of_wrong) / classes

    def link(self, scores: Tensor) -> Tensor:
        """Some probabilities in the order of the scores: nothing here reads more of them."""
        return scores.float().softmax(-1)


@dataclass(frozen=True, kw_only=True)
class RisingM(Loss):
    """The square loss with a share of its M, which `Rise` says."""

    name: ClassVar[str] = "rising_M"
    share: ClassVar[float] = 1.0
    k: Any = "auto"
    M: Any = "auto"

    def costs(self, scores: Tensor) -> Tensor:
        full = SquareLoss(k=self.k, M=self.M).resolve(scores.shape[-1])
        return square_costs(scores, k=float(full.k), M=type(self).share * float(full.M))

    def link(self, scores: Tensor) -> Tensor:
        """As that of `Between`."""
        return scores.float().softmax(-1)


class Rise(TrainerCallback):
    """Lets M of `RisingM` grow."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        RisingM.share = min(1.0, (state.global_step + 1) / (RISE * state.max_steps))

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        RisingM.share = 1.0


LOSSES: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(),
    "square": SquareLoss(),
    "squentropy": Squentropy(),
    **{kind: Between(kind=kind) for kind in (*SEPARATE, *RELATIVE)},
    "square_fast_head": SquareLoss(),
    "square_from_prior": SquareLoss(),
    "square_rising_M": RisingM(),
}


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    experiment = Experiment(args)
    results = read(args.output) or {"environment": environment(), "threads": args.threads, "runs": []}
    there = {tuple(run[name] for name in KEY): run for run in results["runs"]}

    def runs_of(loss: str, rate: float, seeds: list[int]) -> list[dict[str, Any]]:
        found = []
        for seed in seeds:
            key = (experiment.data, args.max_train_samples, args.num_train_epochs, loss, rate, seed)
            if key not in there:
                there[key] = dict(zip(KEY, key, strict=True)) | experiment.run(loss, rate, seed)
                results["runs"].append(there[key])
                write(args.output, results)
                print(there[key], flush=True)
            found.append(there[key])
        return found

    for loss in args.losses:
        tuned = {rate: runs_of(loss, rate, args.seeds[:TUNING]) for rate in args.learning_rates}
        best = max(tuned, key=lambda rate: fmean(run["validation"] for run in tuned[rate]))
        runs_of(loss, best, args.seeds)


KEY = ("data", "samples", "epochs", "loss", "learning_rate", "seed")


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_file", required=True, help="csv, tsv or json with the columns text and label")
    parser.add_argument("--validation_file", required=True)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--losses", nargs="+", default=list(LOSSES), choices=LOSSES)
    parser.add_argument("--learning_rates", nargs="+", type=float, default=[5e-4, 1e-3, 2e-3])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--max_train_samples", type=int, default=3000)
    parser.add_argument("--num_train_epochs", type=int, default=3)
    parser.add_argument("--float32", action="store_true", help="not in bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args(argv)


class Experiment:
    """Trains on rows that the seed draws, with the settings of the study."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.data = args, Path(args.train_file).parent.name
        files = {"train": args.train_file, "validation": args.validation_file}
        data = load_files(files, {"text": "text", "label": "label"})
        self.tokenizer = AutoTokenizer.from_pretrained(args.model_name_or_path)
        self.splits: Any = tokenize(data, self.tokenizer, max_length=128)
        self.classes = data.num_labels

    def run(self, loss: str, rate: float, seed: int) -> dict[str, float]:
        """Accuracy on training and validation rows after the last epoch."""
        set_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            self.args.model_name_or_path, num_labels=self.classes, dtype=torch.float32
        )
        rows = self.splits["train"].shuffle(seed=seed)
        rows = rows.select(range(min(len(rows), self.args.max_train_samples)))
        if loss == "square_from_prior":
            with torch.no_grad():
                model.classifier.bias.copy_(prior_scores(rows["labels"], self.classes))
        with tempfile.TemporaryDirectory() as folder:
            settings = TrainingArguments(
                folder,
                num_train_epochs=self.args.num_train_epochs,
                per_device_train_batch_size=32,
                per_device_eval_batch_size=64,
                learning_rate=rate,
                warmup_steps=0.1,
                train_sampling_strategy="group_by_length",
                bf16=not self.args.float32,
                use_cpu=not torch.cuda.is_available(),
                seed=seed,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            )
            trainer = SquareLossTrainer(
                model,
                settings,
                loss=LOSSES[loss],
                train_dataset=rows,
                processing_class=self.tokenizer,
                data_collator=DataCollatorWithPadding(self.tokenizer),
                compute_metrics=lambda found: {"accuracy": float((found[0].argmax(-1) == found[1]).mean())},
                optimizers=(fast_head(model, rate) if loss == "square_fast_head" else None, None),
                callbacks=[Rise()],
            )
            trainer.train()
            measured = {
                "train": rows.select(range(min(len(rows), TRAINED_ON))),
                "validation": self.splits["validation"],
            }
            return {part: round(trainer.evaluate(of_part)["eval_accuracy"], 4) for part, of_part in measured.items()}


def fast_head(model: Any, rate: float) -> torch.optim.Optimizer:
    """The Trainer's AdamW with another learning rate for the head."""
    head = list(model.classifier.parameters())
    body = [p for p in model.parameters() if all(p is not each for each in head)]
    groups = [{"params": body, "lr": rate}, {"params": head, "lr": FAST * rate}]
    return torch.optim.AdamW(groups, weight_decay=0.0)


def prior_scores(labels: Any, num_classes: int) -> Tensor:
    """The square loss's minimiser for the frequencies of the classes: k M p / (1 + (k - 1) p)."""
    loss = SquareLoss().resolve(num_classes)
    p = torch.bincount(torch.as_tensor(labels), minlength=num_classes) / len(labels)
    return float(loss.k) * float(loss.M) * p / (1.0 + (float(loss.k) - 1.0) * p)


if __name__ == "__main__":
    main()
