"""Render the tables and pictures of README.md and docs/, and the cards in model_cards/, from results.json files.

    python benchmarks/render_results.py [--check]

A comparison is published by putting its results.json into model_cards/NAME/; the benchmarks write theirs, and
models.tsv says which models work. With --check nothing is written and the exit status says whether what is written is
up to date.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pictures import draw_comparisons, draw_growth
from render_benchmarks import held, markdown, tables
from render_calibration import calibration_section
from render_language import language_section
from render_models import models_section, read_models

from hf_squareloss.comparison import (
    METRICS,
    Row,
    markdown_table,
    metric_of,
    read_results,
    spread,
    summary,
)
from hf_squareloss.metric_order import greater_is_better

ROOT = Path(__file__).resolve().parent.parent
CARDS = ROOT / "model_cards"
BENCHMARKS = ROOT / "benchmarks"
Results = dict[str, Any]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(argv).check
    all_results = {path.parent: read_results(path) for path in sorted(CARDS.glob("*/results.json"))}
    comparisons = [results for results in all_results.values() if is_comparison(results)]
    alone = [results for results in all_results.values() if not is_comparison(results)]
    benchmarks = read_results(BENCHMARKS / "results.json")
    places: dict[str, dict[str, str]] = {
        "README.md": {"overview": overview(comparisons)},
        "docs/results.md": {"comparisons": sections(comparisons, alone)},
        "docs/performance.md": tables(benchmarks),
        "docs/large_vocabularies.md": {
            "language modeling": language_section(read_results(BENCHMARKS / "language_modeling.json"))
        },
        "docs/probabilities.md": {"calibration": calibration_section(read_results(BENCHMARKS / "calibration.json"))},
        "docs/models.md": {"models": models_section(*read_models(BENCHMARKS / "models.tsv"))},
    }
    rendered = {folder / "README.md": card(results) for folder, results in all_results.items()}
    for name, contents in places.items():
        text = (ROOT / name).read_text(encoding="utf8")
        for place, content in contents.items():
            text = between_marks(text, place, content, name)
        rendered[ROOT / name] = text
    pictures: dict[Path, tuple[Callable[[Any, Path, str], None], Any]] = {
        ROOT / "docs/pictures/growth.svg": (draw_growth, benchmarks["linear_square_loss_growth"])
    }
    if comparisons:
        pictures[ROOT / "docs/pictures/comparisons.svg"] = draw_comparisons, comparisons
    stale = [path for path, text in rendered.items() if not path.exists() or path.read_text(encoding="utf8") != text]
    # Pictures of the same numbers differ between releases of matplotlib: what was drawn is written into them.
    stale += [p for p, (_, drawn) in pictures.items() if not p.exists() or digest(drawn) not in p.read_text("utf8")]
    if check:
        sys.exit(f"out of date: {', '.join(str(p.relative_to(ROOT)) for p in stale)}: run make docs" if stale else 0)
    for path, text in rendered.items():
        path.write_text(text, encoding="utf8")
    for path, (draw_picture, drawn) in pictures.items():
        draw_picture(drawn, path, digest(drawn))


def is_comparison(results: Results) -> bool:
    """Whether there is more than one loss to compare."""
    return len(results["chosen"]) > 1


def digest(results: Any) -> str:
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


def overview(comparisons: Sequence[Results]) -> str:
    """One row per comparison, one column per loss that any of them holds."""
    if not comparisons:
        return "No comparison has been published yet."
    losses = held(results["chosen"] for results in comparisons)
    rows = []
    for results in comparisons:
        metric = metric_of(results)
        of_loss = {row.loss: row for row in summary(results)}
        cells = [cell(of_loss[loss], metric) if loss in of_loss else "" for loss in losses]
        seeds = {len(row.seeds) for row in of_loss.values()}
        rows.append([results["title"], arrow(metric), *cells, "–".join(str(count) for count in sorted(seeds))])
    table = markdown(["task", "metric", *(f"`{loss}`" for loss in losses), "seeds"], rows)
    first = {next(iter(results["chosen"])) for results in comparisons}
    against = f"against `{first.pop()}`" if len(first) == 1 else "against the first loss of the comparison"
    return f"{table}\n\nMean ± standard deviation over the seeds; p of a paired t-test {against}."


def cell(row: Row, metric: str) -> str:
    p_value = row.p_value
    shown = "" if p_value is None else " (p < 0.01)" if p_value < 0.005 else f" (p = {p_value:.2f})"
    return spread(row.values[metric], digits=3) + shown


def arrow(metric: str) -> str:
    return f"{metric} {'↑' if greater_is_better(metric) else '↓'}"


def sections(comparisons: Sequence[Results], alone: Sequence[Results]) -> str:
    """Every comparison under a heading of its own; runs of one loss apart, under a heading that says so."""
    parts = [f"## {results['title']}\n\n{section(results)}" for results in comparisons]
    if alone:
        parts.append("## Runs of one loss alone\n\nThese are no comparison: there is nothing to hold them against.")
        parts += [f"### {results['title']}\n\n{section(results)}" for results in alone]
    return "\n\n".join(parts) or "No comparison has been published yet."


def section(results: Results) -> str:
    where = results["environment"]
    part = "Test" if all("test" in r for r in chosen_runs(results)) else "Validation"
    rates = ", ".join(f"{rate:g}" for rate in results["learning_rates"])
    chosen = f"chosen on the validation part from {rates}" if len(results["learning_rates"]) > 1 else rates
    toolkit = " ".join(next((name, where[name]) for name in ("transformers", "speechbrain") if name in where))
    note = (
        f"{part} part, mean ± standard deviation over the seeds; learning rate of each loss {chosen}; "
        f"{where['machine']}, {where['threads']} thread, torch {where['torch']}, {toolkit}. Seconds "
        "are wall clock beside other work on that machine, so they compare nothing."
    )
    return f"{note}\n\n{markdown_table(results)}"


def card(results: Results) -> str:
    """A card of one comparison: the table, every run, and the command."""
    lines = [
        f"# {results['title']}",
        *([] if is_comparison(results) else ["One loss alone, so this is no comparison."]),
        section(results),
        "Every run, on the validation part:",
        every_run(results),
        "The command:",
        "```\n" + command(results) + "\n```",
    ]
    return "\n\n".join(lines) + "\n"


def every_run(results: Results) -> str:
    metric = metric_of(results)
    names = [name for name in METRICS if all(name in run["validation"] for run in results["runs"])]
    rows = []
    for run in results["runs"]:
        test = f"{run['test'][metric]:.4f}" if "test" in run else "not looked at"
        cells = [run["loss"], f"{run['learning_rate']:g}", str(run["seed"])]
        cells += [f"{run['validation'][name]:.4f}" for name in names]
        rows.append([*cells, test, f"{run['seconds']:.0f}"])
    return markdown(["loss", "learning rate", "seed", *names, f"test {metric}", "seconds"], rows)


def command(results: Results) -> str:
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


def chosen_runs(results: Results) -> list[dict[str, Any]]:
    return [run for run in results["runs"] if run["learning_rate"] == results["chosen"][run["loss"]]]


def between_marks(text: str, name: str, content: str, file: str) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no marks <!-- {name} --> ... <!-- end {name} --> in {file}")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


if __name__ == "__main__":
    main()
