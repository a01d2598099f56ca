"""The claims of the study, and what the runs say of each: a verdict follows from an interval, and from nothing else."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hf_squareloss.comparison import (
    Analysis,
    PooledMean,
    ProblemAnalysis,
    interval_text,
    number,
    pooled_mean,
    standardised_advantages,
)

SQUARE, PAPER = "square", "square, k = paper, M = paper"
# The script that trains a task says which of the paper's domains it belongs to.
DOMAINS = {
    "run_glue.py": "text",
    "run_language_modeling.py": "text",
    "run_audio_classification.py": "speech",
    "run_speech_recognition_ctc.py": "speech",
    "run_image_classification.py": "vision",
}


@dataclass(frozen=True)
class Evidence:
    """An estimate and its 95 % interval, and the value that the claim says it is on one side of."""

    text: str
    value: float | None
    interval: tuple[float, float] | None
    above: bool = True
    border: float = 0.0

    @property
    def verdict(self) -> str:
        if self.interval is None:
            return "undecided"
        if self.interval[0] > self.border:
            return "supported" if self.above else "not supported"
        if self.interval[1] < self.border:
            return "not supported" if self.above else "supported"
        return "undecided"

    @property
    def figure(self) -> str:
        if self.value is None:
            return f"{self.text}: no figure yet"
        return f"{self.text} {number(self.value, signed=self.border == 0, digits=2)} [{interval(self.interval)}]"


def claims(whole: Analysis) -> list[tuple[str, list[Evidence]]]:
    """Each claim with what is measured of it; advantages are of the square loss with "auto" over cross-entropy."""
    plain = plain_problems(whole)
    heard = [p for p in plain if domain_of(p) in ("text", "speech")]
    seen = [p for p in plain if domain_of(p) == "vision"]
    pooled = whole.pooled.get(SQUARE)
    spread = pooled.spread if pooled else None
    measures = pooled.calibration if pooled else {}
    return [
        (
            "Better than cross-entropy in text and speech",
            [mean_evidence("advantage, SD", advantage(heard, SQUARE))],
        ),
        (
            "Cross-entropy ahead in vision",
            [mean_evidence("advantage, SD", advantage(seen, SQUARE), above=False)],
        ),
        (
            "The same after as many epochs as cross-entropy needed",
            [
                mean_evidence("text and speech, SD", equal_epochs(heard, SQUARE)),
                mean_evidence("vision, SD", equal_epochs(seen, SQUARE), above=False),
            ],
        ),
        (
            "Depends less on the seed",
            [
                Evidence(
                    "spread, ratio",
                    spread.ratio if spread else None,
                    spread.interval if spread else None,
                    above=False,
                    border=1.0,
                )
            ],
        ),
        (
            "Better calibrated through its own link",
            [mean_evidence(f"{name}, SD", measures.get(name)) for name in ("brier", "nll", "ece")],
        ),
        (
            "auto is a good k and M: better than the paper's where they differ",
            [mean_evidence("advantage over paper, SD", advantage(plain, SQUARE, over=PAPER))],
        ),
    ]


def mean_evidence(text: str, mean: PooledMean | None, *, above: bool = True) -> Evidence:
    return Evidence(text, mean.mean if mean else None, mean.interval if mean else None, above=above)


def advantage(problems: Sequence[ProblemAnalysis], label: str, over: str | None = None) -> PooledMean | None:
    """The mean standardised advantage of a loss over another one, cross-entropy by default."""
    return _pooled(problems, label, over, lambda own, _, part: own.values(part))


def equal_epochs(problems: Sequence[ProblemAnalysis], label: str) -> PooledMean | None:
    """The same where the loss had as many epochs as the other one needed for its best."""
    return _pooled(problems, label, None, lambda own, other, part: own.values_at_epochs_of(other, part))


def points(problems: Sequence[ProblemAnalysis], label: str) -> PooledMean | None:
    """The mean advantage over cross-entropy in units of each task's metric, accuracies and error rates alike."""
    tasks: dict[str, list[Any]] = {}
    for found in problems:
        for comparison in found.comparisons:
            if comparison.contender.label == label and comparison.tuned.advantages:
                tasks.setdefault(found.problem.task, []).append(comparison.tuned.advantages)
    return pooled_mean(list(tasks.values()))


def _pooled(
    problems: Sequence[ProblemAnalysis], label: str, over: str | None, values: Callable[[Any, Any, Any], Any]
) -> PooledMean | None:
    tasks: dict[str, list[Any]] = {}
    for found in problems:
        problem = found.problem
        of_label = {contender.label: contender for contender in problem.contenders}
        other = problem.baseline if over is None else of_label.get(over)
        own = of_label.get(label)
        if own is None or other is None:
            continue
        each = standardised_advantages(
            values(own, other, problem.part), other.values(problem.part), greater_is_better=problem.greater_is_better
        )
        if each is not None:
            tasks.setdefault(problem.task, []).append(each)
    return pooled_mean(list(tasks.values()))


def plain_problems(whole: Analysis) -> list[ProblemAnalysis]:
    """Those without label noise."""
    return [p for p in whole.problems if p.problem.label_noise == 0]


def domain_of(found: ProblemAnalysis) -> str:
    run = next(iter(found.problem.contenders[0].runs.values()))
    return DOMAINS[run.settings["script"]]


def interval(found: tuple[float, float] | None) -> str:
    return interval_text(found, signed=found is not None and found[0] < 0, digits=2)
