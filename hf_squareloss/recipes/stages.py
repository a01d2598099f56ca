"""One run of an example script: choose what to do, train or resume, evaluate, predict, publish, show the results."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, set_seed

from hf_squareloss.config import saved_loss
from hf_squareloss.recipes.cli import show_table
from hf_squareloss.training import (
    SquareLossSeq2SeqTrainer,
    SquareLossTrainer,
    SquareLossTrainingArguments,
    last_complete_checkpoint,
    record_run,
    refuse_other_run,
)

if TYPE_CHECKING:
    from datasets import Dataset

Answers = Callable[[Any], Sequence[object] | Mapping[str, Sequence[object]]]


def start(args: SquareLossTrainingArguments, notice: str = "") -> None:
    """Print the notice once, set up logging on each process, and set the seed."""
    if notice and args.should_save:
        print(notice)  # noqa: T201
    logging.basicConfig(level=logging.WARNING)  # HTTP clients tell of each request at INFO
    logging.getLogger("hf_squareloss").setLevel(args.get_process_log_level())
    set_seed(args.seed)


def choose_stages(
    args: SquareLossTrainingArguments, splits: Mapping[str, Dataset], *, predict_by_default: bool = True
) -> None:
    """Where no --do_* is given, train, evaluate and predict as far as there are splits.

    An eval_strategy sets do_eval too (transformers 5.24), so it alone is no choice.

    Raises:
        ValueError: a chosen stage has no split.
    """
    if not (args.do_train or args.do_predict or (args.do_eval and args.eval_strategy == "no")):
        args.do_train, args.do_eval = "train" in splits, "validation" in splits
        args.do_predict = predict_by_default and "test" in splits
    for chosen, name in ((args.do_train, "train"), (args.do_eval, "validation"), (args.do_predict, "test")):
        if chosen:
            get_split(splits, name)


def get_split(splits: Mapping[str, Dataset], name: str) -> Dataset:
    """The split of this name. ValueError where there is none, saying which option gives one."""
    if name not in splits:
        raise ValueError(f"there is no {name} split: give --{name}_file or another data set, or leave --do_* out")
    return splits[name]


def trainer_inputs(args: SquareLossTrainingArguments, model: Any, splits: Mapping[str, Dataset]) -> dict[str, Any]:
    """Keyword arguments for a trainer: model, arguments, and the encoded splits of the chosen stages."""
    if not args.do_train and args.should_log and (loss := saved_loss(model)) is not None:
        print(f"Evaluating with the loss that the model was trained with: {loss}")  # noqa: T201
    return {
        "model": model,
        "args": args,
        "train_dataset": splits["train"] if args.do_train else None,
        "eval_dataset": splits["validation"] if args.do_eval else None,
    }


def run_stages(
    trainer: Trainer,
    splits: Mapping[str, Dataset],
    settings: Mapping[str, Any],
    answers: Answers,
    *,
    extractor: Any = None,
) -> dict[str, float]:
    """Train, evaluate and predict as the arguments say, with results on disk; the metrics of all stages.

    Args:
        splits: encoded; validation_mm and test_mm are evaluated and predicted too, as MNLI has them.
        settings: as for `train_or_resume`.
        answers: the predictions of a split -> one text per row, or columns of them, for <split>_predictions.tsv.
        extractor: a feature extractor to be saved with the model, where processing_class is the tokenizer.
    """
    args: Any = trainer.args
    metrics: dict[str, float] = {}
    if args.do_train:
        metrics |= train_or_resume(trainer, settings)
        if extractor is not None and args.should_save:
            extractor.save_pretrained(args.output_dir)
    if args.do_eval:
        for split in ("validation", "validation_mm"):
            if split in splits:
                metrics |= evaluate(trainer, splits[split], split.replace("validation", "eval"))
    if args.do_predict:
        for split in ("test", "test_mm"):
            if split in splits:
                metrics |= predict(trainer, splits[split], split, answers)
    return metrics


def train_or_resume(trainer: Trainer, settings: Mapping[str, Any]) -> dict[str, float]:
    """Train to the end from the last whole checkpoint, save the model; the metrics that were saved.

    Args:
        settings: what must be the same for a run to be resumed; the loss is in the model's config, and seed, learning
            rate, length and global batch size are added here.

    Raises:
        ValueError: the output folder holds a run with other settings.
    """
    args = trainer.args
    folder = str(args.output_dir)
    settings = {
        **settings,
        "seed": args.seed,
        "learning_rate": args.learning_rate,
        "num_train_epochs": args.num_train_epochs,  # the schedule of the learning rate ends there
        "max_steps": args.max_steps,
        "global batch size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
    }
    refuse_other_run(folder, settings)
    if args.should_save:
        record_run(folder, settings)
    checkpoint = args.resume_from_checkpoint or last_complete_checkpoint(folder, args.world_size)
    if checkpoint and args.should_log:
        print(f"Resuming from {checkpoint}")  # noqa: T201
    result = trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(_internal_call=True)  # without a push of its own (transformers 5.24): `publish` comes at the end
    trainer.save_state()
    finished = checkpoint is not None and checkpoint.endswith(f"-{result.global_step}")
    if finished and Path(folder, "train_results.json").exists():
        return {}  # its times are the training's
    return save(trainer, "train", result.metrics | {"train_samples": len(trainer.train_dataset)})  # type: ignore[arg-type]


def evaluate(trainer: Trainer, rows: Dataset, name: str = "eval") -> dict[str, float]:
    """The metrics of these rows, which <name>_results.json gets."""
    metrics = trainer.evaluate(rows, metric_key_prefix=name)  # type: ignore[arg-type]
    return save(trainer, name, metrics | {f"{name}_samples": len(rows)})


def predict(trainer: Trainer, rows: Dataset, name: str, answers: Answers) -> dict[str, float]:
    """Predictions into <name>_predictions.tsv, and the metrics, where labels are known, into <name>_results.json."""
    result = trainer.predict(rows, metric_key_prefix=name)  # type: ignore[arg-type]
    save_predictions(trainer, name, answers(result.predictions))
    return save(trainer, name, (result.metrics or {}) | {f"{name}_samples": len(rows)})


def save(trainer: Trainer, split: str, metrics: dict[str, float]) -> dict[str, float]:
    """Write the metrics into <split>_results.json and all_results.json, and return them."""
    everything = Path(trainer.args.output_dir or ".", "all_results.json")
    if trainer.is_world_process_zero() and everything.exists() and not everything.read_text().rstrip().endswith("}"):
        everything.unlink()  # cut off by a kill
    trainer.save_metrics(split, metrics)
    return metrics


def save_predictions(
    trainer: Trainer, split: str, predictions: Sequence[object] | Mapping[str, Sequence[object]]
) -> None:
    """Write <split>_predictions.tsv, one line per row of the split, from the predictions or from columns by name."""
    if trainer.is_world_process_zero():
        columns = predictions if isinstance(predictions, Mapping) else {"prediction": predictions}
        rows = [("index", *columns), *((i, *row) for i, row in enumerate(zip(*columns.values(), strict=True)))]
        lines = ["\t".join(re.sub(r"[\t\r\n]", " ", str(cell)) for cell in row) for row in rows]
        Path(trainer.args.output_dir or ".", f"{split}_predictions.tsv").write_text("\n".join(lines) + "\n", "utf8")


def publish(trainer: Trainer, **description: Any) -> None:
    """Push to the Hub, or write the model card alone; `description` is what `create_model_card` takes."""
    if trainer.args.push_to_hub:
        trainer.push_to_hub(**description)
    elif trainer.args.do_train:
        trainer.create_model_card(**description)


def report(trainer: SquareLossTrainer | SquareLossSeq2SeqTrainer, title: str, metrics: Mapping[str, float]) -> None:
    """The table at the end of the screen."""
    rows = shown_metrics(metrics) | {"the model": trainer.args.output_dir}
    show_table(title, {"loss": str(trainer.loss), **rows})


def shown_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that a table on the screen should have."""
    hidden = ("_per_second", "_flos", "epoch", "_samples")
    return {name: value for name, value in metrics.items() if not name.endswith(hidden)}
