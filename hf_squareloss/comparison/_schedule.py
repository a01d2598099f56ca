"""Which run comes next: all tuning runs of a loss, then its other seeds at the learning rate that these chose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from hf_squareloss.comparison._problems import best_epoch, value_at
from hf_squareloss.comparison._records import RunRecord
from hf_squareloss.comparison._study import LossChoice, Study


@dataclass(frozen=True)
class Planned:
    """A run of a study."""

    task: str
    model: str
    label_noise: float
    choice: LossChoice
    learning_rate: float
    seed: int

    @property
    def group(self) -> tuple[str, str, float, str]:
        """Problem and loss: one learning rate is chosen for it."""
        return self.task, self.model, self.label_noise, self.choice.label


def tuning_runs(study: Study) -> list[Planned]:
    """All runs that choose learning rates, losses in turn, so that a study that is cut short compares all of them."""
    return [
        Planned(*problem, choice, rate, seed)
        for problem in study.problems
        for seed in study.tuning
        for rate in study.learning_rates
        for choice in study.choices
    ]


def other_runs(study: Study, tuned: Iterable[Planned], learning_rate: float) -> list[Planned]:
    """The runs with the rest of the seeds, of the group that `tuned` are."""
    first = next(iter(tuned))
    seeds = [seed for seed in study.seeds if seed not in study.tuning]
    return [Planned(first.task, first.model, first.label_noise, first.choice, learning_rate, seed) for seed in seeds]


def best_value(run: RunRecord) -> float:
    """The best epoch's validation value, larger being better; -inf where nothing finite was measured."""
    value = value_at(run, best_epoch(run), "validation")
    return -inf if value is None else value if run.greater_is_better else -value
