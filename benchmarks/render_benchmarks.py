"""The README's tables and picture of benchmarks/results.json, for render_results.py."""

from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

from hf_squareloss.losses import LOSSES

Results = dict[str, Any]
SQUARE_HEAD, ON_SCORES = "linear_square_loss", "square on scores"
STOCK = "Trainer, cross-entropy"


def tables(results: Results) -> dict[str, str]:
    """Name of the place in the README -> its Markdown; the parts of the head must be there."""
    makers: dict[str, Callable[[Results], str]] = {
        "linear_square_loss": heads,
        "given_scores": given_scores,
        "training_step": steps,
        "text_classification": text_classification,
        "ctc_loss": ctc,
        "run_glue_stages": stages,
    }
    whole = results | {SQUARE_HEAD: with_largest(results)}
    places = {f"benchmark {name}": make(whole[name]) for name, make in makers.items() if name in whole}
    return places | {"growth": growth_sentences(results)}


def with_largest(results: Results) -> Results:
    """The head's results with the rows of the run of the largest one, where there is one."""
    head, largest = results[SQUARE_HEAD], results.get(f"{SQUARE_HEAD}_largest")
    if largest is None:
        return head
    if machine(largest) != machine(head):
        raise ValueError(f"one table cannot hold two machines: {machine(head)}; the largest head {machine(largest)}")
    rows = [*head["rows"], *largest["rows"]]
    return head | {"rows": rows, "commit_of_largest": largest["environment"]["commit"]}


def heads(results: Results) -> str:
    rows = []
    for row in sorted(results["rows"], key=lambda row: row["dtype"], reverse=True):  # float32 first
        seconds, memory = row["seconds"], row["extra_bytes"]
        others = [name for name in seconds if name not in (SQUARE_HEAD, ON_SCORES)]
        fastest, leanest = (min(others, key=lambda name: values[name]) for values in (seconds, memory))
        rows.append(
            [
                f"{row['tokens']:,}, {row['classes']:,}, {row['hidden_size']}",
                row["dtype"],
                f"{seconds[SQUARE_HEAD] * 1e3:.1f}",
                f"{seconds[fastest] / seconds[SQUARE_HEAD]:.1f} ({fastest})",
                f"{seconds[ON_SCORES] / seconds[SQUARE_HEAD]:.1f}" if ON_SCORES in seconds else "does not fit",
                f"{memory[SQUARE_HEAD] / 2**20:.1f}",
                f"{memory[leanest] / memory[SQUARE_HEAD]:.0f} ({leanest})",
                f"{row['fraction_of_product_speed']:.2f}" if row["dtype"] == "float32" else "",
            ]
        )
    header = ["N, C, d", "type", "ms", "fastest cross-entropy, times ours", "square loss on scores, times ours"]
    header += ["extra MB", "leanest cross-entropy, times ours", "speed"]
    note = (
        "Speed: 4 (C + N) d² operations a second as a fraction of a large float32 product's; symmetry saves some of "
        f"them. {results['not_run']}. {where(results)}"
    )
    if "commit_of_largest" in results:
        note += f"; the largest head{at_commit(results['commit_of_largest'])}"
    return f"{markdown(header, rows)}\n\n{note}."


def growth_sentences(results: Results) -> str:
    """The fitted slopes of the picture, and what the choice costs, in words."""
    growth, choice = results[f"{SQUARE_HEAD}_growth"], results[f"{SQUARE_HEAD}_choice"]
    slopes = [
        f"against {along} {' and '.join(f'{slope:.2f} ({name})' for name, slope in growth[along]['slopes'].items())}"
        for along in grown_along(growth)
    ]
    costs = [row["seconds"][row["chosen"]] / min(row["seconds"].values()) for row in choice["rows"]]
    types = " and ".join(dict.fromkeys(row["dtype"] for row in choice["rows"]))
    sizes = {(row["tokens"], row["classes"], row["hidden_size"]) for row in choice["rows"]}
    cost = ceil(max(costs) * 100) / 100
    measured = "; ".join(dict.fromkeys((where(growth), where(choice))))
    return (
        f"Slopes of log time {', '.join(slopes)}. Where the sizes make scores the faster way it takes that: over "
        f"{len(sizes)} sizes in {types} the choice cost at most {cost:.2f} times the better one. {measured}."
    )


def grown_along(growth: Results) -> list[str]:
    return [name for name, part in growth.items() if isinstance(part, dict) and "slopes" in part]


def given_scores(results: Results) -> str:
    base = "F.cross_entropy"
    names = [name for name in results["rows"][0]["seconds"] if name != base]
    rows = [
        [f"{row['items']:,}, {row['classes']:,}", f"{row['seconds'][base] * 1e6:,.0f}"]
        + [
            f"{row['seconds'][n] / row['seconds'][base]:.2f}, {row['peak_bytes'][n] / row['peak_bytes'][base]:.2f}"
            for n in names
        ]
        for row in results["rows"]
    ]
    return f"{markdown(['N, C', f'{base}, µs', *names], rows)}\n\n{where(results)}."


def steps(results: Results) -> str:
    rows = []
    for row in results["rows"]:
        base = row["seconds"][STOCK]
        for label, seconds in largest_first(row["seconds"]):
            rows.append(
                [
                    row["case"],
                    label,
                    f"{seconds * 1e3:,.1f}",
                    f"{seconds / base:.3f}",
                    f"{row['tokens_per_second'][label]:,.0f}",
                ]
            )
    return f"{markdown(['model', 'trainer', 'ms a step', 'relative', 'tokens/s'], rows)}\n\n{where(results)}."


def text_classification(results: Results) -> str:
    speeds = results["samples_per_second"]
    base = speeds[STOCK]
    rows = [
        [n, f"{s:.0f}", f"{s / base:.2f}", f"{results['padding'][n]:.1%}"] for n, s in reversed(largest_first(speeds))
    ]
    imports = results["import_seconds"]
    note = (
        f"{results['data']}, {results['model']}, {results['samples']:,} samples in batches of {results['batch_size']}; "
        f"`import` of SquareLossTrainer takes {imports['SquareLossTrainer'] / imports['Trainer']:.2f} times that of "
        f"transformers' Trainer. {where(results)}."
    )
    return f"{markdown(['training', 'samples/s', 'relative', 'padding'], rows)}\n\n{note}"


def stages(results: Results) -> str:
    runs = {name: results["seconds"][name] for name in ("first run", "again")}
    sums = {name: sum(seconds.values()) for name, seconds in runs.items()}
    rows = [
        [stage, *(f"{seconds[stage]:.1f} ({seconds[stage] / sums[name]:.0%})" for name, seconds in runs.items())]
        for stage, _ in largest_first(runs["first run"])
    ]
    note = f"{results['data']}, one epoch of {results['samples']:,} samples. {where(results)}."
    return f"{markdown(['stage', *(f'{name}, seconds' for name in runs)], rows)}\n\n{note}"


def ctc(results: Results) -> str:
    rows = [[f"{row['classes']:,}"] + [f"{row['ratios'][name]:.2f}" for name in LOSSES] for row in results["rows"]]
    note = (
        f"Forward and backward, float32, {results['batch']} utterances of {results['frames']} frames and "
        f"{results['labels']} labels; {where(results)}."
    )
    return f"{markdown(['classes', *LOSSES], rows)}\n\n{note}"


def draw_growth(results: Results, path: Path, description: str) -> None:
    """Seconds against classes and against tokens, both logarithmic, with the fitted slopes."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "hf_squareloss"  # the same file for the same numbers
    import matplotlib.pyplot as plt

    parts = grown_along(results)
    figure, axes = plt.subplots(1, len(parts), figsize=(4.5 * len(parts), 3), squeeze=False)
    for axis, along in zip(axes.flat, parts, strict=True):
        growth = results[along]
        for name, seconds in growth["seconds"].items():
            axis.loglog(growth["points"], seconds, "o-", label=f"{name}, slope {growth['slopes'][name]:.2f}")
        fixed = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in growth["fixed"].items())
        axis.set_title(fixed, fontsize=9)
        axis.set_xlabel(along)
        axis.set_ylabel("seconds")
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Description": description})
    plt.close(figure)


def largest_first(seconds: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda item: -item[1])


def markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def where(results: Results) -> str:
    return machine(results) + at_commit(results["environment"]["commit"])


def at_commit(commit: str | None) -> str:
    return "" if commit is None else f", commit {commit[:7]}" + "-dirty" * commit.endswith("-dirty")


def machine(results: Results) -> str:
    environment, threads = results["environment"], results["threads"]
    return (
        f"{environment['machine']}, {threads} thread{'s' * (threads > 1)}, torch {environment['torch']}, "
        f"transformers {environment['transformers']}"
    )
