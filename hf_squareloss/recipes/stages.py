"""One run of an example script: train or resume, save the results, publish the model, and show what came out."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import Trainer, TrainingArguments

from hf_squareloss.config import KEY, load_loss
from hf_squareloss.losses import Loss
from hf_squareloss.training import SquareLossTrainingArguments, last_complete_checkpoint, record_run, refuse_other_run

if TYPE_CHECKING:
    from datasets import Dataset


def nothing_chosen(args: TrainingArguments) -> bool:
    """Whether none of --do_train, --do_eval and --do_predict was given; an eval_strategy sets do_eval too (5.24)."""
    return not (args.do_train or args.do_predict or (args.do_eval and args.eval_strategy == "no"))


def wanted(splits: Mapping[str, Dataset], name: str) -> Any:
    """The split of this name. ValueError where there is none, saying which option gives one."""
    if name not in splits:
        raise ValueError(f"there is no {name} split: give --{name}_file or another data set, or leave --do_* out")
    return splits[name]


def limited(splits: Mapping[str, Dataset], counts: Mapping[str, int | None]) -> dict[str, Dataset]:
    """The first counts[name] rows of each split; all rows where that is None."""
    return {
        name: rows if (count := counts[name]) is None else rows.select(range(min(count, len(rows))))
        for name, rows in splits.items()
    }


def trained_loss(args: SquareLossTrainingArguments, model: Any) -> Loss | None:
    """The loss that the model was trained with where it is not trained now; None for the loss of the arguments."""
    if args.do_train or model.config.to_dict().get(KEY) is None:
        return None
    args.label_smoothing_factor = 0.0  # it is in the model's loss
    loss = load_loss(model)
    if args.should_log:
        print(f"Evaluating with the loss that the model was trained with: {loss.to_dict()}")  # noqa: T201
    return loss


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
    trainer.save_model()
    trainer.save_state()
    finished = checkpoint is not None and checkpoint.endswith(f"-{result.global_step}")
    if finished and Path(folder, "train_results.json").exists():
        return {}  # its times are the training's
    return save(trainer, "train", result.metrics | {"train_samples": len(trainer.train_dataset)})  # type: ignore[arg-type]


def save(trainer: Trainer, split: str, metrics: dict[str, float]) -> dict[str, float]:
    """Write the metrics into <split>_results.json and all_results.json, and return them."""
    everything = Path(trainer.args.output_dir or ".", "all_results.json")
    if trainer.is_world_process_zero() and everything.exists() and not everything.read_text().rstrip().endswith("}"):
        everything.unlink()  # cut off by a kill
    trainer.save_metrics(split, metrics)
    return metrics


def save_predictions(trainer: Trainer, split: str, predictions: list[str]) -> None:
    """Write <split>_predictions.tsv, one line per row of the split."""
    if trainer.is_world_process_zero():
        lines = ["index\tprediction", *(f"{i}\t{prediction}" for i, prediction in enumerate(predictions))]
        Path(trainer.args.output_dir or ".", f"{split}_predictions.tsv").write_text("\n".join(lines) + "\n", "utf8")


def publish(trainer: Trainer, **description: Any) -> None:
    """Push to the Hub, or write the model card alone; `description` is what `create_model_card` takes."""
    if trainer.args.push_to_hub:
        trainer.push_to_hub(**description)
    elif trainer.args.do_train:
        trainer.create_model_card(**description)


def shown_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that a table on the screen should have."""
    hidden = ("_per_second", "_flos", "epoch", "_samples")
    return {name: value for name, value in metrics.items() if not name.endswith(hidden)}


def same_demo_with_another_loss(script: str, loss: str) -> str:
    """The command line that runs a script's demo with cross-entropy, or with the square loss if that was it."""
    other = "square" if loss == "cross_entropy" else "cross_entropy"
    launcher = os.path.relpath(Path(sys.executable).with_name("accelerate"))
    return f"The same with {other}:\n\n    {launcher} launch {os.path.relpath(script)} --loss {other}\n"
