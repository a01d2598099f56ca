"""Losses by name, for command lines and config.json; a loss from outside joins by `register_loss` or an entry point."""

import difflib
import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from importlib.metadata import EntryPoints, entry_points
from typing import Any, TypeVar

from hf_squareloss.losses._base import Loss
from hf_squareloss.losses._brier import BrierLoss
from hf_squareloss.losses._cross_entropy import CrossEntropy
from hf_squareloss.losses._focal import FocalLoss
from hf_squareloss.losses._parameters import short
from hf_squareloss.losses._square import SquareLoss
from hf_squareloss.losses._squentropy import Squentropy

LOSSES: dict[str, type[Loss]] = {
    "brier": BrierLoss,
    "cross_entropy": CrossEntropy,
    "focal": FocalLoss,
    "square": SquareLoss,
    "squentropy": Squentropy,
}
LossType = TypeVar("LossType", bound=type[Loss])
_GROUP = "hf_squareloss.losses"
_TAKEN = {"loss", "module", "name", "version"}  # what config.json and make_loss say beside the parameters


def register_loss(cls: LossType) -> LossType:
    """Make a loss from outside this package known by its name, to `make_loss`, `--loss` and `load_loss`; a decorator.

    A process knows the loss once its module is imported. An installed package can spare its users the import by the
    entry point `NAME = "MODULE:CLASS"` in the group `hf_squareloss.losses`.

    Args:
        cls: a frozen dataclass and subclass of `Loss`, every parameter with a default.

    Returns:
        The class itself. The same class again, as a notebook's cell run twice gives it, replaces the former.

    Raises:
        ValueError: no such class, a name that is not snake_case, or a name that another loss has.

    Example:
        >>> import torch
        >>> from dataclasses import dataclass
        >>> @register_loss
        ... @dataclass(frozen=True, kw_only=True)
        ... class Absolute(Loss):
        ...     name = "absolute"
        ...     def costs(self, scores):
        ...         return (scores.unsqueeze(-2) - torch.eye(scores.shape[-1])).abs().sum(-1)
        ...     def link(self, scores):
        ...         return scores.clamp(0.0, 1.0)
        >>> make_loss("absolute")(torch.tensor([0.75, 0.0]), torch.tensor(0))
        tensor(0.2500)
        >>> _ = LOSSES.pop("absolute")  # forget it again
    """
    if not (isinstance(cls, type) and issubclass(cls, Loss)):
        raise ValueError(f"a loss must be a subclass of hf_squareloss.Loss, got {cls!r}")
    title = _title(cls)
    # Python itself refuses a dataclass below a frozen one that is not frozen.
    if "__dataclass_fields__" not in vars(cls):
        raise ValueError(f"{title} must be a dataclass: @dataclass(frozen=True, kw_only=True) below @register_loss")
    if inspect.isabstract(cls):
        raise ValueError(f"{title} must define {' and '.join(sorted(cls.__abstractmethods__))}")
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise ValueError(f"{title}.name must be a text in snake_case, got {name!r}")
    for field in fields(cls):
        if field.name in _TAKEN:
            raise ValueError(
                f"{title} must not have a parameter called {field.name!r}: config.json means another thing"
            )
        if field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{title} must have a default for its parameter {field.name!r}")
    if name in LOSSES and _title(LOSSES[name]) != title:
        raise ValueError(f"the name {name!r} of {title} is taken by {_title(LOSSES[name])}")
    LOSSES[name] = cls
    return cls


def make_loss(name: str, *, module: str | None = None, **parameters: Any) -> Loss:
    """The loss called `name` with `parameters`.

    Args:
        name: as in `LOSSES`, or of an entry point in the group `hf_squareloss.losses`.
        module: where a loss from outside this package is defined, as `Loss.to_dict` says; it is never imported.
        parameters: of the loss.

    Raises:
        ValueError: no such loss (with the module to import, or the nearest name), no such parameter (with the nearest),
            or a value that the loss refuses.

    Example:
        >>> make_loss("square", k=1.0, M=2.0).M
        2.0
    """
    return loss_from_dict({"loss": name, "module": module, **parameters})


def loss_from_dict(values: Any) -> Loss:
    """The loss that `Loss.to_dict` described; from a file it may be anything.

    Raises:
        ValueError: as `make_loss`, or no mapping with the loss's name.
    """
    if not isinstance(values, Mapping) or "loss" not in values:
        raise ValueError(f"a saved loss must be a mapping with its name as 'loss', got {short(values)}")
    parameters = dict(values)
    name, module, version = (parameters.pop(key, None) for key in ("loss", "module", "version"))
    for key, value in (("loss", name), ("module", module), ("version", version)):
        if not isinstance(value, str) and (value is not None or key == "loss"):
            raise ValueError(f"{key} must be a text, got {short(value)}")
    cls = LOSSES.get(name) or _installed(name)
    if cls is None:
        if module is not None:
            raise ValueError(
                f"the loss {name!r} is defined in {module}: import that first, or install the package that offers it; "
                f"a saved model imports nothing by itself"
            )
        known = list(dict.fromkeys([*LOSSES, *(point.name for point in _entry_points())]))
        raise ValueError(f"no loss is called {name!r}{_nearest(name, known)}; there are {', '.join(known)}")
    if module is not None and not _same_package(module, cls.__module__):
        raise ValueError(f"this loss {name!r} is defined in {module}, but that name is of {_title(cls)} here")
    valid = [field.name for field in fields(cls)]
    for parameter in parameters:
        if parameter not in valid:
            raise ValueError(f"the loss {name!r} has no parameter {parameter!r}{_nearest(parameter, valid)}")
    made: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in parameters.items()}
    return cls(**made)


def _installed(name: str) -> type[Loss] | None:
    """The loss that an installed package offers under this name, now registered."""
    points = list(_entry_points().select(name=name))
    if not points:
        return None
    if len({point.value for point in points}) > 1:
        offers = ", ".join(f"{point.value} of {point.dist.name if point.dist else '?'}" for point in points)
        raise ValueError(f"several installed packages offer a loss called {name!r}: {offers}")
    cls = register_loss(points[0].load())
    if cls.name != name:
        raise ValueError(f"the entry point {name} = {points[0].value} is of a loss called {cls.name!r}")
    return cls


def _entry_points() -> EntryPoints:
    return entry_points(group=_GROUP)


def _same_package(saved: str, found: str) -> bool:
    """Whether two modules may define one loss: of the same package, or moved out of a script into a package."""
    packages = {saved.split(".")[0], found.split(".")[0]}
    return len(packages) == 1 or ("__main__" in packages and "hf_squareloss" not in packages)


def _title(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _nearest(word: str, valid: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(valid), n=1, cutoff=0.4)
    return f" (did you mean {near[0]!r}?)" if near else ""
