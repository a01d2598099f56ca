"""Time of `ctc_loss` with each loss beside torch's own CTC, forward and backward.

    python benchmarks/ctc_loss.py

Torch's own is log_softmax and F.ctc_loss, as in every CTC model of transformers.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from measuring import device, parsed, parser, save, seconds
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hf_squareloss import ctc_loss
from hf_squareloss.losses import LOSSES

FRAMES, BATCH, LABELS = 500, 16, 50
CLASSES = (32, 1000)


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = parsed(parser(__doc__, rounds=15), argv)
    rows = [measured(classes, args.rounds) for classes in (CLASSES[:1] if args.quick else CLASSES)]
    results = save(args, "ctc_loss", frames=FRAMES, batch=BATCH, labels=LABELS, rows=rows)
    show(results)
    return results


def measured(classes: int, rounds: int) -> dict[str, Any]:
    """Median seconds of torch's CTC, and the ratio to it of ours with each loss."""
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(BATCH, FRAMES, classes, generator=random).to(device()).requires_grad_()
    labels = torch.randint(1, classes, (BATCH, LABELS), generator=random).to(device())
    frames, counts = torch.full((BATCH,), FRAMES), torch.full((BATCH,), LABELS)

    def stock() -> Tensor:
        return F.ctc_loss(scores.log_softmax(-1).transpose(0, 1), labels, frames, counts, reduction="sum")

    def ours(name: str) -> Tensor:
        return ctc_loss(scores, labels, frames, loss=LOSSES[name]()).sum()

    def step(loss: Callable[[], Tensor]) -> Callable[[], None]:
        def compute() -> None:
            scores.grad = None
            loss().backward()

        return compute

    contenders = {"torch": step(stock)} | {name: step(lambda name=name: ours(name)) for name in LOSSES}
    medians = seconds(contenders, rounds, f"{classes} classes")
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
