"""Run an example script in this process and keep the scores and labels that it sees, for benchmarks/calibration.py.

    python benchmarks/recorded_scores.py run_glue.py --train_file train.tsv --validation_file dev.tsv \
        --test_file test.tsv --model_name_or_path MODEL --loss square --calibrate False \
        --output_dir outputs/TASK/square-seed0

All that follows the script's name goes to the script; without calibration the scores are those that training gave.
Beside the model, OUTPUT_DIR/scores holds validation.npz, test.npz, and train.npz: 2,000 rows that the model was trained
on (in image and audio scripts as training sees them, with their random changes). Each has scores (N, C) in float32,
labels (N,) and the loss as JSON.
"""

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch.utils.data import Subset

from hf_squareloss import SquareLossTrainer
from hf_squareloss.recipes.cli import run_script

EXAMPLES = Path(__file__).parents[1] / "examples"
PARTS = {"eval": "validation", "test": "test", "train": "train"}
TRAINING_ROWS = 2000


def main(argv: list[str] | None = None) -> None:
    script, *arguments = sys.argv[1:] if argv is None else argv
    with recorded():
        example(script).main(arguments)


def example(script: str) -> Any:
    """An example script as a module."""
    if str(EXAMPLES) not in sys.path:
        sys.path.insert(0, str(EXAMPLES))
    return importlib.import_module(Path(script).stem)


@contextmanager
def recorded() -> Iterator[None]:
    """Inside, evaluation and prediction of a SquareLossTrainer outside of training write their scores.

    Behind an evaluation of a trainer that has training rows, a sample of these is predicted.
    """
    evaluation_loop, evaluate = SquareLossTrainer.evaluation_loop, SquareLossTrainer.evaluate

    def kept_loop(trainer: Any, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> Any:
        found = evaluation_loop(trainer, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        if not trainer.is_in_train:
            write_scores(trainer, PARTS[metric_key_prefix], found)
        return found

    def and_training_rows(trainer: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        metrics = evaluate(trainer, *args, **kwargs)
        if not trainer.is_in_train and trainer.train_dataset is not None:
            trainer.predict(sample(trainer.train_dataset), metric_key_prefix="train")
        return metrics

    SquareLossTrainer.evaluation_loop = kept_loop  # type: ignore[method-assign]
    SquareLossTrainer.evaluate = and_training_rows  # type: ignore[method-assign]
    try:
        yield
    finally:
        SquareLossTrainer.evaluation_loop = evaluation_loop  # type: ignore[method-assign]
        SquareLossTrainer.evaluate = evaluate  # type: ignore[method-assign]


def sample(rows: Any) -> Any:
    """At most TRAINING_ROWS of the rows, the same each time."""
    chosen = np.sort(np.random.default_rng(0).permutation(len(rows))[:TRAINING_ROWS]).tolist()
    return rows.select(chosen) if isinstance(rows, Dataset) else Subset(rows, chosen)


def write_scores(trainer: Any, part: str, found: Any) -> None:
    scores = found.predictions[0] if isinstance(found.predictions, tuple) else found.predictions
    folder = Path(trainer.args.output_dir) / "scores"
    folder.mkdir(exist_ok=True)
    np.savez(
        folder / f"{part}.npz",
        scores=np.asarray(scores, np.float32),
        labels=found.label_ids,
        loss=json.dumps(trainer.loss.to_dict()),
    )


if __name__ == "__main__":
    run_script(main)
