"""What a run's results depend on, as text that is the same on every machine: the settings in its record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from hf_squareloss.comparison._records import MEANING, RunRecord, canonical
from hf_squareloss.comparison._scripts import find_script, is_recipe, plain_name
from hf_squareloss.comparison._study import Study

# Options of our scripts that name data, a model or a config, which may be a file or a folder.
PLACES = frozenset(
    "train_file validation_file test_file train_dir validation_dir test_dir audio_root image_root dataset_name "
    "model_name_or_path config_name tokenizer_name tokenizer_name_or_path feature_extractor_name image_processor_name "
    "word_vectors resume_from_checkpoint deepspeed fsdp_config accelerator_config generation_config".split()
)
# Why an option counts for nothing here. Other exceptions of a run's identity do count: they choose what is measured, or
# the content of the data says more, which only the script sees.

_REASONS = (
    "it says where things are",
    "it is for the log",
    "it is for checkpoints",
    "it is for the Hub",
    "it moves the same batches faster",
    "it is the machine",
)


def settings_of(study: Study, task: str, model: str, planned: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Script and arguments of a task and a model, with a digest in place of each file and folder.

    Names and places of files may change, their content may not.

    Args:
        planned: path -> text of files that the study will write itself.
    """
    script, texts = find_script(study.tasks[task].script), planned or {}
    settings: dict[str, Any] = {"script": script.name}
    if not is_recipe(script):
        settings["content of the script"] = content_of(script)
    arguments = {plain_name(name): value for name, value in study.arguments_of(task, model).items()}
    for name, value in sorted(arguments.items()):
        place = value if isinstance(value, str) and may_be_a_place(script, name) else ""
        if place in texts:
            settings[name] = _content_of([(".", hashlib.sha256(texts[place].encode()).digest())])
        elif place and Path(place).exists():
            settings[name] = content_of(Path(place))
        elif value is not None and _counts(name):
            settings[name] = plain(value)
    return settings


def may_be_a_place(script: Path, option: str) -> bool:
    """Whether an option's value may name a file or a folder whose content counts.

    Of our scripts these options are known; of another script it may be any that counts, which cache_dir does not.
    """
    return option in PLACES or (_counts(option) and not is_recipe(script))


def content_of(path: Path) -> str:
    """A digest of a file, or of all files of a folder with their places in it, but for hidden ones."""
    inside = (file for file in path.rglob("*") if not _is_hidden(file.relative_to(path)) and file.is_file())
    files = sorted(inside) if path.is_dir() else [path]
    return _content_of((str(file.relative_to(path)), _digest_of(file)) for file in files)


def _content_of(files: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(name.encode() + content)
    return f"sha256 {digest.hexdigest()[:16]}"


def _digest_of(file: Path) -> bytes:
    status = file.stat()
    return _digest(file, status.st_size, status.st_mtime_ns)


def refuse_changed_settings(folder: Path, there: list[RunRecord], planned: list[RunRecord]) -> None:
    """ValueError where runs that did not fail are there with other settings, by another metric or its reverse."""
    for run, changed in runs_with_other_settings(there, planned):
        if run.status != "failed":
            raise ValueError(
                f"{folder} holds runs of {run.task} with {run.model} that had {'; '.join(changed)}. Choose another "
                f"--output_dir; hf-squareloss report {folder} still reads what is there"
            )


def runs_with_other_settings(there: list[RunRecord], planned: list[RunRecord]) -> Iterator[tuple[RunRecord, list[str]]]:
    """Runs of a planned problem that were made with other settings, or for another metric, and which these are."""
    of_problem = {run.problem: run for run in planned}
    of_loss = {_loss_of(run): run for run in planned}
    for run in there:
        new = of_loss.get(_loss_of(run)) or of_problem.get(run.problem)
        if new is None:
            continue
        before, now = (
            {**each.settings, "metric": each.metric, "greater_is_better": each.greater_is_better} for each in (run, new)
        )
        if _loss_of(run) != _loss_of(new):
            now[MEANING] = before.get(MEANING)
        changed = [f"{name}={before.get(name)!r} there, now {now.get(name)!r}" for name in changed_names(before, now)]
        if changed:
            yield run, changed


def changed_names(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names whose values differ."""
    return [name for name in dict.fromkeys((*before, *now)) if before.get(name) != now.get(name)]


def _loss_of(run: RunRecord) -> tuple[Any, ...]:
    return run.problem, run.loss, json.dumps(canonical(run.parameters), sort_keys=True)


def _counts(option: str) -> bool:
    from hf_squareloss.recipes.run_identity import EXCEPTIONS

    return EXCEPTIONS.get(option) not in _REASONS


def _is_hidden(path: Path) -> bool:
    """As .git, or what a download has noted down."""
    return any(part.startswith(".") for part in path.parts)


@cache
def _digest(file: Path, size: int, modified: int) -> bytes:
    """By size and time of the last change, so that a large model is read once."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").digest()


def plain(value: Any) -> Any:
    """A number written as text is that number: a command line has texts where a study file has numbers."""
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if not isinstance(value, str):
        return value
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)
