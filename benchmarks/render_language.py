"""The tables of docs/large_vocabularies.md from what language_modeling.py wrote, for render_results.py."""

from collections.abc import Iterable, Sequence
from statistics import mean
from typing import Any

from render_benchmarks import where

from hf_squareloss.comparison import markdown_table

Results = dict[str, Any]


def language_section(results: Results) -> str:
    """A table for each budget; the learning rate of each method is that of the best accuracy where it is chosen."""
    settings = results["settings"]
    units, parts = settings.get("units", "words"), []
    unit = units.removesuffix("s")
    for budget in budgets(results["runs"]):
        runs = [run for run in results["runs"] if budget_of(run) == budget]
        kind, amount = budget
        counted = (
            f"Equal steps: {amount:,}" if kind == "steps" else f"Equal time: that of {amount:,} steps of cross-entropy"
        )
        title = f"**{counted}**"
        methods = dict.fromkeys(run["key"]["method"] for run in runs)
        rows = [row(of_method(runs, method)) for method in methods]
        header = ["method", "learning rate", "of", "seeds", "steps", f"next-{unit} accuracy"]
        header += ["perplexity", "with softmax(T f)"]
        parts += [title, markdown_table(header, rows)]
    note = (
        f"{settings['data']}, {settings['training_tokens']:,} training {units}, vocabulary {settings['vocabulary']:,}, "
        f"{settings['layers']} layers of width {settings['hidden_size']}, {settings['batch_size']} blocks of "
        f"{settings['block_size']} {units} a step; mean over the seeds of the chosen learning rate, on {units} "
        f"that chose nothing. `of` is the number of learning rates that were tried. {step_times(results)}"
        f"{where(results)}."
    )
    return "\n\n".join([*parts, note])


def equal_time_note(results: Results) -> str:
    """What a language model gains from the cheaper step, to stand beside figures of speed."""
    sentences = []
    for budget in (each for each in budgets(results["runs"]) if each[0] == "equal_time"):
        runs = [run for run in results["runs"] if budget_of(run) == budget]
        chosen = [of_chosen_rate(of_method(runs, method)) for method in ("square", "cross_entropy")]
        right = " against ".join(f"{mean(run['test']['accuracy'] for run in each):.3f}" for each in chosen)
        perplexity = " against ".join(f"{mean(run['test']['calibrated'] for run in each):,.0f}" for each in chosen)
        sentences.append(
            f"in the time of {budget[1]:,} steps of cross-entropy a small model trained so named {right} of the next "
            f"words right, at a perplexity of {perplexity}"
        )
    more = "[large vocabularies](large_vocabularies.md)"
    return f"A cheaper step of a language model is not yet a better model: {'; '.join(sentences)}: {more}."


def step_times(results: Results) -> str:
    """The times of a step that equal time was counted with, in words."""
    ratios = [f"{ratio:.3f} (`{name}`)" for name, ratio in results.get("step_ratios", {}).items() if ratio != 1.0]
    counted = f"A step takes {', '.join(ratios)} of the time of one with cross-entropy: equal time counts so. "
    return counted if ratios else ""


def budgets(runs: Iterable[Results]) -> list[tuple[str, int]]:
    """Every budget that a run had: steps first."""
    return sorted({budget_of(run) for run in runs}, key=lambda budget: (budget[0] != "steps", budget[1]))


def budget_of(run: Results) -> tuple[str, int]:
    kind = "steps" if "steps" in run["key"] else "equal_time"
    return kind, run["key"][kind]


def of_method(runs: Iterable[Results], method: str) -> list[Results]:
    return [run for run in runs if run["key"]["method"] == method]


def of_chosen_rate(runs: Sequence[Results]) -> list[Results]:
    """One method's runs at the rate that is best on validation, by the seeds that every rate was tried with."""
    rates = sorted({run["key"]["learning_rate"] for run in runs})
    of_rate = {rate: [run for run in runs if run["key"]["learning_rate"] == rate] for rate in rates}
    common = set.intersection(*({run["key"]["seed"] for run in part} for part in of_rate.values()))

    def validated(rate: float) -> float:
        return mean(run["validation"]["accuracy"] for run in of_rate[rate] if run["key"]["seed"] in common)

    return of_rate[max(rates, key=validated)]


def row(runs: list[Results]) -> list[str]:
    """One method under one budget, from all of its runs."""
    chosen = of_chosen_rate(runs)
    return [
        f"`{runs[0]['key']['method']}`",
        f"{chosen[0]['key']['learning_rate']:g}",
        str(len({run["key"]["learning_rate"] for run in runs})),
        str(len(chosen)),
        f"{mean(run['steps'] for run in chosen):,.0f}",
        f"{mean(run['test']['accuracy'] for run in chosen):.3f}",
        *(f"{mean(run['test'][name] for run in chosen):,.0f}" for name in ("perplexity", "calibrated")),
    ]
