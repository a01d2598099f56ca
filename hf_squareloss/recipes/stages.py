"""One run of an example script: choose what to do, train or resume, evaluate, predict, publish, show the results."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence, Sized
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelerate.utils import broadcast_object_list
from transformers import Trainer, set_seed

from hf_squareloss.config import saved_loss
from hf_squareloss.recipes.arguments import DataSourceArguments
from hf_squareloss.recipes.cli import show_table
from hf_squareloss.recipes.epoch_records import EpochRecords
from hf_squareloss.recipes.folder_lock import folder_lock
from hf_squareloss.recipes.interruption import Interruption
from hf_squareloss.recipes.run_files import read_object
from hf_squareloss.recipes.run_identity import read_run, refuse_other_run, run_identity, write_run
from hf_squareloss.training import (
    SquareLossSeq2SeqTrainer,
    SquareLossTrainer,
    SquareLossTrainingArguments,
    last_complete_checkpoint,
    missing_parts,
    newest_weights,
    require_resumable,
)

if TYPE_CHECKING:
    from datasets import Dataset

Answers = Callable[[Any], Sequence[object] | Mapping[str, Sequence[object]]]


NO_VALIDATION = (
    "give --validation_file (for images and sounds --validation_dir as well), the name of a data set's split, "
    "or --train_val_split 0.1"
)


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
        if not args.do_eval and args.should_log:
            print(f"Nothing is evaluated: {NO_VALIDATION}")  # noqa: T201
    for chosen, name in ((args.do_train, "train"), (args.do_eval, "validation"), (args.do_predict, "test")):
        if chosen and name not in splits:
            raise ValueError(f"{_missing(name)}, or leave --do_* out")


def get_split(splits: Mapping[str, Dataset], name: str) -> Dataset:
    """The split of this name. ValueError where there is none, saying what gives one."""
    if name not in splits:
        raise ValueError(_missing(name))
    return splits[name]


def _missing(name: str) -> str:
    own = f"give --{name}_file (for images and sounds --{name}_dir as well) or another data set"
    return f"there is no {name} split: {NO_VALIDATION if name == 'validation' else own}"


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
    options: Sequence[Any],
    answers: Answers,
    *,
    sources: Mapping[str, Dataset] | None = None,
    extractor: Any = None,
) -> dict[str, float]:
    """Train, evaluate and predict as the arguments say, with results on disk; the metrics of all stages.

    A signal ends the run as `Interruption` says; a second run in the same folder is refused.

    Args:
        splits: encoded; validation_mm and test_mm are evaluated and predicted too, as MNLI has them.
        options: the script's dataclasses of arguments other than the training arguments, for `run_identity`.
        answers: the predictions of a split -> one text per row, or columns of them, for <split>_predictions.tsv.
        sources: the splits whose content tells one run from another; default: the encoded ones.
        extractor: a feature extractor to be saved with the model, where processing_class is the tokenizer.

    Raises:
        ValueError: another run is at work in the output folder, or the one there is not this one; or nothing is
            trained, and the model is from scratch.
        SystemExit: a signal came.
    """
    args: Any = trainer.args
    if not args.do_train and any(getattr(o, "model_name_or_path", "") is None for o in options):
        raise ValueError(
            "nothing is trained, so that a model from scratch says nothing: --model_name_or_path names a trained one, "
            "such as the --output_dir of a run before; or add --do_train"
        )
    metrics: dict[str, float] = {}
    lock = folder_lock(args.output_dir) if trainer.is_world_process_zero() else nullcontext()
    recorded = args.do_train and any(isinstance(o, DataSourceArguments) and o.record_epochs for o in options)
    if recorded:
        trainer.add_callback(EpochRecords(trainer, splits))
    with lock, Interruption(trainer) as interruption:
        if args.do_train:
            rows = sources or splits
            identity = {}
            if trainer.is_world_process_zero():
                identity = run_identity(trainer, options, rows["train"], rows.get("validation"), extractor=extractor)
            metrics |= train_or_resume(trainer, identity, interruption)
            if extractor is not None and args.should_save:
                extractor.save_pretrained(args.output_dir)
        if recorded:
            return metrics
        if args.do_eval:
            for split in ("validation", "validation_mm"):
                if split in splits:
                    metrics |= evaluate(trainer, splits[split], split.replace("validation", "eval"))
        if args.do_predict:
            for split in ("test", "test_mm"):
                if split in splits:
                    metrics |= predict(trainer, splits[split], split, answers)
    return metrics


def train_or_resume(trainer: Trainer, identity: Mapping[str, Any], interruption: Interruption) -> dict[str, float]:
    """Train to the end from the last whole checkpoint, save the model; the metrics that were saved.

    Args:
        identity: `run_identity`'s, in the main process.

    Raises:
        ValueError: the folder holds another run, weights alone, or a run that diverged.
        FloatingPointError: training diverged; says what to do.
        SystemExit: a signal came.
    """
    args = trainer.args
    folder = str(args.output_dir)
    choice: list[Any] = [choose_checkpoint(args, identity) if trainer.is_world_process_zero() else None]
    (checkpoint,) = broadcast_object_list(choice)
    if checkpoint and args.should_log:
        print(f"Resuming from {checkpoint}")  # noqa: T201
    try:
        result = trainer.train(resume_from_checkpoint=checkpoint)
    except FloatingPointError as error:
        if trainer.is_world_process_zero():
            write_run(folder, identity=identity, diverged_at_step=trainer.state.global_step + 1)
        raise FloatingPointError(f"{error}. {after_divergence(folder)}") from error
    interruption.stop_if_requested()
    trainer.save_model(_internal_call=True)  # without a push of its own (transformers 5.24): `publish` comes at the end
    trainer.save_state()
    finished = checkpoint is not None and checkpoint.endswith(f"-{result.global_step}")
    if finished and read_object(Path(folder, "train_results.json")):
        return {}  # its times are the training's
    samples = (
        {"train_samples": len(trainer.train_dataset)} if isinstance(trainer.train_dataset, Sized) else {}
    )  # a stream
    return save(trainer, "train", result.metrics | samples)


def choose_checkpoint(args: Any, identity: Mapping[str, Any]) -> str | None:
    """The checkpoint to go on from, or None to start; the folder is this run's from now on.

    Raises:
        ValueError: as `train_or_resume`.
    """
    folder, given = str(args.output_dir), args.resume_from_checkpoint
    if str(given).lower() in ("true", "false", ""):
        given = None  # the last one is taken in any case
    refuse_other_run(folder, identity, given)
    step = read_run(folder).get("diverged_at_step")
    if step is not None and given is None:
        raise ValueError(
            f"the run in {folder} diverged at step {step} and would do so again. {after_divergence(folder)}"
        )
    write_run(folder, identity=identity)
    if given is not None:
        return given
    whole, weights = last_complete_checkpoint(folder, args.world_size), newest_weights(folder)
    if whole is None and weights is not None and missing_parts(weights):
        require_resumable(weights)
        return weights  # of a finished run
    return whole


def after_divergence(folder: str) -> str:
    """What to do about a run that diverged."""
    weights = newest_weights(folder)
    advice = "Choose another --output_dir with a lower --learning_rate or --max_grad_norm, or --bf16 instead of --fp16"
    if weights is None:
        return f"{advice}. To try the same again, remove {folder}"
    return (
        f"{advice}; --model_name_or_path with a checkpoint of before starts from its weights. "
        f"To try the same again: --resume_from_checkpoint {weights}, or an earlier one"
    )


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
    folder = Path(trainer.args.output_dir or ".")
    everything = folder / "all_results.json"
    if trainer.is_world_process_zero() and everything.exists() and not read_object(everything):
        # It was cut off by a kill: the files of the stages have it all.
        parts = [read_object(path) for path in sorted(folder.glob("*_results.json")) if path != everything]
        everything.write_text(json.dumps({name: value for part in parts for name, value in part.items()}))
    trainer.save_metrics(split, metrics)
    return metrics


def save_predictions(
    trainer: Trainer, split: str, predictions: Sequence[object] | Mapping[str, Sequence[object]]
) -> None:
    """Write <split>_predictions.tsv, one line per row of the split, from the predictions or from columns by name."""
    if trainer.is_world_process_zero():
        write_predictions(Path(trainer.args.output_dir or ".", f"{split}_predictions.tsv"), predictions)


def write_predictions(path: Path, predictions: Sequence[object] | Mapping[str, Sequence[object]]) -> None:
    """One line per row from the predictions or from columns by name, first their `index`, or else their number."""
    columns = predictions if isinstance(predictions, Mapping) else {"prediction": predictions}
    columns = {"index": range(len(next(iter(columns.values())))), **columns}
    rows = [tuple(columns), *zip(*columns.values(), strict=True)]
    lines = ["\t".join(re.sub(r"[\t\r\n]", " ", str(cell)) for cell in row) for row in rows]
    path.write_text("\n".join(lines) + "\n", "utf8")


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
