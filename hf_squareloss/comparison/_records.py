"""What a study of losses writes down: one JSON file per run, and all of them together in results.json."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from hf_squareloss.recipes.run_files import write_object

FORMAT = 1
RUNS = "runs"  # the folder of a study's run files
MEANING = "meaning of the loss's parameters"  # the one setting that a loss has of its own
M = TypeVar("M", bound=BaseModel)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]
"""A finite number; NaN and the infinities become None, which JSON can write."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Epoch(_Model):
    """What was measured after an epoch: metric -> value, None where the value was not finite."""

    epoch: float = Field(ge=0, description="epochs trained so far")
    validation: dict[str, Number] = Field(description="metric -> value on the validation part")
    test: dict[str, Number] | None = Field(
        default=None, description="metric -> value on the test part, if there is one"
    )


class ReliabilityBins(_Model):
    """A reliability diagram: one value per bin of confidence; None where a bin is empty."""

    confidence: list[Number] = Field(description="mean probability of the predicted class")
    accuracy: list[Number] = Field(description="share of right predictions")
    count: list[int] = Field(description="number of items")

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if not len(self.confidence) == len(self.accuracy) == len(self.count):
            raise ValueError("confidence, accuracy and count must have one value per bin")
        return self


class RunRecord(_Model):
    """One run of a study: what it was told, how it ended and what was measured after each epoch.

    Seconds and megabytes (2^20 bytes) are of this run alone. `task`, `model` and `label_noise` together name the
    problem that losses are compared on. `settings` holds all else that the run's weights depend on.
    """

    format: Literal[1] = Field(default=FORMAT, description="version of this format; another one is refused")
    study: str = Field(description="the study's name, for people")
    task: str = Field(min_length=1, description="the task's name, for people")
    model: str = Field(description="the model's name, for people")
    loss: str = Field(min_length=1, description="the loss's registered name")
    parameters: dict[str, Any] = Field(default_factory=dict, description="parameters of the loss that were given")
    label: str = Field(min_length=1, description="what tables call the loss with its parameters")
    learning_rate: float = Field(gt=0, description="the largest of the schedule")
    seed: int = Field(description="of the initial weights and of the order of the data")
    label_noise: float = Field(default=0.0, ge=0, le=1, description="share of training labels made wrong")
    metric: str = Field(min_length=1, description="chooses epoch and learning rate, on the validation part")
    greater_is_better: bool = Field(description="whether a larger value of the metric is the better one")
    settings: dict[str, Any] = Field(default_factory=dict, description="all else that the run depends on")
    environment: dict[str, Any] = Field(default_factory=dict, description="machine and versions")
    status: Literal["finished", "diverged", "failed"] = Field(
        description="diverged: a loss or a metric was not finite; failed: the script stopped with an error"
    )
    error: str | None = Field(default=None, description="the last lines of the log of a run that did not finish")
    epochs: list[Epoch] = Field(
        default_factory=list,
        description='after each epoch: {"epoch": ..., "validation": {metric: value}, "test": the same or null}',
    )
    reliability: dict[Literal["validation", "test"], ReliabilityBins | None] | None = Field(
        default=None,
        description='part -> {"confidence": [...], "accuracy": [...], "count": [...]} in bins, at the best epoch',
    )
    seconds: Number = Field(default=None, description="training time in seconds")
    overhead_seconds: Number = Field(default=None, description="seconds of the run beside training")
    peak_memory_mb: Number = Field(default=None, description="peak memory in 2^20 bytes")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.status == "finished" and not self.epochs:
            raise ValueError("a finished run has at least one epoch")
        measured = any(self.metric in epoch.validation for epoch in self.epochs)
        if self.epochs and not measured and self.status != "failed":
            raise ValueError(f"no epoch has the metric {self.metric!r} on the validation part")
        epochs = [epoch.epoch for epoch in self.epochs]
        if sorted(set(epochs)) != epochs:
            raise ValueError(f"epochs must grow, got {epochs}")
        return self

    @property
    def identity(self) -> str:
        """The name of the run's file: equal for two runs if and only if their settings are equal."""
        return run_name(
            task=self.task,
            model=self.model,
            loss=self.loss,
            parameters=self.parameters,
            learning_rate=self.learning_rate,
            seed=self.seed,
            label_noise=self.label_noise,
            settings=self.settings,
        )

    @property
    def problem(self) -> tuple[str, str, float]:
        """Task, model and label noise: losses are compared within one problem."""
        return self.task, self.model, self.label_noise


class Results(_Model):
    """The content of results.json: a study's name, settings and every run."""

    format: Literal[1] = Field(default=FORMAT, description="version of this format; another one is refused")
    title: str = Field(description="the study's name")
    metric: str = Field(description="the metric of the study; a task may have its own, see its runs")
    settings: dict[str, Any] = Field(default_factory=dict, description="what all runs share, and the command")
    environment: dict[str, Any] = Field(default_factory=dict, description="machine and versions that all runs share")
    runs: list[RunRecord] = Field(min_length=1, description="every run")


SCHEMA: dict[str, Any] = Results.model_json_schema()
"""The JSON schema (draft 2020-12) of results.json; `$defs` / `RunRecord` is that of a run's file."""


def run_name(
    *,
    task: str,
    model: str,
    loss: str,
    parameters: Mapping[str, Any],
    learning_rate: float,
    seed: int,
    label_noise: float,
    settings: Mapping[str, Any],
) -> str:
    """A file name for a run, from its settings alone: readable, and with a digest of all of them.

    The name of the study, the label and the environment are not settings. 1 and 1.0 are the same value.

    Raises:
        TypeError: a value that JSON does not have.

    Example:
        >>> run_name(task="mrpc", model="bert", loss="square", parameters={"k": 2}, learning_rate=3e-4, seed=0,
        ...          label_noise=0.0, settings={})
        'mrpc-bert-square-lr0.0003-seed0-fbb50cee2740'
    """
    whole = [task, model, loss, dict(parameters), learning_rate, seed, label_noise, dict(settings)]
    text = json.dumps(canonical(whole), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    words = (re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.")[:40] for word in (task, model, loss))
    return "-".join(word for word in (*words, f"lr{learning_rate:g}", f"seed{seed}", digest) if word)


def write_run(folder: str | Path, record: RunRecord) -> Path:
    """Write the run into FOLDER/runs/IDENTITY.json, whole or not at all.

    Args:
        folder: the study's folder, made if needed.
        record: the run.

    Returns:
        The file's path. A file of the same run is replaced.
    """
    return write_object(
        Path(folder) / RUNS / f"{record.identity}.json", record.model_dump(mode="json"), allow_nan=False
    )


def read_runs(folder: str | Path) -> list[RunRecord]:
    """Every run of a study, in the order of problem, label, learning rate and seed.

    Args:
        folder: the study's folder; its run files lie in FOLDER/runs.

    Returns:
        The runs; none where no run has ended yet.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: a file that is no run of this format, or two files of one run; it names them.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: give the folder of a study")
    runs: dict[str, tuple[Path, RunRecord]] = {}
    for path in sorted((folder / RUNS).glob("[!.]*.json")):
        record = read_model(RunRecord, path)
        if record.identity in runs:
            raise ValueError(f"{path} and {runs[record.identity][0]} are the same run: remove one of them")
        runs[record.identity] = path, record
    records = [record for _, record in runs.values()]
    return sorted(records, key=lambda r: (r.problem, r.label, r.learning_rate, r.seed))


def read_model(kind: type[M], path: Path) -> M:
    """The validated content of a JSON file; refused by the file's name, the field's name and what is wrong."""
    try:
        content = json.loads(path.read_text(encoding="utf8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): remove it") from None
    return validated(kind, content, str(path))


def validated(kind: type[M], content: Any, source: str) -> M:
    """The content as the model that it must be; `source` is named where it is not."""
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{source} has format {found!r}, and this version of hf_squareloss reads format {FORMAT}: "
            "use the version that wrote it, or another folder"
        )
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        refuse_fields(error.errors(), source)


def refuse_fields(errors: Sequence[Any], source: str) -> NoReturn:
    shown = [f"{'.'.join(map(str, e['loc'])) or 'the whole'}: {e['msg'].removeprefix('Value error, ')}" for e in errors]
    more = f"; and {len(shown) - 5} more" if len(shown) > 5 else ""
    raise ValueError(f"{source} does not fit the schema: {'; '.join(shown[:5])}{more}")


def canonical(value: Any) -> Any:
    """The value with every whole number an integer, so that 1 and 1.0 have one digest."""
    if isinstance(value, Mapping):
        return {str(name): canonical(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
