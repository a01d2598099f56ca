"""The table of docs/losses.md from benchmarks/many_classes.json, for render_results.py."""

from statistics import fmean, stdev
from typing import Any

from render_benchmarks import where

from hf_squareloss.comparison import interval_text, markdown_table, number, paired_comparison

Results = dict[str, Any]
REFERENCES = ("cross_entropy", "square")


def many_classes_section(results: Results) -> str:
    """A table for each set of rows: training and validation accuracy of each loss at its best learning rate."""
    parts = []
    for data, samples, epochs in dict.fromkeys(map(of_rows, results["runs"])):
        runs = [run for run in results["runs"] if of_rows(run) == (data, samples, epochs)]
        chosen = {loss: best(runs, loss) for loss in dict.fromkeys(run["loss"] for run in runs)}
        references = [(name, chosen[name]) for name in REFERENCES if name in chosen]
        rows = [row(loss, chosen[loss], references) for loss in chosen]
        header = ["loss", "learning rate", "seeds", "trained rows", "validation"]
        header += [f"over `{name}`, points" for name, _ in references]
        rates = ", ".join(f"{rate:g}" for rate in sorted({run["learning_rate"] for run in runs}))
        parts += [
            f"**{data}**: {samples:,} training rows, {epochs} epochs, learning rates {rates}",
            markdown_table(header, rows),
        ]
    return "\n\n".join([*parts, f"Accuracy after the last epoch, 95 % intervals. {where(results)}."])


def of_rows(run: Results) -> tuple[str, int, int]:
    return run["data"], run["samples"], run["epochs"]


def best(runs: list[Results], loss: str) -> list[Results]:
    """The runs at the learning rate with the best mean on validation, by the seeds that every rate was tried with."""
    own = [run for run in runs if run["loss"] == loss]
    rates = {run["learning_rate"] for run in own}
    seeds = set.intersection(*({run["seed"] for run in own if run["learning_rate"] == rate} for rate in rates))

    def validated(rate: float) -> float:
        return fmean(run["validation"] for run in own if run["learning_rate"] == rate and run["seed"] in seeds)

    chosen = max(sorted(rates), key=validated)
    return sorted((run for run in own if run["learning_rate"] == chosen), key=lambda run: run["seed"])


def row(loss: str, runs: list[Results], references: list[tuple[str, list[Results]]]) -> list[str]:
    cells = [f"`{loss}`", f"{runs[0]['learning_rate']:g}", str(len(runs))]
    for part in ("train", "validation"):
        values = [run[part] for run in runs]
        cells.append(f"{fmean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else ""))
    return [*cells, *("" if loss == name else advantage(runs, reference) for name, reference in references)]


def advantage(runs: list[Results], reference: list[Results]) -> str:
    """The mean difference in points of accuracy, paired by seed, with its 95 % interval."""
    values, base = ({run["seed"]: 100 * run["validation"] for run in each} for each in (runs, reference))
    found = paired_comparison(values, base, greater_is_better=True)
    bounds = interval_text(found.interval, signed=True, digits=2)
    return f"{number(found.mean, signed=True, digits=2)} [{bounds}]"
