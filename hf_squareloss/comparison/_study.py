"""What a study of losses is: tasks x models x losses x learning rates x seeds, and label noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from hf_squareloss.comparison._records import refuse_fields
from hf_squareloss.comparison._scripts import plain_name
from hf_squareloss.metric_order import known_order

if TYPE_CHECKING:
    from hf_squareloss.losses import Loss

# What the study gives each run itself.
OF_THE_STUDY = ("loss", "loss_parameters", "loss_k", "loss_M", "learning_rate", "seed", "output_dir", "label_noise")
_SECRETS = ("token", "hub_token")
Arguments = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Task(_Part):
    """A script with the arguments that name its data.

    A study file writes it as one mapping: its own fields, and the script's arguments beside them.
    """

    script: str = Field(default="run_glue.py", description="an example script by its name, or the path of a script")
    metric: str | None = Field(default=None, description="chooses epoch and learning rate; default: the study's")
    greater_is_better: bool | None = Field(default=None, description="of its metric; default: as it is known")
    arguments: Arguments = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        if not isinstance(value, Mapping) or isinstance(value.get("arguments"), Mapping):
            return value
        own = {name: each for name, each in value.items() if name in ("script", "metric", "greater_is_better")}
        return own | {"arguments": {name: each for name, each in value.items() if name not in own}}


@dataclass(frozen=True)
class LossChoice:
    """A loss of a study.

    Attributes:
        name: the registered name.
        parameters: those that the study gives.
    """

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """What tables call it: "square, k = 2, M = 4"."""
        return ", ".join([self.name, *(f"{name} = {value}" for name, value in self.parameters)])

    def make(self) -> Loss:
        """The loss itself. ValueError: as `make_loss`."""
        from hf_squareloss.losses import make_loss

        return make_loss(self.name, **dict(self.parameters))

    @property
    def arguments(self) -> Arguments:
        """The options of a script for it."""
        words = [f"{name}={_word(value)}" for name, value in self.parameters]
        return {"loss": self.name} | ({"loss_parameters": words} if words else {})


class Study(_Part):
    """A study, as its YAML file says it.

    Every loss is tuned with the same runs: each learning rate with the tuning seeds. The rest of the seeds runs at the
    learning rate whose mean on the validation part is best.

    Raises:
        ValueError: by the field's name; also an unknown loss or parameter, two losses of one name, a metric of which
            it is not known whether high or low is best, or an argument that the study gives itself.
    """

    title: str = Field(min_length=1)
    tasks: dict[str, Task] = Field(min_length=1)
    models: dict[str, Arguments] = Field(min_length=1, description="name -> the script's arguments that name it")
    losses: list[Any] = Field(
        default=["cross_entropy", "square", "squentropy"],
        min_length=1,
        description="names, or name -> parameters; a list of values is a grid",
    )
    learning_rates: list[float] = Field(default=[2e-5, 5e-5, 1e-4], min_length=1)
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    tuning_seeds: list[int] | None = Field(default=None, description="default: the first two seeds")
    label_noise: list[float] = Field(default=[0.0], min_length=1, description="shares of wrong training labels")
    metric: str = "accuracy"
    greater_is_better: bool | None = Field(default=None, description="of the metric; default: as it is known")
    arguments: Arguments = Field(default_factory=dict, description="for every run: epochs, schedule, batch size")

    @field_validator("losses", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [{name: given} for name, given in value.items()] if isinstance(value, Mapping) else value

    @field_validator("learning_rates", "seeds", "tuning_seeds", "label_noise")
    @classmethod
    def _distinct(cls, values: list[Any] | None) -> list[Any] | None:
        if values is not None and len(set(values)) < len(values):
            raise ValueError(f"a value is given twice: {values}")
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for choice in self.choices:
            choice.make()
        labels = [choice.label for choice in self.choices]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise ValueError(f"two losses are called {twice!r}")
        if self.tuning_seeds is not None and len(self.learning_rates) == 1:
            raise ValueError("tuning_seeds would be ignored: there is one learning rate")
        if not set(self.tuning) <= set(self.seeds):
            raise ValueError(f"tuning_seeds {self.tuning} must be among the seeds {self.seeds}")
        if min(self.learning_rates) <= 0 or not all(0 <= share <= 1 for share in self.label_noise):
            raise ValueError("learning_rates must be positive, and label_noise between 0 and 1")
        for task in self.tasks:
            self.greater_is_better_of(task)
        for where, given in self._given():
            names = [plain_name(name) for name in given]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{where} gives {twice} twice")
            taken = next((name for name in names if name in OF_THE_STUDY), None)
            if taken is not None:
                raise ValueError(f"{where} gives {taken}: that is the study's own, for all losses alike")
            if any(name in _SECRETS for name in names):
                raise ValueError(
                    f"{where} gives a token, and the files of a study are meant to be shared: use HF_TOKEN"
                )
        return self

    def _given(self) -> Iterator[tuple[str, Arguments]]:
        yield "arguments", self.arguments
        yield from ((f"task {name}", task.arguments) for name, task in self.tasks.items())
        yield from ((f"model {name}", arguments) for name, arguments in self.models.items())

    @property
    def choices(self) -> list[LossChoice]:
        """Every loss with every combination of its parameters, in the order given."""
        return [choice for entry in self.losses for choice in _choices(entry)]

    @property
    def tuning(self) -> list[int]:
        """The seeds that choose the learning rate; with one learning rate there is nothing to choose."""
        if len(self.learning_rates) == 1:
            return self.seeds
        return self.seeds[:2] if self.tuning_seeds is None else self.tuning_seeds

    @property
    def problems(self) -> list[tuple[str, str, float]]:
        """Task, model and label noise: what losses are compared on."""
        return list(product(self.tasks, self.models, self.label_noise))

    @property
    def size(self) -> int:
        """How many runs it has."""
        each = len(self.learning_rates) * len(self.tuning) + len(self.seeds) - len(self.tuning)
        return len(self.problems) * len(self.choices) * each

    def metric_of(self, task: str) -> str:
        return self.tasks[task].metric or self.metric

    def greater_is_better_of(self, task: str) -> bool:
        """Whether a larger value of the task's metric is better. ValueError where nobody says so."""
        own, metric = self.tasks[task], self.metric_of(task)
        of_the_study = self.greater_is_better if metric == self.metric else None
        for answer in (own.greater_is_better, of_the_study, known_order(metric)):
            if answer is not None:
                return answer
        raise ValueError(
            f"metric {metric!r} is not known: say by greater_is_better, true or false, if its highest value is best"
        )

    def arguments_of(self, task: str, model: str) -> Arguments:
        """The script's options of a task with a model: the task's win over the model's, and these over those for all.

        A name counts however it is spelt, and is written as it was given last.
        """
        parts = (self.arguments, self.models[model], self.tasks[task].arguments)
        return dict({plain_name(name): (name, value) for part in parts for name, value in part.items()}.values())


def make_study(content: Any, source: str) -> Study:
    """A study from a mapping.

    Args:
        source: where it comes from, which errors name.

    Raises:
        ValueError: it is no study; says which field, and why.
    """
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        refuse_fields(error.errors(), source)


def _choices(entry: Any) -> Iterator[LossChoice]:
    if isinstance(entry, str):
        yield LossChoice(entry)
        return
    if not isinstance(entry, Mapping):
        raise ValueError(f"a loss is a name, or a name with its parameters, got {entry!r}")
    for name, parameters in entry.items():
        if not isinstance(parameters, Mapping | None):
            raise ValueError(f"the parameters of {name} must be a mapping, got {parameters!r}")
        grid = {key: value if isinstance(value, list) else [value] for key, value in (parameters or {}).items()}
        for values in product(*grid.values()):
            yield _in_order(str(name), {key: _fixed(value) for key, value in zip(grid, values, strict=True)})


def _in_order(name: str, parameters: Arguments) -> LossChoice:
    """With the parameters in the order of the loss's class, so that one loss has one label however it is written."""
    from hf_squareloss.losses import make_loss

    known = [field.name for field in fields(make_loss(name, **parameters))]
    return LossChoice(name, tuple((key, parameters[key]) for key in known if key in parameters))


def _fixed(value: Any) -> Any:
    """A list that can be compared by its hash, and a whole number without a point."""
    if isinstance(value, list | tuple):
        return tuple(map(_fixed, value))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _word(value: Any) -> str:
    """A value as `parse_loss_parameters` reads it."""
    if isinstance(value, tuple):
        return ",".join(map(_word, value)) + ("," if len(value) == 1 else "")
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)
