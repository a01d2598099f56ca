"""A training script that is not ours, and a pool that makes its runs in this process: studies in milliseconds."""

import sys
from pathlib import Path

import pytest

from hf_squareloss.comparison import Order, Outcome, execute

# Accuracy is a known function of its options, so that tests know what must be chosen. `fail` and `nan` name seeds.
SCRIPT = """
import argparse, json, os, pathlib, signal, sys

parser = argparse.ArgumentParser()
parser.add_argument("--loss")
parser.add_argument("--loss_parameters", nargs="*", default=[])
parser.add_argument("--learning_rate", type=float)
parser.add_argument("--seed", type=int)
parser.add_argument("--output_dir", type=pathlib.Path)
parser.add_argument("--label_noise", type=float, default=0.0)
parser.add_argument("--best", type=float, default=1e-3)
parser.add_argument("--fail", type=int)
parser.add_argument("--nan", type=int)
args = parser.parse_args()
print("training", args.loss)
if args.seed == args.fail:
    raise RuntimeError("no such thing")
quality = {"cross_entropy": 0.8, "square": 0.85, "squentropy": 0.82}.get(args.loss, 0.5)
quality -= 0.1 * (args.learning_rate != args.best) + 0.01 * args.seed + args.label_noise / 10
value = float("nan") if args.seed == args.nan else quality
found = {"eval_accuracy": value, "eval_nll": 1 - value, "test_accuracy": value - 0.05}
found |= {"epoch": 3.0, "train_runtime": 2.0}
args.output_dir.mkdir(parents=True, exist_ok=True)
(args.output_dir / "all_results.json").write_text(json.dumps(found))
"""


def execute_here(order: Order) -> Outcome:
    """As `execute`, with Python's own output: pytest puts files of its own in its place."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, getattr(sys, f"__{name}__"))
        return execute(order)


class PoolHere:
    """As a `Pool` of `size` workers; a run is made when it is waited for."""

    def __init__(self, size: int = 1) -> None:
        self.size, self.waiting, self.made = size, [], []
        self.stopped: float | None = None

    def submit(self, order: Order) -> None:
        assert len(self.waiting) < self.size
        self.waiting.append(order)

    def wait(self, seconds: float) -> list[Outcome]:
        if not self.waiting:
            return []
        order = self.waiting.pop(0)
        self.made.append(order)
        return [execute_here(order)]

    def stop(self, patience: float = 60.0) -> None:
        self.stopped, self.waiting = patience, []


def write_script(folder: Path) -> Path:
    """The script in a file."""
    path = folder / "my_train.py"
    path.write_text(SCRIPT)
    return path
