"""The study of docs/results.md: figures over all tasks and by domain, the claims judged by them, and each task.

A study is what model_cards/study-NAME holds. Nothing here is typed but the claims and the paper's own figures: verdicts
follow from intervals.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pictures import grid_values
from render_tasks import details_table, edges, noise_table, published_table, without_noise
from study_claims import Evidence, claims, in_deviations, in_measure, interval
from study_figures import (
    DOMAINS,
    SQUARE,
    domain_of,
    plain_problems,
    points,
    whole_analysis,
)

from hf_squareloss import SquareLoss
from hf_squareloss.comparison import (
    PooledMean,
    PooledRatio,
    ProblemAnalysis,
    Results,
    interval_text,
    markdown_table,
    number,
    overview_markdown,
)

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
        "Better, worse: pairs of task and model whose own interval leaves out zero. Ratios are geometric means; times "
        "were measured beside other work. Points are of each task's metric, whatever it is.",
        "### Task by task",
        overview_markdown(without_noise(studies)),
        details_table(plain),
        published_table(plain),
        edges(whole.problems),
    ]
    if noisy := noise_table(whole):
        parts += ["### Label noise", noisy]
    return "\n\n".join(part for part in parts if part)


def study_overview(studies: Sequence[Results]) -> str:
    """The table of the README: a row per domain."""
    if not without_noise(studies):
        return "No comparison has been published yet."
    note = (
        "`square` with `auto` against cross-entropy on test parts: positive advantages are better. "
        "Each source of data has one vote; better, worse: the task's own 95 % interval leaves out zero; SD: standard "
        "deviations over seeds; in brackets 95 % intervals over the votes."
    )
    return f"{domains_table(studies, only=SQUARE)}\n\n{note}"


def study_verdict(studies: Sequence[Results], rest: Rest = ()) -> str:
    """What the study says, in three sentences; and that it is not complete, where it is not."""
    whole = whole_analysis(studies) if studies else None
    pooled = whole.pooled.get(SQUARE) if whole else None
    if whole is None or pooled is None or pooled.advantage is None or pooled.advantage.tasks < FEWEST:
        done, all_of_them = len(studies), len(studies) + len(rest)
        return f"The study is under way: {done} of its {all_of_them} parts are complete, too few for a verdict."
    plain, spread = plain_problems(whole), pooled.spread
    so_far = f" (interim: {len(studies)} of {len(studies) + len(rest)} studies are complete)" if rest else ""
    domains = grouped(
        (
            words(found, "it is better", "it is worse", "the two cannot be told apart"),
            f"in {name} ({shown(found)} standard deviations over seeds, {found.votes} sources)",
        )
        for name, domain in (("text and speech", ("text", "speech")), ("vision", ("vision",)))
        if (found := in_deviations("", [p for p in plain if domain_of(p) in domain])).interval
    )
    open_ones = pooled.ties + pooled.undecided
    sentences = [
        f"Over the {len(plain)} comparisons of the study{so_far}, each loss tuned alike, the square loss is better "
        f"than cross-entropy in {pooled.wins}, worse in {pooled.losses} and undecided in {open_ones}; "
        f"averaged over sources of data, {domains}."
    ]
    if spread:
        found = Evidence("", spread.ratio, spread.interval, above=False, border=1.0)
        less = words(found, "less", "more", "neither more nor less, as far as can be told,")
        sentences.append(f"It depends {less} on the seed (ratio of the deviations over seeds {ratio_text(spread)}).")
    calibrated = [
        f"{when} {judged}"
        for when, prefix in (
            ("Before any calibration its probabilities are", ""),
            ("with the number T that models are saved with they are", "calibrated_"),
        )
        if (judged := calibration(plain, prefix))
    ]
    if calibrated:
        sentences.append(f"{'; '.join(calibrated)}.")
    return " ".join(sentences)


def calibration(problems: Sequence[ProblemAnalysis], prefix: str) -> str:
    """What the measures of calibration say; empty without an interval."""
    return grouped(
        (words(found, "better", "worse", "neither better nor worse"), f"by the {name} ({shown(found, digits=3)})")
        for name, measure in _CALIBRATION.items()
        if (found := in_measure("", problems, prefix + measure, scale=1)).interval
    )


def grouped(judged: Iterable[tuple[str, str]]) -> str:
    """Verdicts with what they are of, each verdict once."""
    places: dict[str, list[str]] = {}
    for verdict, place in judged:
        places.setdefault(verdict, []).append(place)
    return ", and ".join(f"{verdict} {' and '.join(those)}" for verdict, those in places.items())


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


def domains_table(studies: Sequence[Results], only: str | None = None) -> str:
    """A row for each domain and loss, or for one loss alone."""
    domains: dict[str, list[Results]] = {}
    for study in without_noise(studies):
        domains.setdefault(DOMAINS[study.runs[0].settings["script"]], []).append(study)
    everything = [study for of_domain in domains.values() for study in of_domain]
    rows = []
    for name, of_domain in [*sorted(domains.items()), *([("all", everything)] if len(domains) > 1 else [])]:
        analysis = whole_analysis(of_domain, name)
        for label, pooled in analysis.pooled.items():
            if only not in (None, label):
                continue
            decided = f"{pooled.wins} / {pooled.ties + pooled.undecided} / {pooled.losses}"
            cells = [mean_text(pooled.advantage), mean_text(points(analysis.problems, label), scale=100)]
            votes = pooled.advantage.tasks if pooled.advantage else 0
            of_loss = [] if only else [f"`{label}`"]
            ratios = [ratio_text(pooled.spread), ratio_text(pooled.seconds)]
            rows.append([name, *of_loss, str(votes), decided, *cells, *ratios])
    header = [
        "domain",
        *([] if only else ["loss"]),
        "votes",
        "better / undecided / worse",
        "advantage, SD",
        "in points",
    ]
    return markdown_table([*header, "deviation over seeds, ratio", "training time, ratio"], rows)


def mean_text(mean: PooledMean | None, *, scale: float = 1.0) -> str:
    if mean is None:
        return "–"
    bounds = mean.interval and (scale * mean.interval[0], scale * mean.interval[1])
    return f"{number(scale * mean.mean, signed=True, digits=2)} [{interval(bounds)}]"


def ratio_text(ratio: PooledRatio | None) -> str:
    if ratio is None:
        return "–"
    return f"{number(ratio.ratio, digits=2)} [{interval_text(ratio.interval, digits=2)}]"


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
