"""Time and memory of `linear_square_loss` beside cross-entropy on the same linear head, forward and backward.

    python benchmarks/linear_square_loss.py

About an hour on two cores. `--parts largest` measures the head of the largest vocabulary alone, another hour and a
half: steps of cross-entropy take minutes there, and only chunks of its float32 scores fit. A killed run of heads goes
on with --resume.

Cross-entropy is F.cross_entropy(F.linear(...)) and torch's F.linear_cross_entropy, whole and in chunks; on a GPU also
Liger-Kernel and ml-cross-entropy where they are installed. The growth with C and N, and the choice between the Gram
form and plain scores, are parts of their own.
"""

import argparse
import importlib.util
import json
from collections.abc import Callable
from math import log
from pathlib import Path
from statistics import linear_regression, median
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from measuring import device, parsed, parser, peak_bytes, save, seconds
from rich.console import Console
from rich.table import Table
from torch import Tensor

from hf_squareloss import SquareLoss, linear_square_loss
from hf_squareloss.losses import gram_pays

# N tokens, C classes, d
GRID = (
    (512, 1000, 256),
    (2048, 1000, 256),
    (2048, 30522, 384),
    (4096, 51865, 512),
    (4096, 128256, 768),
)
LARGEST = (8192, 250002, 768)
MOST_BYTES = 16 * 2**30  # for buffers of the scores' size
BUFFERS = {"cross_entropy": {4: 3, 2: 3}, "square on scores": {4: 3, 2: 5}}  # that each holds, by bytes of a score
NAME = "linear_square_loss"
PARTS = {"heads": NAME, **{part: f"{NAME}_{part}" for part in ("growth", "choice", "largest")}}  # names of results
GROWTH = {"classes": [(1024, c, 256) for c in (4096, 8192, 16384, 32768, 65536)],
          "tokens": [(n, 16384, 256) for n in (256, 512, 1024, 2048, 4096)]}  # fmt: skip
# Sizes about which either form is the faster: classes, and numbers of items.
NEAR = {1000: (64, 128, 256, 512), 4000: (1024,), 8000: (192,), 16000: (96,), 30000: (64, 256), 50000: (128,)}
CHOICE = tuple((n, c, d) for c, items in NEAR.items() for n in items for d in (64, 128, 256, 512))
Contenders = dict[str, Callable[[], Any]]


def main(argv: list[str] | None = None) -> dict[str, Any]:
    """The results of each part."""
    options = parser(__doc__, rounds=5)
    options.add_argument("--parts", nargs="+", choices=PARTS, default=[part for part in PARTS if part != "largest"])
    options.add_argument("--resume", action="store_true", help="go on where a killed run of heads was")
    args = parsed(options, argv)
    types = [torch.float32] + ([torch.bfloat16] if has_bfloat16() else [])
    results: dict[str, Any] = {}
    for part in args.parts:
        if part == "choice":
            sizes = CHOICE[:1] if args.quick else CHOICE
            found = {"rows": [chosen(*size, dtype, args.rounds) for dtype in types for size in sizes]}
        elif part == "growth":
            growth = {"classes": [(64, 100, 16), (64, 200, 16)]} if args.quick else GROWTH
            found = {along: grown(shapes, along, args.rounds) for along, shapes in growth.items()}
        else:
            grid = GRID[:2] if args.quick else (LARGEST,) if part == "largest" else GRID
            found = heads([(n, c, d, dtype) for dtype in types for n, c, d in grid], PARTS[part], args)
        results[part] = save(args, PARTS[part], **found)
        unfinished(args, PARTS[part]).unlink(missing_ok=True)
    show(results)
    return results


def heads(wanted: list[tuple[int, int, int, torch.dtype]], name: str, args: argparse.Namespace) -> dict[str, Any]:
    """A row for each head; what a killed run had is kept beside the results, and taken up where nothing has changed."""
    kept = unfinished(args, name)
    run = {"environment": args.environment, "rounds": args.rounds, "heads": [str(head) for head in wanted]}
    rows: list[dict[str, Any]] = []
    if args.resume and kept.exists():
        left = json.loads(kept.read_text(encoding="utf8"))
        if left["run"] != run:
            raise SystemExit(f"{kept} was measured otherwise: start again without --resume, or as {left['run']}")
        rows = left["rows"]
    speed = product_speed(256 if args.quick else 4096)
    for n, c, d, dtype in wanted[len(rows) :]:
        rows.append(measured(n, c, d, dtype, args.rounds, speed))
        kept.write_text(json.dumps({"run": run, "rows": rows}), encoding="utf8")
    return {"rows": rows, "not_run": not_run()}


def unfinished(args: argparse.Namespace, name: str) -> Path:
    return args.output.with_suffix(f".{name}.unfinished.json")


class Head:
    """A linear head with random hidden states and labels, and what can be computed from them."""

    def __init__(self, n: int, c: int, d: int, dtype: torch.dtype = torch.float32) -> None:
        random, place = torch.Generator().manual_seed(0), {"device": device(), "dtype": dtype}
        self.hidden = torch.randn(n, d, generator=random).to(**place).requires_grad_()
        self.weight = (torch.randn(c, d, generator=random) / d**0.5).to(**place).requires_grad_()
        self.labels = torch.randint(0, c, (n,), generator=random).to(device())

    def step(self, loss: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[], None]:
        """Forward and backward of `loss(hidden, weight, labels)` with fresh gradients."""

        def compute() -> None:
            self.hidden.grad = self.weight.grad = None
            loss(self.hidden, self.weight, self.labels).backward()

        return compute

    @property
    def gradients(self) -> int:
        return self.hidden.nbytes + self.weight.nbytes


def square(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return linear_square_loss(hidden, weight, None, labels, k="auto", M="auto").mean()


def square_by_gram(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return linear_square_loss(hidden, weight, None, labels, k="auto", M="auto", form="gram").mean()


def square_on_scores(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return SquareLoss().mean(F.linear(hidden, weight), labels)


def cross_entropy(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden, weight), labels)


def contenders(head: Head) -> Contenders:
    """Ours first; cross-entropy by torch (F.linear_cross_entropy came with 2.13) and, on a GPU, by other packages.

    Those that build the scores take part where there is memory for them.
    """
    found: Contenders = {NAME: head.step(square)}
    size, bytes_each = len(head.hidden) * len(head.weight), head.hidden.itemsize
    fits = {name: buffers[bytes_each] * size * bytes_each < MOST_BYTES for name, buffers in BUFFERS.items()}
    if fits["square on scores"]:
        found["square on scores"] = head.step(square_on_scores)
    if fits["cross_entropy"]:
        found["cross_entropy"] = head.step(cross_entropy)
    fused: Any = getattr(F, "linear_cross_entropy", None)
    if fused is not None:
        options = torch.nn.LinearCrossEntropyOptions()  # type: ignore[attr-defined]
        if fits["cross_entropy"]:
            found["linear_cross_entropy"] = head.step(fused)
        found["linear_cross_entropy, chunked"] = head.step(lambda h, w, y: fused(h, w, y, options=options))
    if "liger_kernel" in others():
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy  # type: ignore[import-not-found]

        found["Liger-Kernel"] = head.step(lambda h, w, y: liger_fused_linear_cross_entropy(h, w, y))
    if "cut_cross_entropy" in others():
        from cut_cross_entropy import linear_cross_entropy  # type: ignore[import-not-found]

        found["ml-cross-entropy"] = head.step(lambda h, w, y: linear_cross_entropy(h, w, y))
    return found


def others() -> list[str]:
    """Packages with a fused cross-entropy that are installed and have the GPU they need."""
    names = ("liger_kernel", "cut_cross_entropy")
    return [name for name in names if importlib.util.find_spec(name)] if torch.cuda.is_available() else []


def not_run() -> str:
    missing = {"liger_kernel": "Liger-Kernel", "cut_cross_entropy": "ml-cross-entropy"}
    left = [label for name, label in missing.items() if name not in others()]
    reason = "are not installed" if torch.cuda.is_available() else "need a GPU (their kernels are Triton's)"
    return f"{' and '.join(left)} {reason}: not run" if left else ""


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16; elsewhere torch emulates it."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def product_speed(side: int) -> float:
    """GFLOP/s of a float32 product of two square matrices."""
    left, right = torch.randn(2, side, side, device=device())
    times = []
    for _ in range(6):
        start = perf_counter()
        (left @ right)[0, 0].item()
        times.append(perf_counter() - start)
    return 2 * side**3 / median(times[1:]) / 1e9


def measured(n: int, c: int, d: int, dtype: torch.dtype, rounds: int, speed: float) -> dict[str, Any]:
    head = Head(n, c, d, dtype)
    runs = contenders(head)
    name = str(dtype).removeprefix("torch.")
    medians = seconds(runs, rounds, f"({n}, {c}, {d}) {name}")
    memory = {}
    for label, compute in runs.items():
        head.hidden.grad = head.weight.grad = None
        memory[label] = peak_bytes(compute) - head.gradients
    row = {"tokens": n, "classes": c, "hidden_size": d, "dtype": name, "seconds": medians, "extra_bytes": memory}
    # The operations of 4 (C + N) d^2, of which symmetry saves about a quarter: a fraction above one is possible.
    return row | {"fraction_of_product_speed": 4 * (c + n) * d**2 / medians[NAME] / 1e9 / speed}


def grown(shapes: list[tuple[int, int, int]], along: str, rounds: int) -> dict[str, Any]:
    """Seconds against classes or tokens, and the slope of a line through their logarithms."""
    points: list[int] = []
    times: dict[str, list[float]] = {NAME: [], "cross_entropy": []}
    for n, c, d in shapes:
        head = Head(n, c, d)
        runs = {NAME: head.step(square), "cross_entropy": head.step(cross_entropy)}
        for label, value in seconds(runs, rounds, f"growth ({n}, {c}, {d})").items():
            times[label].append(value)
        points.append(c if along == "classes" else n)
    slopes = {
        label: linear_regression([log(p) for p in points], [log(s) for s in t]).slope for label, t in times.items()
    }
    fixed = (
        {"tokens": shapes[0][0], "hidden_size": shapes[0][2]}
        if along == "classes"
        else {"classes": shapes[0][1], "hidden_size": shapes[0][2]}
    )
    return {"fixed": fixed, "points": points, "seconds": times, "slopes": slopes}


def chosen(n: int, c: int, d: int, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    """Seconds of the Gram form and of scores, and what `linear_square_loss` chooses."""
    head = Head(n, c, d, dtype)

    name = str(dtype).removeprefix("torch.")
    runs = {"gram": head.step(square_by_gram), "scores": head.step(square_on_scores)}
    medians = seconds(runs, max(rounds, 9), f"choice ({n}, {c}, {d}) {name}")
    choice = "gram" if gram_pays(n, c, d, dtype) else "scores"
    return {"tokens": n, "classes": c, "hidden_size": d, "dtype": name, "seconds": medians, "chosen": choice}


def show(results: dict[str, Any]) -> None:
    console = Console()
    for part in ("heads", "largest"):
        if part in results:
            console.print(head_table(results[part]["rows"]), results[part]["not_run"])
    for along, growth in results.get("growth", {}).items():
        if along in GROWTH:
            slopes = ", ".join(f"{name} {slope:.2f}" for name, slope in growth["slopes"].items())
            console.print(f"slope against {along}: {slopes}")
    if "choice" in results:
        for row in results["choice"]["rows"]:
            cost = row["seconds"][row["chosen"]] / min(row["seconds"].values())
            size = f"({row['tokens']}, {row['classes']}, {row['hidden_size']}) {row['dtype']}"
            console.print(f"{size}: {row['chosen']} takes {cost:.3f} times the better one")


def head_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(title="linear_square_loss: how many times the others take", title_justify="left")
    for column in (
        "N, C, d",
        "type",
        "seconds",
        "others' seconds / ours",
        "others' extra memory / ours",
        "of product speed",
    ):
        table.add_column(column)
    for row in rows:
        ours, memory = row["seconds"][NAME], row["extra_bytes"][NAME]
        times = "\n".join(f"{name} {value / ours:.1f}" for name, value in row["seconds"].items() if name != NAME)
        sizes = "\n".join(f"{name} {value / memory:.0f}" for name, value in row["extra_bytes"].items() if name != NAME)
        shape = f"{row['tokens']}, {row['classes']}, {row['hidden_size']}"
        speed = f"{row['fraction_of_product_speed']:.2f}" if row["dtype"] == "float32" else ""
        table.add_row(shape, row["dtype"], f"{ours:.4f}", times, sizes, speed, end_section=True)
    return table


if __name__ == "__main__":
    main()
