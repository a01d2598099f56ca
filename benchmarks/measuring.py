"""What the benchmarks share: times of contenders in turns, peak memory, and one results.json for all."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

from hf_squareloss.comparison import environment

RESULTS = Path(__file__).with_name("results.json")
FEWEST = 5  # rounds of a published median


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=rounds, help="runs of each, in turns")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--output", type=Path, default=RESULTS, help="a JSON file: this benchmark's part is replaced")
    options.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    return options


def parsed(options: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """The command line, with the environment that the run begins in; it sets the number of threads."""
    args = options.parse_args(argv)
    if (args.quick or args.rounds < FEWEST) and args.output == RESULTS:
        options.error(f"--quick and fewer than {FEWEST} rounds give nothing to publish: give another --output")
    torch.set_num_threads(args.threads)
    args.environment = environment()
    return args


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seconds(
    contenders: Mapping[str, Callable[[], Any]], rounds: int, title: str, clock: Callable[[], float] | None = None
) -> dict[str, float]:
    """Median seconds of each contender, run in turns so that what else the machine does meets them all alike.

    A first round warms up and is not counted. The clock is on the wall unless another one is given.
    """
    now = clock or _now
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in tqdm(range(rounds + 1), desc=title, leave=False):
        for name, compute in contenders.items():
            start = now()
            compute()
            times[name].append(now() - start)
    return {name: median(values[1:]) for name, values in times.items()}


def peak_bytes(compute: Callable[[], Any]) -> int:
    """The most memory that `compute` held above what was there, gradients that it leaves included."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        compute()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        compute()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events: list[Any] = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    live, peak = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def save(args: argparse.Namespace, benchmark: str, **results: Any) -> dict[str, Any]:
    """Put `results` with the machine and versions into the file, under the benchmark's name."""
    there = json.loads(args.output.read_text(encoding="utf8")) if args.output.exists() else {}
    there[benchmark] = {"environment": args.environment, "threads": args.threads, "rounds": args.rounds, **results}
    args.output.write_text(json.dumps(there, indent=1, sort_keys=True) + "\n", encoding="utf8")
    return there[benchmark]


def read(path: Path) -> dict[str, Any]:
    """What `write` has written; empty where there is no file."""
    return json.loads(path.read_text(encoding="utf8")) if path.exists() else {}


def write(path: Path, results: dict[str, Any]) -> None:
    """A whole file or none, so that a benchmark that is killed goes on from what it had."""
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(results, indent=1) + "\n", encoding="utf8")
    unfinished.replace(path)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter()
