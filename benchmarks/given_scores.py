"""Time and memory of the square loss on given scores beside F.cross_entropy, forward and backward.

python benchmarks/given_scores.py
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from measuring import device, parsed, parser, peak_bytes, save, seconds
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hf_squareloss import CrossEntropy, SquareLoss, Squentropy

SHAPES = ((32, 2), (32, 150), (4096, 1000), (4096, 32000))
REPEATS = {32: 200}  # calls in one timing, for those that take microseconds
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "F.cross_entropy": F.cross_entropy,
    "square": SquareLoss().mean,
    "square, k = M = 1": SquareLoss(k=1.0, M=1.0).mean,
    "squentropy": Squentropy().mean,
    "cross_entropy": CrossEntropy().mean,
}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    args = parsed(parser(__doc__, rounds=11), argv)
    rows = [measured(n, c, args.rounds) for n, c in (SHAPES[:2] if args.quick else SHAPES)]
    results = save(args, "given_scores", rows=rows)
    show(results)
    return results


def measured(n: int, c: int, rounds: int) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(n, c, generator=random).to(device()).requires_grad_()
    labels = torch.randint(0, c, (n,), generator=random).to(device())
    repeats = REPEATS.get(n, 1)

    def step(loss: Callable[[Tensor, Tensor], Tensor], times: int) -> Callable[[], None]:
        def compute() -> None:
            for _ in range(times):
                scores.grad = None
                loss(scores, labels).backward()

        return compute

    medians = seconds({name: step(loss, repeats) for name, loss in LOSSES.items()}, rounds, f"({n}, {c})")
    memory = {}
    for name, loss in LOSSES.items():
        scores.grad = None
        memory[name] = peak_bytes(step(loss, 1))
    each = {name: value / repeats for name, value in medians.items()}
    return {"items": n, "classes": c, "seconds": each, "peak_bytes": memory}


def show(results: dict[str, Any]) -> None:
    table = Table(title="relative to F.cross_entropy: time, memory", title_justify="left")
    for column in ("N, C", "F.cross_entropy", *list(LOSSES)[1:]):
        table.add_column(column)
    for row in results["rows"]:
        time, memory = row["seconds"], row["peak_bytes"]
        base = "F.cross_entropy"
        cells = [f"{time[name] / time[base]:.2f}, {memory[name] / memory[base]:.2f}" for name in list(LOSSES)[1:]]
        table.add_row(f"{row['items']}, {row['classes']}", f"{time[base] * 1e6:.0f} us", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
