"""The pictures of docs/: growth of time, and every seed of every comparison; the same file for the same numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_squareloss.comparison import Results, analyse, best_epoch, outlying


def draw_comparisons(comparisons: Sequence[Results], path: Path, description: str) -> None:
    """One panel per problem: a row per loss, a dot per seed and a bar for the mean."""
    plt = _pyplot()
    panels = [(results, found) for results in comparisons for found in analyse(results).problems]
    columns = min(2, len(panels))
    rows_of_panels = -(-len(panels) // columns)
    height = 0.9 + 0.32 * max(len(found.problem.contenders) for _, found in panels)
    figure, axes = plt.subplots(rows_of_panels, columns, figsize=(5 * columns, height * rows_of_panels), squeeze=False)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    losses = dict.fromkeys(contender.label for _, found in panels for contender in found.problem.contenders)
    colors = {loss: f"C{place}" for place, loss in enumerate(losses)}
    for axis, (results, found) in zip(axes.flat, panels, strict=False):
        problem = found.problem
        values = {c.label: list(c.values(problem.part).values()) for c in problem.contenders}
        shown = {label: of_label for label, of_label in values.items() if of_label}
        _draw_panel(axis, shown, colors, lower_is_better=not problem.greater_is_better)
        direction = "higher" if problem.greater_is_better else "lower"
        axis.set_xlabel(f"{problem.metric} ({direction} is better)", fontsize=9)
        name = found.name if found.name == results.title else f"{results.title}: {found.name}"
        axis.set_title(name, fontsize=10)
    _save(figure, path, description)


def _draw_panel(
    axis: Any, values: Mapping[str, Sequence[float]], colors: Mapping[str, str], *, lower_is_better: bool
) -> None:
    far = outlying(values, lower_is_better=lower_is_better)
    shown = [value for loss, of_loss in values.items() if loss not in far for value in of_loss]
    margin = 0.08 * (max(shown) - min(shown) or abs(max(shown)))
    low, high = min(shown) - margin, max(shown) + margin
    edge, toward = (high, 1) if lower_is_better else (low, -1)
    for position, (loss, of_loss) in enumerate(values.items()):
        color, mean = colors[loss], sum(of_loss) / len(of_loss)
        if loss in far:  # it would flatten the others
            tail = edge - toward * 0.08 * (high - low)
            axis.annotate("", (edge, position), (tail, position), arrowprops={"arrowstyle": "->", "color": color})
            aligned = "right" if toward > 0 else "left"
            axis.text(tail, position, f" {mean:.3g}, off the scale ", color=color, fontsize=8, ha=aligned, va="center")
        else:
            axis.plot(of_loss, [position] * len(of_loss), "o", color=color, alpha=0.6)
            axis.vlines(mean, position - 0.3, position + 0.3, color=color)
    axis.set_xlim(low, high)
    axis.set_ylim(len(values) - 0.5, -0.5)
    axis.set_yticks(range(len(values)), [loss.replace("_", "-") for loss in values])
    axis.locator_params(axis="x", nbins=5)


def draw_advantages(studies: Sequence[Results], path: Path, description: str) -> None:
    """A row per task: the square loss's advantage over cross-entropy with every seed, its mean and its interval."""
    plt = _pyplot()
    rows = [
        (found, comparison)
        for results in studies
        for found in analyse(results).problems
        for comparison in found.comparisons
        if comparison.contender.label == "square" and found.problem.label_noise == 0 and comparison.tuned.seeds
    ]
    figure, axis = plt.subplots(figsize=(7, 0.9 + 0.27 * len(rows)))
    for place, (_, comparison) in enumerate(rows):
        tuned = comparison.tuned
        assert tuned.mean is not None
        color = {"win": "C0", "loss": "C3"}.get(comparison.outcome or "", "0.45")
        axis.plot([100 * a for a in tuned.advantages], [place] * len(tuned.seeds), "o", color=color, alpha=0.35, ms=4)
        axis.plot(100 * tuned.mean, place, "|", color=color, ms=11, mew=2)
        if tuned.interval:
            axis.hlines(place, *(100 * bound for bound in tuned.interval), color=color)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [f"{f.problem.task}, {f.problem.model}" for f, _ in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set_xlabel("advantage of the square loss, points of the metric (right is better)")
    _save(figure, path, description)


def draw_growth(results: dict[str, Any], path: Path, description: str) -> None:
    """Seconds against classes and against tokens, both logarithmic, with the fitted slopes."""
    plt = _pyplot()
    from matplotlib.ticker import NullFormatter, NullLocator

    parts = grown_along(results)
    figure, axes = plt.subplots(1, len(parts), figsize=(4.5 * len(parts), 3.2), squeeze=False)
    for axis, along in zip(axes.flat, parts, strict=True):
        growth = results[along]
        for name, seconds in growth["seconds"].items():
            axis.loglog(growth["points"], seconds, "o-", label=f"{name}, slope {growth['slopes'][name]:.2f}")
        fixed = ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in growth["fixed"].items())
        axis.set_title(fixed, fontsize=9)
        axis.set_xticks(growth["points"], [f"{point:,}" for point in growth["points"]], fontsize=8)
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(along)
        axis.set_ylabel("seconds (lower is better)")
        axis.legend(fontsize=8)
    _save(figure, path, description)


def grown_along(growth: dict[str, Any]) -> list[str]:
    """The names of what was made larger, in the order of the results."""
    return [name for name, part in growth.items() if isinstance(part, dict) and "slopes" in part]


def _pyplot() -> Any:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "hf_squareloss"  # the same file for the same numbers
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path, description: str) -> None:
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Description": description})
    _pyplot().close(figure)


def draw_grids(grids: Sequence[tuple[str, int, Results]], path: Path, description: str) -> None:
    """One panel per task: the square loss's best accuracy on validation over k and M, against cross-entropy's.

    Args:
        grids: name, number of classes and runs of each, with one task and one model.
    """
    plt = _pyplot()
    figure, axes = plt.subplots(1, len(grids), figsize=(2.6 * len(grids), 3.1), squeeze=False)
    for axis, (name, classes, results) in zip(axes.flat, grids, strict=True):
        values = grid_values(results)
        baseline = values.pop(None)
        ks, targets = (sorted({pair[i] for pair in values if pair is not None}) for i in (0, 1))
        advantages = [[values[k, M] - baseline for M in targets] for k in ks]
        axis.imshow(advantages, cmap="RdBu", vmin=-0.1, vmax=0.1, aspect="auto", origin="lower")
        for y, of_k in enumerate(advantages):
            for x, advantage in enumerate(of_k):
                color = "white" if abs(advantage) > 0.07 else "black"
                axis.text(x, y, f"{baseline + advantage:.3f}", ha="center", va="center", fontsize=8, color=color)
        axis.set_xticks(range(len(targets)), [f"{M:g}" for M in targets], fontsize=8)
        axis.set_yticks(range(len(ks)), [f"{k:.3g}\n{_share(k, classes)}" for k in ks], fontsize=7)
        axis.set_xlabel("M", fontsize=9)
        axis.set_title(f"{name}, C = {classes}\ncross-entropy {baseline:.3f}", fontsize=9)
    axes.flat[0].set_ylabel("k", fontsize=9)
    _save(figure, path, description)


def grid_values(results: Results) -> dict[tuple[float, float] | None, float]:
    """(k, M), or None for cross-entropy -> best value on validation, over learning rates and epochs."""
    values: dict[tuple[float, float] | None, float] = {}
    for run in results.runs:
        pair = (float(run.parameters["k"]), float(run.parameters["M"])) if run.parameters else None
        place = best_epoch(run)
        value = None if place is None else run.epochs[place].validation[run.metric]
        if value is not None:
            values[pair] = max(value, values.get(pair, value))
    return values


def _share(k: float, classes: int) -> str:
    """k as a part of the number of classes."""
    return f"C/{classes / k:g}" if (classes / k).is_integer() and k != 1 else ""
