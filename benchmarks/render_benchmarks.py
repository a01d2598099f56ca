"""The tables of docs/performance.md from benchmarks/results.json, for render_results.py.

A table has a column for what its rows hold, whichever losses there are.
"""

from collections.abc import Callable, Iterable, Mapping
from math import ceil
from typing import Any

from pictures import grown_along

from hf_squareloss.comparison import markdown_table

Results = dict[str, Any]
SQUARE_HEAD, ON_SCORES = "linear_square_loss", "square on scores"
STOCK = "Trainer, cross-entropy"


def tables(results: Results) -> dict[str, str]:
    """Name of the place between marks -> its Markdown; the parts of the head must be there."""
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
    return f"{markdown_table(header, rows)}\n\n{note}."


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


def given_scores(results: Results) -> str:
    base = "F.cross_entropy"
    names = [name for name in held(row["seconds"] for row in results["rows"]) if name != base]
    rows = []
    for row in results["rows"]:
        seconds, memory = row["seconds"], row["peak_bytes"]
        ratios = [
            f"{seconds[n] / seconds[base]:.2f}, {memory[n] / memory[base]:.2f}" if n in seconds else "" for n in names
        ]
        rows.append([f"{row['items']:,}, {row['classes']:,}", f"{seconds[base] * 1e6:,.0f}", *ratios])
    return f"{markdown_table(['N, C', f'{base}, µs', *names], rows)}\n\n{where(results)}."


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
    return f"{markdown_table(['model', 'trainer', 'ms a step', 'relative', 'tokens/s'], rows)}\n\n{where(results)}."


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
    return f"{markdown_table(['training', 'samples/s', 'relative', 'padding'], rows)}\n\n{note}"


def stages(results: Results) -> str:
    runs = {name: results["seconds"][name] for name in ("first run", "again")}
    sums = {name: sum(seconds.values()) for name, seconds in runs.items()}
    rows = [
        [stage, *(f"{seconds[stage]:.1f} ({seconds[stage] / sums[name]:.0%})" for name, seconds in runs.items())]
        for stage, _ in largest_first(runs["first run"])
    ]
    note = f"{results['data']}, one epoch of {results['samples']:,} samples. {where(results)}."
    return f"{markdown_table(['stage', *(f'{name}, seconds' for name in runs)], rows)}\n\n{note}"


def ctc(results: Results) -> str:
    names = held(row["ratios"] for row in results["rows"])
    rows = [
        [f"{row['classes']:,}"] + [f"{row['ratios'][name]:.2f}" if name in row["ratios"] else "" for name in names]
        for row in results["rows"]
    ]
    note = (
        f"Forward and backward, float32, {results['batch']} utterances of {results['frames']} frames and "
        f"{results['labels']} labels; {where(results)}."
    )
    return f"{markdown_table(['classes', *names], rows)}\n\n{note}"


def held(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every name that one of the rows holds, in the order of the rows."""
    return list(dict.fromkeys(name for row in rows for name in row))


def largest_first(seconds: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(seconds.items(), key=lambda item: -item[1])


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
