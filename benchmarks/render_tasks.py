"""The study's tables with a row for each task, for render_study.py."""

from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from study_figures import PAPER, SQUARE, at_an_edge

from hf_squareloss.comparison import (
    Analysis,
    Contender,
    PairedComparison,
    ProblemAnalysis,
    Results,
    interval_text,
    markdown_table,
    number,
)

# Hui & Belkin (ICLR 2021), square loss and cross-entropy, where the task is the same and the model of the same kind.
PUBLISHED = {  # task and model -> metric, their model, their figures
    ("mrpc", "minilm-l3"): [("accuracy", "BERT", 0.838, 0.821), ("f1", "BERT", 0.881, 0.867)],
    ("sst2", "minilm-l3"): [("accuracy", "BERT", 0.940, 0.939)],
    ("cifar10", "resnet"): [("accuracy", "Wide ResNet", 0.959, 0.963)],
}
PROBABILITIES = {"Brier score": "brier", "negative log-likelihood": "nll"}


def details_table(problems: Sequence[ProblemAnalysis]) -> str:
    """What the overview leaves out: equal epochs, the paper's k and M, and probabilities before and after T."""
    rows = []
    for found in problems:
        problem, baseline = found.problem, found.problem.baseline
        square = next((c for c in found.comparisons if c.contender.label == SQUARE), None)
        if square is None or baseline is None:
            continue
        of_label = {contender.label: contender for contender in problem.contenders}
        paper = of_label.get(PAPER)
        cells = [
            mean_of(paper, problem.part) if paper else "",
            difference(square.tuned),
            difference(square.equal_epochs),
        ]
        for name in PROBABILITIES.values():
            for measure in (name, f"calibrated_{name}"):
                both = [mean_of(each, problem.part, measure) for each in (baseline, square.contender)]
                cells.append(" / ".join(both) if all(both) else "")
        rows.append([found.name, *cells])
    header = ["task", f"`{PAPER}`", f"advantage of `{SQUARE}`", "after cross-entropy's epochs"]
    header += [f"{name}{when}" for name in PROBABILITIES for when in (", own link", ", with T")]
    note = (
        "The same tasks: the metric with the paper's k and M, where they differ from `auto`; advantages with 95 % "
        "intervals, each loss at its own best epoch and after the epochs of cross-entropy's best; measures of "
        f"probabilities as cross-entropy / `{SQUARE}`, less is better:"
    )
    return f"{note}\n\n{markdown_table(header, rows)}" if rows else ""


def mean_of(contender: Contender, part: Literal["validation", "test"], metric: str | None = None) -> str:
    """The mean over seeds; empty where nothing was measured."""
    values = list(contender.values(part, metric).values())
    return number(fmean(values), digits=3) if values else ""


def difference(compared: PairedComparison) -> str:
    """An advantage with its interval."""
    bounds = interval_text(compared.interval, signed=True, digits=3)
    return f"{number(compared.mean, signed=True, digits=3)} [{bounds}]"


def edges(problems: Sequence[ProblemAnalysis]) -> str:
    """Where a better learning rate may lie beyond the list."""
    found = at_an_edge(problems)
    return f"At an edge of the learning rates that were tried: {'; '.join(found)}." if found else ""


def published_table(problems: Sequence[ProblemAnalysis]) -> str:
    """The paper's own figures beside ours, where the task is the same."""
    rows = []
    for found in problems:
        square = next((c for c in found.comparisons if c.contender.label == SQUARE), None)
        if square is None or found.problem.baseline is None:
            continue
        for metric, model, theirs, theirs_cross_entropy in PUBLISHED.get((found.problem.task, found.problem.model), ()):
            both = [mean_of(c, found.problem.part, metric) for c in (square.contender, found.problem.baseline)]
            rows.append([found.name, metric, " / ".join(both), f"{theirs:.3f} / {theirs_cross_entropy:.3f}", model])
    if not rows:
        return ""
    table = markdown_table(["task", "metric", "square / cross-entropy, here", "in the paper", "their model"], rows)
    return f"Beside the paper's figures that we know, of larger models trained on more rows:\n\n{table}"


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
        advantage = difference(square.tuned) if square else ""
        rows.append([f"{problem.task}, {problem.model}", f"{100 * problem.label_noise:g} %", *means, advantage])
    if not rows:
        return ""
    header = ["task", "wrong training labels", *(f"`{label}`" for label in labels), f"advantage of `{SQUARE}`"]
    return markdown_table(header, rows)


def without_noise(studies: Sequence[Results]) -> list[Results]:
    """Their runs without label noise, of those that have any."""
    found = [(study, [run for run in study.runs if run.label_noise == 0]) for study in studies]
    return [study.model_copy(update={"runs": runs}) for study, runs in found if runs]
