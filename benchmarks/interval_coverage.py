"""How often the intervals of a comparison miss the truth, by simulation: docs/statistics.md shows it.

    python benchmarks/interval_coverage.py

Differences of known mean are drawn, and the share of 95 % intervals that do not hold that mean is counted: 0.05 is what
they promise. About a quarter of an hour; the same draws give the same figures.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hf_squareloss.comparison import environment, paired_comparison, pooled_mean, standardised_advantages

RESULTS = Path(__file__).with_suffix(".json")
SEEDS = (3, 5, 10)
TASKS = (2, 3, 5, 8, 12)
Generator = np.random.Generator
# Differences with the mean zero and the deviation one, but for the last: now and then a run that fails.
DRAWN: dict[str, Callable[[Generator, int], Any]] = {
    "normal": lambda generator, n: generator.normal(size=n),
    "Student's t, 3 degrees": lambda generator, n: generator.standard_t(3, n),
    "skewed (exponential)": lambda generator, n: generator.exponential(size=n) - 1,
    "normal, 10 % eight lower": lambda generator, n: generator.normal(size=n) - 8 * (generator.random(n) < 0.1) + 0.8,
}


def main(argv: list[str] | None = None) -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1000, help="draws of each row")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args(argv)
    results = {
        "rounds": args.rounds,
        "commit": environment()["commit"],
        "one_task": [one_task(name, seeds, args.rounds) for name in DRAWN for seeds in SEEDS],
        "over_tasks": [over_tasks(spread, tasks, args.rounds) for spread in (0.0, 1.0) for tasks in TASKS],
    }
    args.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf8")
    return results


def one_task(drawn: str, seeds: int, rounds: int) -> dict[str, Any]:
    """Misses of the two intervals of a paired comparison, and how often the permutation test finds p <= 0.05."""
    generator = np.random.default_rng(seeds)
    misses = {"student": 0, "bca": 0, "sign_flips": 0}
    for _ in tqdm(range(rounds), desc=f"{drawn}, {seeds} seeds"):
        advantages = dict(enumerate(map(float, DRAWN[drawn](generator, seeds))))
        found = paired_comparison(advantages, dict.fromkeys(advantages, 0.0), greater_is_better=True)
        assert found.p_value is not None
        misses["student"] += missed(found.interval)
        misses["bca"] += missed(found.bca)
        misses["sign_flips"] += found.p_value <= 0.05
    return {"drawn": drawn, "seeds": seeds} | {name: count / rounds for name, count in misses.items()}


def over_tasks(spread: float, tasks: int, rounds: int, seeds: int = 5) -> dict[str, Any]:
    """The same of the pooled intervals; the tasks' true advantages are normal around zero with a deviation."""
    generator = np.random.default_rng(tasks)
    misses = {"student": 0, "two_stage": 0}
    for _ in tqdm(range(rounds), desc=f"{tasks} tasks, deviation {spread:g}"):
        drawn = []
        for _ in range(tasks):
            own = dict(enumerate(generator.normal(spread * generator.normal(), 1, seeds)))
            found = standardised_advantages(own, dict(enumerate(generator.normal(size=seeds))), greater_is_better=True)
            drawn.append([found])
        pooled = pooled_mean(drawn)
        assert pooled is not None
        misses["student"] += missed(pooled.interval)
        misses["two_stage"] += missed(pooled.bootstrap)
    row = {"deviation_of_tasks": spread, "tasks": tasks, "seeds": seeds}
    return row | {name: count / rounds for name, count in misses.items()}


def missed(interval: tuple[float, float] | None) -> bool:
    assert interval is not None
    return not interval[0] <= 0 <= interval[1]


if __name__ == "__main__":
    main()
