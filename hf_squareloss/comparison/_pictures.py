"""The pictures of a study as SVG: seeds, learning curves, reliability, estimates with intervals, a grid of k and M."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from hf_squareloss.comparison._analysis import Analysis, ProblemAnalysis
from hf_squareloss.comparison._problems import Contender, Part, Problem, value_at
from hf_squareloss.comparison._records import ReliabilityBins
from hf_squareloss.comparison._statistics import Interval, mean_interval
from hf_squareloss.comparison._svg import (
    MARGIN,
    WIDTH,
    Scale,
    bottom_axis,
    dot,
    group,
    left_axis,
    line,
    path,
    picture,
    scale,
    shown_range,
    text,
)
from hf_squareloss.comparison._words import interval_text, number

CURVES = 6  # more of them in one picture cannot be told apart
TOTAL = "over all tasks"
_LONGEST = 52  # letters in the width of a picture
_LEFT = 46.0  # room for the numbers of a vertical axis
_ROW = 34.0
_FAR = 5.0  # a loss that is farther from better ones than this many times their width stands at the edge


def outlying(values: Mapping[str, Sequence[float]], *, lower_is_better: bool) -> set[str]:
    """The losses so much worse than two better ones that they would flatten a picture of all."""
    means = {loss: fmean(of_loss) for loss, of_loss in values.items()}
    ordered = sorted(values, key=lambda loss: means[loss] if lower_is_better else -means[loss])
    shown = [value for loss in ordered[:2] for value in values[loss]]
    for place, loss in enumerate(ordered[2:], start=2):
        low, high = min(shown), max(shown)
        distance = max(means[loss] - high, low - means[loss])
        if distance > _FAR * max(high - low, 0.01 * abs(high)):
            return set(ordered[place:])
        shown += values[loss]
    return set()


def seeds(problem: Problem, order: Sequence[str]) -> str | None:
    """A row per loss: a dot per seed, the mean, and its 95 % interval; None where there is no value."""
    values = {c.label: c.values(problem.part) for c in problem.contenders}
    shown = {label: list(of_label.values()) for label, of_label in values.items() if of_label}
    if not shown:
        return None
    far = outlying(shown, lower_is_better=not problem.greater_is_better)
    intervals = {label: mean_interval(of_label) for label, of_label in shown.items()}
    near = [value for label, of_label in shown.items() if label not in far for value in of_label]
    bounds = [interval for label, interval in intervals.items() if interval and label not in far]
    across = scale(shown_range(near, bounds), MARGIN, WIDTH - MARGIN)
    bottom = _ROW * len(problem.contenders) + 6
    parts = bottom_axis(across, bottom, f"{problem.metric}, {problem.part}", grid_from=0)
    for place, contender in enumerate(problem.contenders):
        y = _ROW * place + 24
        parts.append(text(MARGIN, y - 10, _short(contender.label + _losses_of(contender, values)), kind="name"))
        of_label, interval = values[contender.label], intervals.get(contender.label)
        if contender.label in far:
            worse = across.low if problem.greater_is_better else across.high
            anchor = "start" if problem.greater_is_better else "end"
            words = f"mean {number(fmean(of_label.values()))}, off the scale"
            parts.append(text(across(worse), y + 4, words, anchor=anchor, kind="tick"))
            continue
        marks = [_interval(across, interval, y)] if interval else []
        marks += [dot(across(v), y, f"seed {seed}: {number(v)}") for seed, v in of_label.items()]
        if of_label:
            mean = across(fmean(of_label.values()))
            marks.append(line(mean, y - 7, mean, y + 7, "mean"))
        parts.append(group(order.index(contender.label), marks))
    return picture(bottom + 38, parts, f"{problem.metric} of every seed by loss, with the mean and its 95 % interval")


def curves(problem: Problem, order: Sequence[str]) -> str | None:
    """The metric by epoch: the mean over the seeds, between the lowest and the highest; None with one epoch."""
    found = {c.label: _by_epoch(c, problem.part) for c in problem.contenders[:CURVES]}
    epochs = sorted({epoch for of_label in found.values() for epoch in of_label})
    if len(epochs) < 2:
        return None
    everything = [value for of_label in found.values() for values in of_label.values() for value in values]
    top, bottom = 8.0, 190.0
    across = Scale(epochs[0], epochs[-1], _LEFT, WIDTH - MARGIN)
    up = scale(everything, bottom, top)
    parts = [
        *left_axis(up, _LEFT, WIDTH - MARGIN),
        *bottom_axis(across, bottom, f"epochs; {problem.metric} upwards, {problem.part}", whole=True),
    ]
    for label, of_label in found.items():
        if len(of_label) > 1:
            low = [(across(epoch), up(min(values))) for epoch, values in of_label.items()]
            high = [(across(epoch), up(max(values))) for epoch, values in of_label.items()]
            middle = [(across(epoch), up(fmean(values))) for epoch, values in of_label.items()]
            band = path([*low, *reversed(high)], "band", closed=True)
            parts.append(group(order.index(label), [band, path(middle, "curve")]))
    return picture(
        bottom + 38, parts, f"{problem.metric} by epoch for each loss: mean, lowest and highest of the seeds"
    )


def reliability(problem: Problem, order: Sequence[str], *, legend: bool = False) -> str | None:
    """Accuracy against confidence, the bins of all seeds together; None where no run has them."""
    bins = {
        c.label: [b for run in c.runs.values() if (b := (run.reliability or {}).get(problem.part))]
        for c in problem.contenders
    }
    found = {label: reliability_points(of_label) for label, of_label in bins.items() if of_label}
    return reliability_picture(dict(list(found.items())[:CURVES]), order, legend=legend) if found else None


def reliability_points(bins: Sequence[ReliabilityBins]) -> list[tuple[float, float]]:
    """(confidence, accuracy) of each bin over several runs, weighted by their items; empty bins are left out."""
    summed: dict[int, tuple[float, float, int]] = defaultdict(lambda: (0.0, 0.0, 0))
    for each in bins:
        for place, (confidence, accuracy, count) in enumerate(
            zip(each.confidence, each.accuracy, each.count, strict=True)
        ):
            if count and confidence is not None and accuracy is not None:
                before = summed[place]
                summed[place] = before[0] + count * confidence, before[1] + count * accuracy, before[2] + count
    return [(confidence / n, accuracy / n) for _, (confidence, accuracy, n) in sorted(summed.items())]


def reliability_picture(
    points: Mapping[str, Sequence[tuple[float, float]]], order: Sequence[str], *, legend: bool = False
) -> str:
    """Label -> (confidence, accuracy) as curves beside the diagonal, where confidence is right.

    Args:
        points: as of `reliability_points`.
        order: every label; the place gives its colour.
        legend: whether the labels stand below the picture.
    """
    size = WIDTH - _LEFT - MARGIN
    low = min((v for of_label in points.values() for point in of_label for v in point), default=0.0)
    low = max(0.0, (10 * low) // 1 / 10 - 0.05)
    across, up = Scale(low, 1.0, _LEFT, _LEFT + size), Scale(low, 1.0, size + 8, 8.0)
    parts = [*left_axis(up, _LEFT, WIDTH - MARGIN), *bottom_axis(across, size + 8, "confidence; accuracy upwards")]
    parts.append(line(across(low), up(low), across(1.0), up(1.0), "diagonal"))
    for label, of_label in points.items():
        places = [(across(x), up(y)) for x, y in of_label]
        hints = [f"{label}: confidence {x:.3f}, accuracy {y:.3f}" for x, y in of_label]
        marks = [dot(x, y, hint, "small dot") for (x, y), hint in zip(places, hints, strict=True)]
        parts.append(group(order.index(label), [path(places, "curve"), *marks]))
    height = size + (56 if legend else 46)
    for label in points if legend else ():
        mark = path([(_LEFT, height), (_LEFT + 26, height)], "curve")
        parts += [group(order.index(label), [mark]), text(_LEFT + 34, height + 4, _short(label))]
        height += 18
    return picture(height, parts, "accuracy against confidence for each loss; on the diagonal confidence is right")


Estimate = tuple[str, float, Interval | None]  # name, value and 95 % interval


def estimates(
    rows: Sequence[Estimate],
    title: str,
    description: str,
    *,
    ratio: bool = False,
    place: int = 0,
) -> str | None:
    """A row per problem: an estimate and its 95 % interval beside no difference; the last row is over all tasks."""
    if not rows:
        return None
    none = 1.0 if ratio else 0.0
    change, back = (math.log, math.exp) if ratio else (float, float)
    bounds = [(change(interval[0]), change(interval[1])) for *_, interval in rows if interval]
    reach = shown_range([change(v) for v in (none, *(value for _, value, _ in rows))], bounds)
    across = scale([back(v) for v in reach], MARGIN, WIDTH - MARGIN, logarithmic=ratio)
    bottom = _ROW * len(rows) + 6
    parts = [*bottom_axis(across, bottom, title, grid_from=0), line(across(none), 0, across(none), bottom, "none")]
    for at, (name, value, interval) in enumerate(rows):
        y = _ROW * at + 24
        parts.append(text(MARGIN, y - 10, _short(name), kind="name total" if name == TOTAL else "name"))
        marks = [_interval(across, interval, y)] if interval else []
        marks.append(dot(across(value), y, f"{number(value, digits=2)}, {interval_text(interval, digits=2)}"))
        parts.append(group(place, marks))
    return picture(bottom + 38, parts, description)


def advantages(analysis: Analysis, label: str, order: Sequence[str]) -> str | None:
    """A loss's advantage in standard deviations on every problem, and over all tasks."""
    rows: list[Estimate] = []
    for found, comparison in _of_label(analysis, label):
        if comparison.standardised:
            rows.append((found.name, fmean(comparison.standardised), mean_interval(comparison.standardised)))
    pooled = analysis.pooled[label].advantage if label in analysis.pooled else None
    if pooled and len(analysis.tasks) > 1:
        rows.append((TOTAL, pooled.mean, pooled.interval))
    title = f"advantage of {label}, standard deviations"
    return estimates(rows, _short(title), f"{title}, by problem, with 95 % intervals", place=order.index(label))


def spreads(analysis: Analysis, label: str, order: Sequence[str]) -> str | None:
    """A loss's deviation over seeds, as a ratio to the baseline's, on every problem and over all tasks."""
    rows: list[Estimate] = []
    for found, comparison in _of_label(analysis, label):
        if comparison.spread:
            rows.append((found.name, comparison.spread.ratio, comparison.spread.interval))
    pooled = analysis.pooled[label].spread if label in analysis.pooled else None
    if pooled and len(analysis.tasks) > 1:
        rows.append((TOTAL, pooled.ratio, pooled.interval))
    title = f"deviation over seeds of {label}, times the baseline's"
    description = f"{title}, by problem, with 95 % intervals; below one it varies less"
    return estimates(rows, _short(title), description, ratio=True, place=order.index(label))


def grids(problem: Problem) -> dict[str, str]:
    """Loss -> heat map of the best mean on validation by k and M, for losses with two values or more of one of them."""
    cells: dict[str, dict[tuple[Any, Any], float]] = defaultdict(dict)
    for contender in problem.contenders:
        value = contender.tuning.get(contender.learning_rate) if contender.learning_rate is not None else None
        if {"k", "M"} & contender.parameters.keys() and value is not None:
            cells[contender.loss][contender.parameters.get("k"), contender.parameters.get("M")] = value
    return {loss: _grid(found, problem) for loss, found in cells.items() if len(found) > 1}


def _grid(cells: Mapping[tuple[Any, Any], float], problem: Problem) -> str:
    columns = sorted({k for k, _ in cells}, key=_numeric)
    rows = sorted({m for _, m in cells}, key=_numeric)
    low, high = min(cells.values()), max(cells.values())
    width, height = (WIDTH - _LEFT - MARGIN) / len(columns), 30.0
    parts: list[str] = []
    for i, m in enumerate(rows):
        parts.append(text(_LEFT - 5, height * i + 20, f"M = {_shown(m)}", anchor="end", kind="tick"))
        for j, k in enumerate(columns):
            if (k, m) in cells:
                value = cells[k, m]
                share = (value - low) / (high - low) if high > low else 0.5
                better = share if problem.greater_is_better else 1 - share
                x, y = _LEFT + width * j, height * i
                parts.append(
                    f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{height - 2:g}" class="cell" '
                    f'fill-opacity="{0.08 + 0.5 * better:.2f}"/>'
                )
                parts.append(text(x + width / 2 - 1, y + 19, f"{value:.3f}", anchor="middle", kind="tick strong"))
    bottom = height * len(rows)
    for j, k in enumerate(columns):
        parts.append(text(_LEFT + width * (j + 0.5), bottom + 14, f"k = {_shown(k)}", anchor="middle", kind="tick"))
    title = f"best {problem.metric} on validation"
    parts.append(text((_LEFT + WIDTH) / 2, bottom + 32, title, anchor="middle", kind="title"))
    return picture(bottom + 40, parts, f"{title} by k and M")


def _by_epoch(contender: Contender, part: Part) -> dict[float, list[float]]:
    """Epoch -> one value per seed that has one."""
    found: dict[float, list[float]] = defaultdict(list)
    for run in contender.runs.values():
        for place, epoch in enumerate(run.epochs):
            value = value_at(run, place, part)
            if value is not None:
                found[epoch.epoch].append(value)
    return dict(sorted(found.items()))


def _of_label(analysis: Analysis, label: str) -> list[tuple[ProblemAnalysis, Any]]:
    return [(p, c) for p in analysis.pooled_problems for c in p.comparisons if c.contender.label == label]


def _interval(across: Scale, interval: Interval, y: float) -> str:
    return line(across.clamped(interval[0]), y, across.clamped(interval[1]), y, "interval")


def _losses_of(contender: Contender, values: Mapping[str, Mapping[int, float]]) -> str:
    """How many runs have no dot."""
    missing = len(contender.runs) - len(values[contender.label])
    notes = [f"{missing} without a value"] if missing else []
    notes += [f"{len(contender.failed)} failed"] if contender.failed else []
    return f" ({', '.join(notes)})" if notes else ""


def _short(words: str) -> str:
    return words if len(words) <= _LONGEST else words[: _LONGEST - 1].rstrip() + "…"


def _numeric(value: Any) -> tuple[int, float, str]:
    """Numbers in their order, then words such as auto."""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _shown(value: Any) -> str:
    return "default" if value is None else f"{value:g}" if isinstance(value, int | float) else str(value)
