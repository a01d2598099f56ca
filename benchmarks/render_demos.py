"""The table of demos in docs/getting_started.md from benchmarks/demos.json, for render_results.py."""

from statistics import fmean
from typing import Any

from demos import DEMOS
from render_benchmarks import where

from hf_squareloss.comparison import markdown_table

Results = dict[str, Any]
PAGES = {  # what is learnt, and the page of the script
    "topics": ("the topic of a docstring", ""),
    "digits": ("handwritten digits", "images_and_sounds.md"),
    "keys": ("keys of a telephone, one at a time", "images_and_sounds.md"),
    "tones": ("the keys of a call", "speech.md"),
    "tokens": ("kinds of Python's tokens", "tokens_and_choices.md"),
    "choices": ("which of four sentences goes on", "tokens_and_choices.md"),
    "characters": ("the next character of source code", "language_models.md"),
    "words": ("its next word, of 20,000", "language_models.md"),
}
LOWER = ("wer",)


def demos_section(results: Results) -> str:
    """A row for each demo: what it reaches with each loss over the seeds, and its minutes of computing."""
    losses = list(dict.fromkeys(run["key"]["loss"] for run in results["runs"]))
    rows = []
    for demo, (script, metric) in DEMOS.items():
        runs = [run for run in results["runs"] if run["key"]["demo"] == demo]
        if not runs:
            continue
        title, page = PAGES[demo]
        arrow = "↓" if metric in LOWER else "↑"
        cells = [of_loss([run for run in runs if run["key"]["loss"] == loss], metric) for loss in losses]
        minutes = fmean(run["cpu_seconds"] for run in runs) / 60
        named = f"[{title}]({page})" if page else title
        rows.append([f"`{script}`", named, f"{metric} {arrow}", *cells, f"{minutes:.1f}"])
    header = ["script", "what it learns", "test metric", *(f"`{loss}`" for loss in losses), "minutes of one core"]
    note = (
        "Mean over the seeds, with the lowest and the highest; one setting for all losses, so this compares none. "
        f"Minutes are those of computing, from the start of Python to the predictions. {where(results)}."
    )
    return f"{markdown_table(header, rows)}\n\n{note}"


def of_loss(runs: list[Results], metric: str) -> str:
    values = [run["test"][metric] for run in runs]
    if not values:
        return ""
    spread = f" ({min(values):.3f} to {max(values):.3f}, {len(values)} seeds)" if len(values) > 1 else " (one seed)"
    return f"{fmean(values):.3f}{spread}"
