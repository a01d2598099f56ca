"""An analysis in words: the verdict in one sentence, and what to know before believing it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from hf_squareloss.comparison._analysis import Analysis, Comparison, ProblemAnalysis
from hf_squareloss.comparison._problems import Contender
from hf_squareloss.comparison._statistics import FEW_SEEDS, Interval

MINUS = "\N{MINUS SIGN}"
_LISTED = 4  # names in a sentence


def number(value: float | None, *, signed: bool = False, digits: int = 4) -> str:
    """A value for people: "0.8125", "+0.0125", "12.34"; a dash for None."""
    if value is None:
        return "–"
    text = f"{value:{'+' if signed else ''}.{digits}f}" if abs(value) < 10 else f"{value:{'+' if signed else ''}.4g}"
    return text.replace("-", MINUS)


def interval_text(interval: Interval | None, *, signed: bool = False, digits: int = 4) -> str:
    """ "0.0012 to 0.0230"; a dash for None."""
    if interval is None:
        return "–"
    return f"{number(interval[0], signed=signed, digits=digits)} to {number(interval[1], signed=signed, digits=digits)}"


def probability(value: float | None) -> str:
    """A p-value: "0.06", "< 0.01"; a dash for None."""
    return "–" if value is None else "< 0.01" if value < 0.005 else f"{value:.2f}"


def verdict(analysis: Analysis) -> str:
    """The main loss against the baseline in one sentence, with its uncertainty."""
    if analysis.main is None:
        return f"There is one loss, {analysis.baseline}, so this is no comparison."
    if len(analysis.tasks) > 1 and (pooled := analysis.pooled.get(analysis.main)) and pooled.advantage:
        return _over_tasks(analysis, analysis.main)
    found = [(p, c) for p in analysis.problems for c in p.comparisons if c.contender.label == analysis.main]
    if not found:
        return f"There is no run of {analysis.main} beside {analysis.baseline} yet, so there is no comparison."
    sentence = _on_one_problem(analysis, *found[0])
    more = len(found) - 1
    return sentence + (f" There {'are' if more > 1 else 'is'} {more} more below." if more else "")


def _over_tasks(analysis: Analysis, label: str) -> str:
    pooled = analysis.pooled[label]
    mean = pooled.advantage
    assert mean is not None
    counts = (
        f"better on {pooled.wins}, worse on {pooled.losses}, undecided on {pooled.ties + pooled.undecided} "
        f"of {pooled.wins + pooled.ties + pooled.losses + pooled.undecided} problems"
    )
    if mean.interval is None:
        return (
            f"{label} and {analysis.baseline} cannot be told apart: only one task has an estimate of "
            f"its advantage ({counts})."
        )
    bounds = f"95 % interval {interval_text(mean.interval, signed=True, digits=2)}, {mean.tasks} tasks"
    size = f"{number(abs(mean.mean), digits=2)} standard deviations over seeds"
    if mean.interval[0] > 0 or mean.interval[1] < 0:
        word = "better" if mean.mean > 0 else "worse"
        return f"{label} is {word} than {analysis.baseline} by {size} ({bounds}; {counts})."
    side = f"a mean advantage of {number(mean.mean, signed=True, digits=2)} standard deviations over seeds"
    return f"{label} and {analysis.baseline} cannot be told apart over the tasks: {side} ({bounds}; {counts})."


def _on_one_problem(analysis: Analysis, problem: ProblemAnalysis, comparison: Comparison) -> str:
    label, base, tuned = comparison.contender.label, analysis.baseline, comparison.tuned
    on = "" if problem.name == analysis.title else f"On {problem.name}, "
    metric = problem.problem.metric
    if tuned.mean is None:
        return f"{on}{label} and {base} have no seed in common with a value, so there is no verdict."
    seeds = f"{len(tuned.seeds)} seed{'s' if len(tuned.seeds) > 1 else ''}"
    favour = f"an advantage of {number(tuned.mean, signed=True)} in {metric}"
    if tuned.interval is None and comparison.outcome == "tie":
        return f"{on}{label} and {base} cannot be told apart: they have the same {metric} with every seed ({seeds})."
    if tuned.interval is None:
        reason = "one seed has no interval" if len(tuned.seeds) < 2 else "it is the same for every seed"
        return f"{on}{label} has {favour} over {base}, but {reason}, so there is no verdict ({seeds})."
    bounds = f"95 % interval {interval_text(tuned.interval, signed=True)}, {seeds}"
    if comparison.outcome is None:
        return (
            f"{on}{label} has {favour} over {base} ({bounds}), but runs without any value are left out, "
            "so there is no verdict."
        )
    if comparison.outcome == "tie":
        return f"{on}{label} and {base} cannot be told apart: {favour} ({bounds})."
    word = "better" if comparison.outcome == "win" else "worse"
    return f"{on}{label} is {word} than {base}: {favour} ({bounds})."


def warnings(analysis: Analysis) -> list[str]:
    """What weakens the figures, one sentence for each kind, with the problems and losses that it is about."""
    of_contender: list[tuple[str, Callable[[Contender], bool]]] = [
        ("Runs diverged, and count as they are up to there", lambda c: set(c.diverged) > set(c.without_value)),
        (
            "Runs never had a finite value, so their problem has no verdict and is in no figure over all tasks",
            lambda c: bool(c.without_value),
        ),
        ("Runs failed, and are left out", lambda c: bool(c.failed)),
        ("No run has ended", lambda c: c.learning_rate is None),
        (
            "The chosen learning rate is the smallest or largest that was tried, so a better one may lie beyond",
            lambda c: len(c.tuning) > 2 and c.learning_rate in (min(c.tuning), max(c.tuning)),
        ),
    ]
    of_problem: list[tuple[str, Callable[[ProblemAnalysis], bool]]] = [
        ("There is no run of the baseline", lambda p: p.problem.baseline is None),
        (
            f"Fewer than {FEW_SEEDS} seeds, so intervals are wide and say little of other seeds",
            lambda p: any(len(c.tuned.seeds) < FEW_SEEDS for c in p.comparisons),
        ),
        (
            "Losses have different seeds, and only those in common are compared",
            lambda p: len({frozenset(c.runs) for c in p.problem.contenders}) > 1,
        ),
        (
            "No test part: the figures are of the part that chose epochs and learning rates, so they are too good",
            lambda p: p.problem.part == "validation",
        ),
        (
            "Losses were tuned with different numbers of runs, which favours those with more",
            lambda p: len({len(c.tuning) * len(c.tuning_seeds) for c in p.problem.contenders}) > 1,
        ),
    ]
    found: dict[str, list[str]] = defaultdict(list)
    for text, applies in of_problem:
        for problem in analysis.problems:
            if applies(problem):
                found[text].append(problem.name)
    for problem in analysis.problems:
        if differing := _differing_environments(problem):
            found[f"Losses were run in different environments ({', '.join(differing)})"].append(problem.name)
    if len(analysis.problems) == 1:
        found = defaultdict(list, {text: [""] for text in found})  # it is about the whole study
    for text, applies_to in of_contender:
        for problem in analysis.problems:
            where = f"{problem.name}, " if len(analysis.problems) > 1 else ""
            found[text] += [f"{where}{c.label}" for c in problem.problem.contenders if applies_to(c)]
    sentences = [f"{text}: {_listed(names)}.".replace(": .", ".") for text, names in found.items() if names]
    return sentences + list(_of_selection(analysis))


def _differing_environments(found: ProblemAnalysis) -> list[str]:
    """What the environments of a problem's runs do not agree on."""
    runs = [run for contender in found.problem.contenders for run in contender.runs.values()]
    names = {name for run in runs for name in run.environment}
    return sorted(name for name in names if any(r.environment.get(name) != runs[0].environment.get(name) for r in runs))


def _of_selection(analysis: Analysis) -> Iterator[str]:
    others = len(analysis.pooled)
    if others > 3:
        yield (
            f"{others} losses are compared with {analysis.baseline}, each at 95 %: about one in twenty differs by "
            "chance, and the best of them looks better than it is."
        )


def _listed(names: Sequence[str]) -> str:
    shown = "; ".join(names[:_LISTED])
    return shown + (f"; and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
