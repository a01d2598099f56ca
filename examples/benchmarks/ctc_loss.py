"""Time of `ctc_loss` with each loss beside torch's own CTC, forward and backward, in one process.

    python examples/benchmarks/ctc_loss.py

Ratios of medians; torch's own is log_softmax and F.ctc_loss, as in every CTC model of transformers. The results
go to ctc_loss.json beside this file, and `make docs` renders them into the README.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor
from tqdm import tqdm

from hf_squareloss import ctc_loss
from hf_squareloss.comparison import environment
from hf_squareloss.losses import LOSSES

FRAMES, BATCH, LABELS = 500, 16, 50
CLASSES = (32, 1000)
RESULTS = Path(__file__).with_suffix(".json")


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="runs of each, in turns")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    rows = [measured(classes, args.rounds) for classes in CLASSES]
    results = {"frames": FRAMES, "batch": BATCH, "labels": LABELS, "environment": environment(), "rows": rows}
    args.output.write_text(json.dumps(results, indent=1) + "\n")
    show(results)
    return results


def measured(classes: int, rounds: int) -> dict[str, Any]:
    """Median seconds of torch's CTC, and the ratio to it of ours with each loss."""
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(BATCH, FRAMES, classes, generator=random, requires_grad=True)
    labels = torch.randint(1, classes, (BATCH, LABELS), generator=random)
    frames, counts = torch.full((BATCH,), FRAMES), torch.full((BATCH,), LABELS)

    def stock() -> Tensor:
        return F.ctc_loss(scores.log_softmax(-1).transpose(0, 1), labels, frames, counts, reduction="sum")

    def ours(name: str) -> Tensor:
        return ctc_loss(scores, labels, frames, loss=LOSSES[name]()).sum()

    contenders: dict[str, Callable[[], Tensor]] = {"torch": stock}
    contenders |= {name: lambda name=name: ours(name) for name in LOSSES}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in tqdm(range(rounds + 1), desc=f"{classes} classes"):
        for name, compute in contenders.items():
            scores.grad = None
            start = perf_counter()
            compute().backward()
            seconds[name].append(perf_counter() - start)
    medians = {name: median(values[1:]) for name, values in seconds.items()}  # the first round warms up
    ratios = {name: medians[name] / medians["torch"] for name in LOSSES}
    return {"classes": classes, "torch_seconds": medians["torch"], "ratios": ratios}


def show(results: dict[str, Any]) -> None:
    table = Table(title="ctc_loss, time relative to torch's CTC", title_justify="left")
    for column in ("classes", "torch, s", *LOSSES):
        table.add_column(column)
    for row in results["rows"]:
        ratios = [f"{row['ratios'][name]:.2f}" for name in LOSSES]
        table.add_row(str(row["classes"]), f"{row['torch_seconds']:.3f}", *ratios)
    Console().print(table)


if __name__ == "__main__":
    main()
