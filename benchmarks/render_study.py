"""The study of docs/results.md: figures over all tasks and by domain, the claims judged by them, and each task.

A study is what model_cards/study-NAME holds. Nothing here is typed but the claims and the paper's own figures: verdicts
follow from intervals.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pictures import grid_values
from study_claims import Evidence, claims, in_deviations, in_measure, interval
from study_figures import (
    DOMAINS,
    SQUARE,
    at_an_edge,
    domain_of,
    plain_problems,
    points,
    whole_analysis,
)

from hf_squareloss import SquareLoss
from hf_squareloss.comparison import (
    Analysis,
    Comparison,
    PooledMean,
    PooledRatio,
    ProblemAnalysis,
    Results,
    interval_text,
    markdown_table,
    number,
    overview_markdown,
)

# Hui & Belkin (ICLR 2021), square loss and cross-entropy, where the task is the same; models and training are others.
PUBLISHED = {
    "mrpc": ("BERT, accuracy", 0.838, 0.821),
    "sst2": ("BERT, accuracy", 0.940, 0.939),
    "cifar10": ("Wide ResNet, accuracy", 0.959, 0.963),
}


_CALIBRATION = {"Brier score": "brier", "negative log-likelihood": "nll"}
FEWEST = 5  # votes that a verdict needs
Rest = Sequence[tuple[str, int, int]]


def study_section(
    studies: Sequence[Results], rest: Rest = (), large_vocabulary: Mapping[str, Any] | None = None
) -> str:
    """Every figure of the study as Markdown.

    Args:
        studies: those whose runs are all there.
        rest: title of every other one, how many of its runs are there, and how many it has.
        large_vocabulary: what language_modeling.py wrote.
    """
    missing = [f"{title} ({done} of {size} runs)" for title, done, size in rest]
    note = f"Not complete, and in no figure: {'; '.join(missing)}." if missing else ""
    if not studies:
        return f"No task of the study has all of its runs yet. {note}".strip()
    whole = whole_analysis(studies)
    plain = plain_problems(whole)
    parts = [
        f"{counted(studies)} {note}".strip(),
        "### The claims",
        claims_table(studies, large_vocabulary),
        "The square loss with `auto` against cross-entropy, in standard deviations over seeds (SD, Hedges' g) or in "
        "points of the task's metric; 95 % interval by Student's t over the votes, one for each source of data. "
        "A verdict in SD also needs the mean in points to have the same sign. Votes to decide: how many would leave "
        "the border out of the interval, if the mean and the deviation over votes stayed as they are. Of the large "
        "vocabulary the interval is over the seeds of one set, which says less.",
        "### Over all tasks",
        domains_table(studies),
        "Better, worse: pairs of task and model whose own interval leaves out zero. Ratios are geometric means.",
        "### Task by task",
        overview_markdown(without_noise(studies)),
        published_table(plain),
        edges(whole.problems),
    ]
    if noisy := noise_table(whole):
        parts += ["### Label noise", noisy]
    return "\n\n".join(part for part in parts if part)


def study_overview(studies: Sequence[Results]) -> str:
    """The table of the README: a row per task."""
    plain = without_noise(studies)
    if not plain:
        return "No comparison has been published yet."
    note = (
        "Test part, mean ± standard deviation over the seeds; learning rate and epoch chosen on validation; advantages "
        "are over cross-entropy, positive is better."
    )
    return f"{overview_markdown(plain)}\n\n{note}"


def study_verdict(studies: Sequence[Results], rest: Rest = ()) -> str:
    """What the study says, in three sentences; and that it is not complete, where it is not."""
    whole = whole_analysis(studies) if studies else None
    pooled = whole.pooled.get(SQUARE) if whole else None
    if whole is None or pooled is None or pooled.advantage is None or pooled.advantage.tasks < FEWEST:
        done, all_of_them = len(studies), len(studies) + len(rest)
        return f"The study is under way: {done} of its {all_of_them} parts are complete, too few for a verdict."
    plain, spread = plain_problems(whole), pooled.spread
    so_far = f" (interim: {len(studies)} of {len(studies) + len(rest)} studies are complete)" if rest else ""
    domains = [
        f"in {name} {words(found, 'it is better', 'it is worse', 'the two cannot be told apart')} "
        f"({shown(found)} standard deviations over seeds, from {found.votes} sources of data)"
        for name, domain in (("text and speech", ("text", "speech")), ("vision", ("vision",)))
        if (found := in_deviations("", [p for p in plain if domain_of(p) in domain])).interval
    ]
    sentences = [
        f"Over the {len(plain)} comparisons below{so_far}, each loss tuned alike, the square loss is better than "
        f"cross-entropy in {pooled.wins}, worse in {pooled.losses} and undecided in {pooled.ties + pooled.undecided}; "
        f"in the mean {'; '.join(domains)}."
    ]
    if spread:
        found = Evidence("", spread.ratio, spread.interval, above=False, border=1.0)
        less = words(found, "less", "more", "neither more nor less, as far as can be told,")
        sentences.append(f"It depends {less} on the seed (ratio of the deviations over seeds {ratio_text(spread)}).")
    calibrated = [
        f"{when} {' and '.join(judged)}"
        for when, prefix in (
            ("Before any calibration its probabilities are", ""),
            ("with the number T that models are saved with they are", "calibrated_"),
        )
        if (
            judged := [
                text for name, short in _CALIBRATION.items() if (text := calibration(plain, name, prefix + short))
            ]
        )
    ]
    if calibrated:
        sentences.append(f"{'; '.join(calibrated)}.")
    return " ".join(sentences)


def calibration(problems: Sequence[ProblemAnalysis], name: str, measure: str) -> str:
    """What a measure of calibration says; empty without an interval."""
    found = in_measure("", problems, measure, scale=1)
    side = words(found, "better", "worse", "neither better nor worse")
    return f"{side} by the {name} (advantage {shown(found, digits=3)})" if found.interval else ""


def words(found: Evidence, supported: str, not_supported: str, undecided: str) -> str:
    """What to call a verdict."""
    return {"supported": supported, "not supported": not_supported}.get(found.verdict, undecided)


def shown(found: Evidence, digits: int = 2) -> str:
    """A signed estimate with its interval."""
    bounds = interval_text(found.interval, signed=True, digits=digits)
    return f"{number(found.value, signed=True, digits=digits)} [{bounds}]"


def counted(studies: Sequence[Results]) -> str:
    """How much was computed."""
    runs = [run for study in studies for run in study.runs]
    hours = sum((run.seconds or 0) + (run.overhead_seconds or 0) for run in runs) / 3600
    tasks = len({(run.task, run.model) for run in runs})
    bad = [f"{sum(run.status == status for run in runs)} {status}" for status in ("diverged", "failed")]
    return (
        f"{len(runs):,} runs ({', '.join(bad)}) of {tasks} pairs of task and model, {hours:.1f} hours of one CPU core."
    )


def claims_table(studies: Sequence[Results], large_vocabulary: Mapping[str, Any] | None = None) -> str:
    """Every claim, the figures that speak for or against it, and what follows from each."""
    rows = []
    for claim, evidence in claims(studies, large_vocabulary):
        rows += [[claim if each is evidence[0] else "", *each.cells] for each in evidence]
    header = ["claim", "figure", "mean [95 % interval]", "votes", "p, Wilcoxon", "verdict", "votes to decide"]
    return markdown_table(header, rows)


def domains_table(studies: Sequence[Results]) -> str:
    """A row for each domain and loss."""
    domains: dict[str, list[Results]] = {}
    for study in without_noise(studies):
        domains.setdefault(DOMAINS[study.runs[0].settings["script"]], []).append(study)
    everything = [study for of_domain in domains.values() for study in of_domain]
    rows = []
    for name, of_domain in [*sorted(domains.items()), *([("all", everything)] if len(domains) > 1 else [])]:
        analysis = whole_analysis(of_domain, name)
        for label, pooled in analysis.pooled.items():
            decided = f"{pooled.wins} / {pooled.ties + pooled.undecided} / {pooled.losses}"
            cells = [mean_text(pooled.advantage), mean_text(points(analysis.problems, label), scale=100)]
            votes = pooled.advantage.tasks if pooled.advantage else 0
            rows.append([name, f"`{label}`", str(votes), decided, *cells, ratio_text(pooled.spread)])
    header = ["domain", "loss", "votes", "better / undecided / worse", "advantage, SD", "in points"]
    return markdown_table([*header, "deviation over seeds, ratio"], rows)


def edges(problems: Sequence[ProblemAnalysis]) -> str:
    """Where a better learning rate may lie beyond the list."""
    found = at_an_edge(problems)
    return f"At an edge of the learning rates that were tried: {'; '.join(found)}." if found else ""


def published_table(problems: Sequence[ProblemAnalysis]) -> str:
    """The paper's own figures beside ours, where the task is the same."""
    rows = []
    for found in problems:
        published = PUBLISHED.get(found.problem.task)
        square = next((c for c in found.comparisons if c.contender.label == SQUARE), None)
        if published is None or square is None or found.problem.baseline is None:
            continue
        name, theirs, theirs_cross_entropy = published
        ours = [fmean(c.values(found.problem.part).values()) for c in (square.contender, found.problem.baseline)]
        theirs_text = f"{theirs:.3f} / {theirs_cross_entropy:.3f}"
        rows.append([found.name, f"{ours[0]:.3f} / {ours[1]:.3f}", theirs_text, name])
    if not rows:
        return ""
    table = markdown_table(["task", "square / cross-entropy, here", "in the paper", "their model"], rows)
    return f"Beside the paper's figures, of larger models trained on more rows:\n\n{table}"


def noise_table(whole: Analysis) -> str:
    """Each loss with wrong training labels, task by task."""
    noisy = {(p.problem.task, p.problem.model) for p in whole.problems if p.problem.label_noise > 0}
    problems = [p for p in whole.problems if (p.problem.task, p.problem.model) in noisy]
    labels = [
        label for label in whole.labels if any(label in (c.label for c in p.problem.contenders) for p in problems)
    ]
    rows = []
    for found in sorted(problems, key=lambda p: (p.problem.task, p.problem.label_noise)):
        problem = found.problem
        values = {c.label: list(c.values(problem.part).values()) for c in problem.contenders}
        square = next((c for c in found.comparisons if c.contender.label == SQUARE), None)
        means = [number(fmean(values[label]), digits=3) if values.get(label) else "" for label in labels]
        advantage = f"{number(square.tuned.mean, signed=True, digits=3)} [{signed(square)}]" if square else ""
        rows.append([f"{problem.task}, {problem.model}", f"{100 * problem.label_noise:g} %", *means, advantage])
    if not rows:
        return ""
    header = ["task", "wrong training labels", *(f"`{label}`" for label in labels), f"advantage of `{SQUARE}`"]
    return markdown_table(header, rows)


def signed(comparison: Comparison) -> str:
    return interval_text(comparison.tuned.interval, signed=True, digits=3)


def mean_text(mean: PooledMean | None, *, scale: float = 1.0) -> str:
    if mean is None:
        return "–"
    bounds = mean.interval and (scale * mean.interval[0], scale * mean.interval[1])
    return f"{number(scale * mean.mean, signed=True, digits=2)} [{interval(bounds)}]"


def ratio_text(ratio: PooledRatio | None) -> str:
    if ratio is None:
        return "–"
    return f"{number(ratio.ratio, digits=2)} [{interval_text(ratio.interval, digits=2)}]"


def without_noise(studies: Sequence[Results]) -> list[Results]:
    """Their runs without label noise, of those that have any."""
    found = [(study, [run for run in study.runs if run.label_noise == 0]) for study in studies]
    return [study.model_copy(update={"runs": runs}) for study, runs in found if runs]


def grid_table(grids: Sequence[tuple[str, int, Results]]) -> str:
    """Of each grid of k and M: cross-entropy, the pair of the grid next to "auto", and the best pair."""
    rows = []
    for name, classes, results in grids:
        values = grid_values(results)
        baseline = values.pop(None)
        auto = SquareLoss().resolve(classes)
        near = min(
            (pair for pair in values if pair), key=lambda p: (abs(math.log(p[0] / float(auto.k))), abs(p[1] - 1))
        )
        best = max((pair for pair in values if pair), key=lambda pair: values[pair])
        cells = [f"{values[pair]:.3f} ({pair[0]:.3g}, {pair[1]:g})" for pair in (near, best)]
        rows.append([name, str(classes), f"{baseline:.3f}", *cells])
    header = ["set", "C", "cross-entropy", "square, (k, M) next to `auto`", "best of the grid"]
    return markdown_table(header, rows)
