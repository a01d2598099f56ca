"""Render the README's tables and pictures, and the cards in model_cards/, from results.json files.

    python benchmarks/render_results.py [--check]

A comparison is published by putting its results.json into model_cards/NAME/; the benchmarks write theirs. With
--check nothing is written and the exit status says whether what is written is up to date.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from render_benchmarks import draw_growth, tables

from hf_squareloss.comparison import METRICS, markdown_table, read_results, summary

ROOT = Path(__file__).resolve().parent.parent
CARDS = ROOT / "model_cards"
BENCHMARKS = ROOT / "benchmarks"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(argv).check
    all_results = {path.parent: read_results(path) for path in sorted(CARDS.glob("*/results.json"))}
    rendered = {folder / "README.md": card(results) for folder, results in all_results.items()}
    readme = ROOT / "README.md"
    comparisons = "\n\n".join(section(results, heading="**") for results in all_results.values())
    comparisons = comparisons or "No comparison has been published yet."
    text = between_marks(readme.read_text(encoding="utf8"), "results", comparisons)
    benchmarks = read_results(BENCHMARKS / "results.json")
    for place, table in tables(benchmarks).items():
        text = between_marks(text, place, table)
    rendered[readme] = text
    pictures: dict[Path, tuple[Callable[[Any, Path, str], None], Any]] = {
        BENCHMARKS / "growth.svg": (draw_growth, benchmarks["linear_square_loss_growth"])
    }
    if all_results:
        pictures[CARDS / "comparisons.svg"] = draw, list(all_results.values())
    stale = [path for path, text in rendered.items() if not path.exists() or path.read_text(encoding="utf8") != text]
    # Pictures of the same numbers differ between releases of matplotlib: what was drawn is written into them.
    stale += [p for p, (_, drawn) in pictures.items() if not p.exists() or digest(drawn) not in p.read_text("utf8")]
    if check:
        sys.exit(f"out of date: {', '.join(str(p.relative_to(ROOT)) for p in stale)}: run make docs" if stale else 0)
    for path, text in rendered.items():
        path.write_text(text, encoding="utf8")
    for path, (draw_picture, drawn) in pictures.items():
        draw_picture(drawn, path, digest(drawn))


def digest(results: Any) -> str:
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


def section(results: dict[str, Any], heading: str) -> str:
    where = results["environment"]
    part = "test" if all("test" in r for r in chosen_runs(results)) else "validation"
    rates = ", ".join(f"{rate:g}" for rate in results["learning_rates"])
    chosen = f"chosen on the validation part from {rates}" if len(results["learning_rates"]) > 1 else rates
    toolkit = " ".join(next((name, where[name]) for name in ("transformers", "speechbrain") if name in where))
    note = (
        f"{part} part, mean ± standard deviation over the seeds; learning rate of each loss {chosen}; "
        f"{where['machine']}, {where['threads']} thread, torch {where['torch']}, {toolkit}; seconds "
        "are wall clock beside other work on that machine, so they compare nothing"
    )
    return f"{heading}{results['title']}{heading} ({note})\n\n{markdown_table(results)}"


def card(results: dict[str, Any]) -> str:
    """A card of one comparison: the table, every run, and the command."""
    lines = [
        f"# {results['title']}",
        section(results, heading="**"),
        "Every run, on the validation part:",
        every_run(results),
        "The command:",
        "```\n" + command(results) + "\n```",
    ]
    return "\n\n".join(lines) + "\n"


def every_run(results: dict[str, Any]) -> str:
    metric = results.get("metric", METRICS[0])
    names = [name for name in METRICS if name in results["runs"][0]["validation"]]
    header = ["loss", "learning rate", "seed", *names, f"test {metric}", "seconds"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for run in results["runs"]:
        test = f"{run['test'][metric]:.4f}" if "test" in run else "not looked at"
        cells = [run["loss"], f"{run['learning_rate']:g}", str(run["seed"])]
        cells += [f"{run['validation'][name]:.4f}" for name in names]
        lines.append("| " + " | ".join([*cells, test, f"{run['seconds']:.0f}"]) + " |")
    return "\n".join(lines)


def command(results: dict[str, Any]) -> str:
    losses = " ".join(results["chosen"])
    rates = " ".join(f"{rate:g}" for rate in results["learning_rates"])
    seeds = " ".join(str(seed) for seed in sorted({run["seed"] for run in results["runs"]}))
    shared = " ".join(results["arguments"])
    if results.get("script") == "speechbrain/train.py":
        return (
            "python examples/speechbrain/train.py examples/speechbrain/hparams/train.yaml "
            f"--loss LOSS --lr {rates} --seed SEED {shared}  # LOSS of {losses}; SEED of {seeds}"
        )
    script = f"--script {results['script']} --metric {results['metric']} " if "script" in results else ""
    return (
        f"python examples/compare_losses.py {script}--losses {losses} --learning_rates {rates} --seeds {seeds} "
        f"--output_dir outputs/comparison -- {shared}"
    )


def chosen_runs(results: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for run in results["runs"] if run["learning_rate"] == results["chosen"][run["loss"]]]


def between_marks(text: str, name: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no marks <!-- {name} --> ... <!-- end {name} --> in README.md")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def draw(comparisons: list[dict[str, Any]], path: Path, description: str) -> None:
    """One panel per comparison: a dot per seed and a bar for the mean."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "hf_squareloss"  # the same file for the same numbers
    import matplotlib.pyplot as plt

    columns = min(3, len(comparisons))
    rows_of_panels = -(-len(comparisons) // columns)
    figure, axes = plt.subplots(rows_of_panels, columns, figsize=(4 * columns, 2.6 * rows_of_panels), squeeze=False)
    for axis in axes.flat[len(comparisons) :]:
        axis.set_axis_off()
    for axis, results in zip(axes.flat, comparisons, strict=False):
        metric = results.get("metric", METRICS[0])
        rows = summary(results)
        for position, row in enumerate(rows):
            values = row.values[metric]
            axis.plot([position] * len(values), values, "o", color=f"C{position}", alpha=0.6)
            axis.hlines(sum(values) / len(values), position - 0.25, position + 0.25, color=f"C{position}")
        axis.set_xticks(range(len(rows)), [row.loss.replace("_", "-") for row in rows])
        axis.set_xlim(-0.5, len(rows) - 0.5)
        axis.set_ylabel(metric)
        axis.set_title(results["title"], fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Description": description})
    plt.close(figure)


if __name__ == "__main__":
    main()
