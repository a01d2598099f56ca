"""From a planned run to the command line of its script, and from what became of it to its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hf_squareloss.comparison._execution import Order, Outcome
from hf_squareloss.comparison._places import output_without_places
from hf_squareloss.comparison._records import MEANING, RunRecord
from hf_squareloss.comparison._schedule import Planned
from hf_squareloss.comparison._scripts import as_words, find_script, from_words, is_recipe
from hf_squareloss.comparison._settings import changed_names, plain, settings_of
from hf_squareloss.comparison._study import Study
from hf_squareloss.recipes.run_files import RUN, read_object

WORK = "work"  # the folder of runs under way, each in a folder of its own
LOGS = "logs"
# What our scripts are told in a study. A checkpoint every 500 steps: a killed run goes on from there.
_RECORDED = {
    "do_train": True,
    "record_epochs": True,
    "eval_strategy": "epoch",
    "save_total_limit": 1,
    "enable_jit_checkpoint": True,
    "calibrate": "False",  # the record has what it would bring
    "disable_tqdm": "True",
    "report_to": "none",
}
# What a run is told on account of --keep_models, and what it cannot be told in its middle.
_OF_KEPT_MODELS = ("load_best_model_at_end", "calibrate", "metric_for_best_model", "greater_is_better")
_REHEARSAL = {"max_steps": 1, "max_eval_samples": 8, "max_predict_samples": 8, "save_strategy": "no"}


@dataclass(frozen=True)
class Options:
    """How a study is carried out.

    Attributes:
        folder: the study's.
        keep_models: keep the best model so far of each loss of a problem; our scripts then save after every epoch.
        report_to: a tracker that our scripts report to, under the study's name.
        command: the line that began it, for study.json, which is not written without one.
        files: path -> text of files that the study's arguments name, and that are written before its first run.
    """

    folder: Path
    keep_models: bool = False
    report_to: str | None = None
    command: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)


class Orders:
    """What the runs of a study are told and how they are written down."""

    def __init__(self, study: Study, options: Options) -> None:
        self.study, self.options = study, options
        self._settings: dict[tuple[str, str], dict[str, Any]] = {}

    def record(self, run: Planned, outcome: Outcome | None = None) -> RunRecord:
        """The record of a run that has ended; without an outcome it gives the identity alone."""
        metric, greater = self.study.metric_of(run.task), self.study.greater_is_better_of(run.task)
        if outcome is not None:
            outcome = replace(outcome, last_lines=output_without_places(outcome.last_lines, self.options.folder))
        fields: dict[str, Any] = {
            "study": self.study.title,
            "task": run.task,
            "model": run.model,
            "loss": run.choice.name,
            "parameters": dict(run.choice.parameters),
            "label": run.choice.label,
            "learning_rate": run.learning_rate,
            "seed": run.seed,
            "label_noise": run.label_noise,
            "metric": metric,
            "greater_is_better": greater,
            "settings": {**self._settings_of(run), MEANING: run.choice.make().meaning},
        }
        return RunRecord.model_validate(fields | _result(outcome, metric, greater))

    def order(self, run: Planned) -> Order:
        """The command line of a run."""
        key = self.record(run).identity
        folder = self.options.folder / WORK / key
        arguments = {} if not is_recipe(find_script(self.study.tasks[run.task].script)) else self._recorded(run)
        return self._order(run, key, folder, arguments, {})

    def can_go_on(self, order: Order) -> bool:
        """Whether what an order's folder holds was told the same about the model that is kept; an empty one was."""
        there, told = read_object(Path(order.folder, RUN)).get("identity", {}), from_words(order.arguments)
        return all(name not in there or there[name] == plain(told.get(name, False)) for name in _OF_KEPT_MODELS)

    def rehearsal(self, run: Planned) -> Order:
        """One step of a run of ours on few rows: wrong names are refused by it, and what runs share is prepared."""
        key = f"rehearsal-{self.record(run).identity}"
        return self._order(run, key, self.options.folder / WORK / key, _RECORDED, _REHEARSAL)

    def _order(self, run: Planned, key: str, folder: Path, first: dict[str, Any], last: dict[str, Any]) -> Order:
        own = {**run.choice.arguments, "learning_rate": run.learning_rate, "seed": run.seed}
        if run.label_noise:
            own["label_noise"] = run.label_noise
        arguments = {**first, **self.study.arguments_of(run.task, run.model), **own, "output_dir": str(folder), **last}
        environment = {"TENSORBOARD_LOGGING_DIR": str(self.options.folder / "tensorboard" / key)}
        environment |= {"WANDB_PROJECT": self.study.title, "WANDB_RUN_GROUP": self.study.title}
        script = find_script(self.study.tasks[run.task].script)
        log = str(self.options.folder / LOGS / f"{key}.txt")
        return Order(key, str(script), as_words(arguments), str(folder), log, environment)

    def _recorded(self, run: Planned) -> dict[str, Any]:
        arguments = dict(_RECORDED)
        if self.options.report_to:
            name = f"{run.task}, {run.model}, {run.choice.label}, lr {run.learning_rate:g}, seed {run.seed}"
            name += f", noise {run.label_noise:g}" if run.label_noise else ""
            arguments |= {"report_to": self.options.report_to, "run_name": name, "project": self.study.title}
        if self.options.keep_models:
            metric = self.study.metric_of(run.task)
            arguments |= {"save_strategy": "epoch", "load_best_model_at_end": True, "calibrate": "True"}
            arguments |= {"metric_for_best_model": f"validation_{metric}"}
            arguments |= {"greater_is_better": str(self.study.greater_is_better_of(run.task))}
        return arguments

    def _settings_of(self, run: Planned) -> dict[str, Any]:
        place = run.task, run.model
        if place not in self._settings:
            self._settings[place] = settings_of(self.study, *place, self.options.files)
        return self._settings[place]

    def changed_content(self, run: Planned) -> list[str]:
        """What a run reads and what has other content than when the study began, by name."""
        return changed_names(self._settings_of(run), settings_of(self.study, run.task, run.model))


def require_metric(outcome: Outcome, metric: str, where: str) -> None:
    """ValueError where a run measured others than this, with those that it measured."""
    known = {name for entry in outcome.epochs for name in entry["validation"]}
    if metric not in known:
        there = ", ".join(sorted(known)) or "none: it must write all_results.json with eval_NAME for each"
        raise ValueError(f"{where} measures no metric {metric!r} on validation: there are {there}")


def _result(outcome: Outcome | None, metric: str, greater: bool) -> dict[str, Any]:
    """The fields of a record that say what became of a run."""
    if outcome is None:
        return {"status": "failed"}
    measured = [{name: entry.get(name) for name in ("epoch", "validation", "test")} for entry in outcome.epochs]
    fields: dict[str, Any] = {
        "status": "finished",
        "epochs": measured,
        "environment": outcome.environment,
        "seconds": outcome.training_seconds if outcome.training_seconds is not None else outcome.seconds,
        "peak_memory_mb": outcome.peak_memory_mb,
    }
    evaluation = sum(entry.get("seconds", 0.0) for entry in outcome.epochs)
    if outcome.seconds is not None and outcome.training_seconds is not None and not outcome.continued:
        fields["overhead_seconds"] = outcome.seconds - outcome.training_seconds - evaluation
    last = outcome.epochs[-1]["validation"].get(metric) if outcome.epochs else None
    if outcome.code != 0 and not outcome.diverged:
        return fields | {"status": "failed", "error": outcome.last_lines or "it said nothing"}
    if outcome.diverged or not _is_finite(last):
        fields |= {"status": "diverged", "error": outcome.last_lines if outcome.diverged else f"{metric} is not finite"}
    return fields | {"reliability": _reliability(outcome, metric, greater)}


def _reliability(outcome: Outcome, metric: str, greater: bool) -> dict[str, Any] | None:
    """The diagrams of the epoch that validation chooses."""
    sign = 1 if greater else -1
    measured = [entry for entry in outcome.epochs if _is_finite(entry["validation"].get(metric))]
    if not measured:
        return None
    best = max(measured, key=lambda entry: sign * entry["validation"][metric])
    kept = {split: bins for split, bins in (best.get("reliability") or {}).items() if bins is not None}
    return kept or None


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
