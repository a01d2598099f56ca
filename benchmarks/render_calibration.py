"""The tables of docs/probabilities.md from benchmarks/calibration.json, for render_results.py."""

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import getitem
from statistics import mean
from typing import Any

from render_benchmarks import where

from hf_squareloss.comparison import markdown_table

Results = dict[str, Any]
MEASURES = ("ece", "brier", "nll")
OF_VALIDATION = ("T", "T, uniform", "vector", "isotonic", "projection")  # the others: of no row, or of training rows
ALONE = ("link", "slope", "sure")
FORMULAS = {
    "link": "the loss's link",
    "projection": "link, continued and projected, with a uniform share",
    "T": "softmax(T f)",
    "T, uniform": "softmax(T f) with a uniform share",
    "vector": "softmax(a f + b), a and b per class",
    "isotonic": "isotonic regressions, normalised",
    "slope": "softmax(t f / M), t = C (1 + (k − 1) / C)² / k",
    "sure": "softmax(max(t, 2 log C) f / M)",
    "fixed": "softmax(c f / M)",
    "power": "softmax(c Cᵃ f / M)",
    "residuals": "softmax(c M f / s²)",
    "training": "softmax(c T′ f), T′ fitted on training rows",
    "both": "softmax(c √(T′ t / M) f)",
}


def calibration_section(results: Results) -> str:
    """Means over the tasks; every task by itself; what choosing and fitting on the same rows costs."""
    square = [run for run in results["runs"] if run["name"] == "square"]
    parts = [
        f"Square loss, mean over {count(square)}:",
        candidates(square, list(FORMULAS)),
        note(results),
        "Each task, ECE / Brier / NLL on the test part:",
        tasks(results["runs"]),
    ]
    if results["checkpoints"]:
        parts += [optimism(results["checkpoints"])]
    return "\n\n".join(parts)


def count(runs: Iterable[Results]) -> str:
    runs = list(runs)
    return f"{len({run['task'] for run in runs})} tasks and {len(runs)} runs, every task weighing the same"


def candidates(runs: list[Results], names: list[str]) -> str:
    """A row per candidate that every run has."""
    rows = []
    for name in names:
        if all(name in run["candidates"] for run in runs):
            values = [f"{over_tasks(runs, ('candidates', name, measure)):.3f}" for measure in MEASURES]
            other = over_tasks(runs, ("other_class", name)) if name in runs[0]["other_class"] else 0.0
            fitted = "validation rows" if name in OF_VALIDATION else "nothing" if name in ALONE else "other tasks"
            rows.append([f"{FORMULAS[name]}", fitted, *values, f"{other:.1%}"])
    return markdown_table(["probabilities", "fitted on", "ECE", "Brier", "NLL", "another class"], rows)


def over_tasks(runs: list[Results], keys: Iterable[str]) -> float:
    """The mean over tasks of the mean over a task's runs of run[key][key]..."""
    values: dict[str, list[float]] = {}
    for run in runs:
        value: Any = reduce(getitem, keys, run)
        values.setdefault(run["task"], []).append(value)
    return mean(map(mean, values.values()))


def tasks(runs: list[Results]) -> str:
    groups: dict[tuple[str, str], list[Results]] = {}
    for run in runs:
        groups.setdefault((run["task"], run["loss"]), []).append(run)
    rows = []
    for (task, loss), of_task in groups.items():
        first = of_task[0]
        cells = [triple([run["candidates"][name] for run in of_task if name in run["candidates"]]) for name in SHOWN]
        factors = sorted(run["T M"] for run in of_task)
        spread = f"{factors[0]:.1f}" if len(factors) == 1 else f"{factors[0]:.1f}–{factors[-1]:.1f}"
        accuracy = mean(run["accuracy"]["test"] for run in of_task)
        rows.append([task, f"{first['classes']}", loss, f"{len(of_task)}", f"{accuracy:.3f}", spread, *cells])
    return markdown_table(["task", "C", "loss", "runs", "accuracy", "T M", *(FORMULAS[name] for name in SHOWN)], rows)


SHOWN = ("link", "T", "sure", "training")


def triple(values: list[Mapping[str, float]]) -> str:
    """ECE / Brier / NLL, the mean of runs."""
    return " / ".join(f"{mean(v[m] for v in values):.3f}" for m in MEASURES) if values else ""


def optimism(entries: list[Results]) -> str:
    """What it costs that the rows which chose the checkpoint fit T as well."""
    same, other, claimed = (triple([entry[name] for entry in entries]) for name in ("same", "other", "claimed"))
    number = " or ".join(sorted({str(entry["of"]) for entry in entries}))
    return (
        f"The same rows for the checkpoint and for T, over {len(entries)} runs with {number} checkpoints each, half of "
        f"the validation part choosing: T of that half gave {same} on the test part, T of the other half {other}; on "
        f"the rows that chose and fitted it was {claimed}."
    )


def note(results: Results) -> str:
    return (
        "ECE: predicted class, 15 bins of equal mass. Brier: sum over the classes. NLL: natural logarithms, no "
        "probability below 1e-9. Constants c and a are of the other tasks alone (leave one out); s² is the mean square "
        "of M e_y − f on training rows. Another class: the largest probability is not that of the largest score. "
        f"{where(results)}."
    )
