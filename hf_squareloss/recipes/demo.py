"""The built-in demo of an example script: what it does where no data is named, and what it shows at its end."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_squareloss.recipes.cli import show_table
from hf_squareloss.training import SquareLossSeq2SeqTrainer, SquareLossTrainer


def demo_defaults(name: str, loss: str) -> dict[str, Any]:
    """Defaults of the training arguments: train, evaluate and predict, with one checkpoint per epoch, the last kept."""
    return {
        "output_dir": f"outputs/{name}-demo-{loss}",
        **dict.fromkeys(("do_train", "do_eval", "do_predict"), True),
        **dict.fromkeys(("eval_strategy", "save_strategy"), "epoch"),
        "save_total_limit": 1,
        "logging_steps": 20,
    }


def report_demo(
    trainer: SquareLossTrainer | SquareLossSeq2SeqTrainer,
    title: str,
    rows: Mapping[str, Any],
    metrics: Mapping[str, float],
    script: str,
) -> None:
    """The table at the end of the screen with `rows` in it, and the command that runs the demo with another loss."""
    seconds = metrics.get("train_runtime")
    around = {
        "training time": "done before" if seconds is None else f"{seconds:.0f} s",
        "the model": trainer.args.output_dir,
    }
    show_table(title, {"loss": str(trainer.loss), **rows, **around})
    print(same_demo_with_another_loss(script, trainer.loss.name))  # noqa: T201


def same_demo_with_another_loss(script: str, loss: str) -> str:
    """The command line that runs a script's demo with cross-entropy, or with the square loss if that was it."""
    other = "square" if loss == "cross_entropy" else "cross_entropy"
    launcher = os.path.relpath(Path(sys.executable).with_name("accelerate"))
    return f"The same with {other}:\n\n    {launcher} launch {os.path.relpath(script)} --loss {other}\n"
