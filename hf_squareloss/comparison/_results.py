"""results.json: all runs of a study in one file, and those that older versions wrote."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_squareloss.comparison._records import Results, RunRecord, read_runs, validated
from hf_squareloss.metric_order import greater_is_better
from hf_squareloss.recipes.run_files import read_object, write_object

FILE = "results.json"
STUDY = "study.json"  # the command that the folder's runs are of, and the study that it describes
_EPOCHS = ("--num_train_epochs", "--number_of_epochs")
_MODELS = ("--model_name_or_path", "--model_type", "--config_name", "--model")


def read_results(path: str | Path) -> Results:
    """The runs of a study, from its folder or from a results.json, also one without "format" that older versions wrote.

    In a folder the run files count; results.json where there are none.

    Args:
        path: the study's folder, or a file.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ValueError: no runs, or content that does not fit; it names the file.
    """
    path = Path(path)
    if path.is_dir():
        runs = read_runs(path)
        if runs:
            study = read_object(path / STUDY)
            title = study.get("study", {}).get("title") or runs[0].study
            found = results_of(runs, title=title)
            command = {"command": study["command"]} if "command" in study else {}
            return found.model_copy(update={"settings": {**found.settings, **command}})
        if not (path / FILE).exists():
            raise ValueError(f"{path} holds no runs yet: give the folder of a study that has begun, or a {FILE}")
        path = path / FILE
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error})") from None
    if isinstance(content, dict) and "format" not in content and {"chosen", "runs"} <= content.keys():
        try:
            content = converted(content)
        except KeyError as error:
            raise ValueError(f"{path} has no {error}, so it is no results of a comparison") from None
    return validated(Results, content, str(path))


def results_of(
    runs: Sequence[Any],
    *,
    title: str,
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> Results:
    """Runs as one object. Settings and environment are by default what all runs agree on.

    Args:
        runs: `RunRecord`s, at least one.
        title: the study's name.
        settings: what all runs share.
        environment: machine and versions.
    """
    return Results(
        title=title,
        metric=runs[0].metric,
        settings=dict(shared([run.settings for run in runs]) if settings is None else settings),
        environment=dict(shared([run.environment for run in runs]) if environment is None else environment),
        runs=list(runs),
    )


def merged_results(studies: Sequence[Results], title: str) -> Results:
    """Several studies as one, for figures over all of their tasks.

    A run that two of them hold counts once, as the one that did not fail.

    Problems of one task and model become one problem, so their losses must not clash: see `problems`.

    Args:
        studies: as `read_results` gives them, at least one.
        title: the name of the whole.
    """
    runs: dict[str, RunRecord] = {}
    for run in (run for study in studies for run in study.runs):
        if run.identity not in runs or run.status != "failed":
            runs[run.identity] = run
    return results_of(list(runs.values()), title=title)


def write_study(folder: Path, command: str, study: Mapping[str, Any]) -> Path:
    """Write study.json into a study's folder: the last command that worked there, and all that it means."""
    return write_object(folder / STUDY, {"command": command, "study": dict(study)}, allow_nan=False)


def write_results(path: str | Path, results: Results) -> Path:
    """Write results.json, whole or not at all; returns its path."""
    return write_object(path, results.model_dump(mode="json"), allow_nan=False)


def converted(old: Mapping[str, Any]) -> dict[str, Any]:
    """The content of an old results.json in today's format: one epoch per run, which is all that it measured."""
    arguments = [word for argument in old.get("arguments", []) for word in argument.split("=", 1)]
    options = dict(zip(arguments, arguments[1:], strict=False))
    metric = old.get("metric", "accuracy")
    shared = {
        "study": old["title"],
        "task": old["title"],
        "model": next((options[name] for name in _MODELS if name in options), "unnamed"),
        "metric": metric,
        "greater_is_better": greater_is_better(metric),
        "environment": old["environment"],
        "status": "finished",
    }
    epochs = float(next((options[name] for name in _EPOCHS if name in options), 3))  # 3 is the Trainer's default
    settings = {name: old[name] for name in ("script", "arguments", "files", "learning_rates") if name in old}
    runs = [
        {
            **shared,
            **{name: run[name] for name in ("loss", "learning_rate", "seed", "seconds")},
            "label": run["loss"],
            "epochs": [{"epoch": epochs, "validation": run["validation"], "test": run.get("test")}],
        }
        for run in old["runs"]
    ]
    whole = {"format": 1, "title": old["title"], "metric": metric, "settings": settings}
    return whole | {"environment": old["environment"], "runs": [{"format": 1, **run} for run in runs]}


def shared(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries that all of the mappings have with one value."""
    return {name: value for name, value in each[0].items() if all(m.get(name, _MISSING) == value for m in each)}


_MISSING = object()
