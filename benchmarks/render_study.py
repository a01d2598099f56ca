"""The study of docs/results.md: figures over all tasks and by domain, the claims judged by them, and each task.

A study is what model_cards/study-NAME holds. Nothing here is typed but the claims and the paper's own figures: verdicts
follow from intervals.
"""

from collections.abc import Sequence
from statistics import fmean

from study_claims import DOMAINS, SQUARE, claims, interval, plain_problems, points

from hf_squareloss.comparison import (
    Analysis,
    Comparison,
    PooledMean,
    PooledRatio,
    ProblemAnalysis,
    Results,
    analyse,
    interval_text,
    markdown_table,
    merged_results,
    number,
    overview_markdown,
    probability,
)

# Hui & Belkin (ICLR 2021), square loss and cross-entropy, where the task is the same; models and training are others.
PUBLISHED = {
    "mrpc": ("BERT, accuracy", 0.838, 0.821),
    "sst2": ("BERT, accuracy", 0.940, 0.939),
    "cifar10": ("Wide ResNet, accuracy", 0.959, 0.963),
}


def study_section(studies: Sequence[Results], under_way: Sequence[tuple[str, int, int]] = ()) -> str:
    """Every figure of the study as Markdown; of tasks that are under way, how many of their runs are done."""
    rest = [f"{title} ({done} of {size} runs)" for title, done, size in under_way]
    note = f"Under way, and in no figure yet: {'; '.join(rest)}." if rest else ""
    if not studies:
        return f"No task of the study has all of its runs yet. {note}".strip()
    whole = analyse(merged_results(studies, "the study"))
    plain = plain_problems(whole)
    parts = [
        f"{counted(studies)} {note}".strip(),
        "### The claims",
        claims_table(whole),
        "### Over all tasks",
        domains_table(studies),
        "Advantages over cross-entropy in standard deviations over seeds (Hedges' g) and points of the task's metric; "
        "each task has one vote; ratios are geometric means. In brackets: Student's 95 % interval over the tasks.",
        "### Task by task",
        overview_markdown([without_noise(study) for study in studies]),
        published_table(plain),
    ]
    if noisy := noise_table(whole):
        parts += ["### Label noise", noisy]
    return "\n\n".join(part for part in parts if part)


def study_overview(studies: Sequence[Results]) -> str:
    """The table of the README: a row per task."""
    if not studies:
        return "No comparison has been published yet."
    note = (
        "Test part, mean ± standard deviation over the seeds; learning rate and epoch chosen on validation; advantages "
        "are over cross-entropy, positive is better."
    )
    return f"{overview_markdown([without_noise(study) for study in studies])}\n\n{note}"


def study_verdict(studies: Sequence[Results]) -> str:
    """What the study says, in three sentences."""
    if not studies:
        return "The study has not been carried out yet."
    whole = analyse(merged_results(studies, "the study"))
    pooled, tasks = whole.pooled.get(SQUARE), len(plain_problems(whole))
    if pooled is None or pooled.advantage is None:
        return "The study has too few runs for a verdict yet."
    mean, spread, brier = pooled.advantage, pooled.spread, pooled.calibration.get("brier")
    undecided = pooled.ties + pooled.undecided
    better = side(mean.interval, "is better than cross-entropy", "is worse than cross-entropy", "and cross-entropy "
                  "cannot be told apart")  # fmt: skip
    sentences = [
        f"Over the {tasks} tasks below, each tuned alike, the square loss {better}: a mean advantage of "
        f"{mean_text(mean)} standard deviations over seeds; by itself it is better on {pooled.wins}, worse on "
        f"{pooled.losses} and undecided on {undecided} of them."
    ]
    if spread:
        less = side(spread.interval, "more", "less", "not provably less", border=1.0)
        sentences.append(
            f"It depends {less} on the seed: its deviation over seeds is {ratio_text(spread)} times theirs."
        )
    if brier:
        calibrated = side(brier.interval, "better", "worse", "neither better nor worse")
        sentences.append(
            f"Before any calibration its probabilities are {calibrated} by the Brier score ({mean_text(brier)}), "
            "standard deviations again."
        )
    return " ".join(sentences)


def side(found: tuple[float, float] | None, above: str, below: str, neither: str, *, border: float = 0.0) -> str:
    """The words for where an interval lies."""
    if found is None or found[0] <= border <= found[1]:
        return neither
    return above if found[0] > border else below


def counted(studies: Sequence[Results]) -> str:
    """How much was computed."""
    runs = [run for study in studies for run in study.runs]
    hours = sum((run.seconds or 0) + (run.overhead_seconds or 0) for run in runs) / 3600
    tasks = len({(run.task, run.model) for run in runs})
    bad = [f"{sum(run.status == status for run in runs)} {status}" for status in ("diverged", "failed")]
    return f"{len(runs):,} runs ({', '.join(bad)}) on {tasks} tasks, {hours:.0f} hours of one CPU core."


def claims_table(whole: Analysis) -> str:
    """Every claim with its verdict and the figures that it follows from."""
    rows = [
        [claim, " / ".join(dict.fromkeys(e.verdict for e in evidence)), "; ".join(e.figure for e in evidence)]
        for claim, evidence in claims(whole)
    ]
    return markdown_table(["claim", "verdict", "figures"], rows)


def domains_table(studies: Sequence[Results]) -> str:
    """A row for each domain and loss."""
    domains: dict[str, list[Results]] = {}
    for study in studies:
        domains.setdefault(DOMAINS[study.runs[0].settings["script"]], []).append(without_noise(study))
    everything = [study for of_domain in domains.values() for study in of_domain]
    rows = []
    for name, of_domain in [*sorted(domains.items()), *([("all", everything)] if len(domains) > 1 else [])]:
        analysis = analyse(merged_results(of_domain, name))
        for label, pooled in analysis.pooled.items():
            decided = f"{pooled.wins} / {pooled.ties + pooled.undecided} / {pooled.losses}"
            tasks = pooled.advantage.tasks if pooled.advantage else 0
            wilcoxon = probability(pooled.advantage.p_value) if pooled.advantage else "–"
            cells = [mean_text(pooled.advantage), wilcoxon, mean_text(points(analysis.problems, label), scale=100)]
            cells += [ratio_text(pooled.spread), mean_text(pooled.calibration.get("brier")), ratio_text(pooled.seconds)]
            rows.append([name, f"`{label}`", str(tasks), decided, *cells])
    header = ["domain", "loss", "tasks", "better / undecided / worse", "advantage, SD", "p, Wilcoxon", "in points"]
    return markdown_table([*header, "spread over seeds, ratio", "Brier score, SD", "seconds, ratio"], rows)


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
    tasks = {p.problem.task for p in whole.problems if p.problem.label_noise > 0}
    problems = [p for p in whole.problems if p.problem.task in tasks]
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
        rows.append([problem.task, f"{100 * problem.label_noise:g} %", *means, advantage])
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


def without_noise(study: Results) -> Results:
    return study.model_copy(update={"runs": [run for run in study.runs if run.label_noise == 0]})
