"""Losses by name, and losses of one's own among them."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from contract import CONTRACT
from installed_losses import install
from torch import Tensor

from hf_squareloss.losses import LOSSES, CrossEntropy, Loss, SquareLoss, make_loss, register_loss


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    """What a test registers is forgotten."""
    before = dict(LOSSES)
    yield
    LOSSES.clear()
    LOSSES.update(before)


# ---- this package's ------------------------------------------------------------------------------------------------
def check_contract() -> None:
    assert CONTRACT.keys() == LOSSES.keys(), "a loss and its entry in tests/losses/contract.py belong together"


def test_every_loss_has_a_contract() -> None:
    check_contract()


def test_a_loss_without_a_contract_is_noticed() -> None:
    register_loss(own())
    with pytest.raises(AssertionError, match="contract.py"):
        check_contract()


def test_every_loss_is_registered_under_its_own_name() -> None:
    for name, loss in LOSSES.items():
        assert loss.name == name and type(make_loss(name)) is loss
        assert all(type(one) is loss for one in CONTRACT[name].losses)
        assert register_loss(loss) is loss  # it keeps the rules that it sets for others


def test_parameters_reach_the_loss() -> None:
    assert make_loss("square", k=2, M="paper", class_weights=[1, 2]) == SquareLoss(
        k=2.0, M="paper", class_weights=(1.0, 2.0)
    )


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("sqare", "square"), ("Square", "square"), ("crossentropy", "cross_entropy"), ("squentrpy", "squentropy")],
)
def test_a_wrong_name_is_answered_with_the_nearest_one(wrong: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'"):
        make_loss(wrong)


def test_a_name_near_to_nothing_is_answered_with_all_of_them() -> None:
    with pytest.raises(ValueError, match=", ".join(LOSSES)) as error:
        make_loss("xyz")
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "wrong", "nearest"),
    [
        ("square", "label_smooting", "label_smoothing"),
        ("square", "m", None),
        ("squentropy", "k", None),
        ("cross_entropy", "class_weight", "class_weights"),
        ("square", "temperature", None),
    ],
)
def test_a_wrong_parameter_is_answered_with_the_nearest_one(name: str, wrong: str, nearest: str | None) -> None:
    parameters: dict[str, Any] = {wrong: 1}
    with pytest.raises(ValueError, match=f"no parameter '{wrong}'") as error:
        make_loss(name, **parameters)
    assert ("did you mean" in str(error.value)) == (nearest is not None)
    assert nearest is None or repr(nearest) in str(error.value)


# ---- one's own -------------------------------------------------------------------------------------------------------
def own(name: Any = "own", module: str = "own_package.losses", **attributes: Any) -> type[Loss]:
    """A loss from outside the package, as if it were defined in `module`."""

    @dataclass(frozen=True, kw_only=True)
    class Own(Loss):
        power: float = 2.0

        def costs(self, scores: Tensor) -> Tensor:
            return scores.abs().pow(self.power)

        def link(self, scores: Tensor) -> Tensor:
            return scores.softmax(-1)

    for attribute, value in {"name": name, "__module__": module, "__qualname__": "Own", **attributes}.items():
        setattr(Own, attribute, value)
    return Own


def test_a_loss_of_ones_own() -> None:
    with pytest.raises(ValueError, match="no loss is called 'own'"):
        make_loss("own")
    cls = own()
    assert register_loss(cls) is cls
    loss = make_loss("own", power=3.0, class_weights=[1, 2])
    assert loss == cls(power=3.0, class_weights=(1.0, 2.0))  # type: ignore[call-arg]
    assert loss(torch.tensor([2.0, 0.0]), torch.tensor(0)).item() == 8.0
    with pytest.raises(ValueError, match="did you mean 'power'"):
        make_loss("own", powr=1.0)
    with pytest.raises(ValueError, match="own"):
        make_loss("xyz")


def test_it_says_where_it_is_defined() -> None:
    values = own()(power=3.0).to_dict()  # type: ignore[call-arg]
    assert values == {"loss": "own", "power": 3.0, "module": "own_package.losses"}
    name = values.pop("loss")
    with pytest.raises(ValueError, match=r"'own' is defined in own_package\.losses: import that first"):
        make_loss(name, **values)
    register_loss(own())
    assert make_loss(name, **values).to_dict() == {"loss": name, **values}


@pytest.mark.parametrize(
    ("saved", "here", "fits"),
    [
        ("own_package.losses", "own_package.moved", True),
        ("__main__", "own_package.losses", True),
        ("own_package.losses", "__main__", True),
        ("other_package", "own_package.losses", False),
    ],
)
def test_a_name_that_means_another_loss_here(saved: str, here: str, fits: bool) -> None:
    register_loss(own(module=here))
    if fits:
        assert make_loss("own", module=saved).name == "own"
        return
    with pytest.raises(ValueError, match=f"defined in {saved}, but that name is of own_package.losses.Own"):
        make_loss("own", module=saved)


@pytest.mark.parametrize("saved", ["own_package.losses", "__main__"])
def test_a_loss_of_ones_own_is_not_taken_for_this_packages(saved: str) -> None:
    with pytest.raises(ValueError, match=f"defined in {saved}, but that name is of hf_squareloss"):
        make_loss("square", module=saved)


def test_a_cell_that_is_run_again_replaces_its_loss() -> None:
    register_loss(own(module="__main__"))
    again = register_loss(own(module="__main__"))
    assert type(make_loss("own")) is again


class NoDataclass(CrossEntropy):  # type: ignore[misc]
    name = "no_dataclass"


@dataclass(frozen=True, kw_only=True)
class Abstract(Loss):
    name: ClassVar[str] = "abstract"


@dataclass(frozen=True, kw_only=True)
class NoDefault(CrossEntropy):  # type: ignore[misc]
    name: ClassVar[str] = "no_default"
    power: float


@dataclass(frozen=True, kw_only=True)
class Taken(CrossEntropy):  # type: ignore[misc]
    name: ClassVar[str] = "taken"
    module: str = "x"


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (own("square"), "'square' of own_package.losses.Own is taken by hf_squareloss"),
        (own("Own"), "snake_case, got 'Own'"),
        (own("own-loss"), "snake_case"),
        (own(""), "snake_case"),
        (own(None), "snake_case"),
        (NoDataclass, r"frozen=True"),
        (Abstract, "must define costs and link"),
        (NoDefault, "default for its parameter 'power'"),
        (Taken, "parameter called 'module'"),
        (CrossEntropy(), "must be a subclass of hf_squareloss.Loss"),
        (int, "must be a subclass of hf_squareloss.Loss"),
    ],
)
def test_what_is_no_loss_is_not_registered(cls: Any, says: str) -> None:
    before = dict(LOSSES)
    with pytest.raises(ValueError, match=says):
        register_loss(cls)
    assert before == LOSSES


# ---- entry points ----------------------------------------------------------------------------------------------------
@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in [m for m in sys.modules if m.startswith("offering_")]:
        del sys.modules[module]


def test_an_installed_loss_is_loaded_when_it_is_asked_for(site: Path) -> None:
    install(site, "offering_one", "offered")
    with pytest.raises(ValueError, match="did you mean 'offered'"):
        make_loss("offred")
    make_loss("square")
    assert "offering_one" not in sys.modules
    loss = make_loss("offered", label_smoothing=0.1)
    assert loss.to_dict() == {"loss": "offered", "label_smoothing": 0.1, "module": "offering_one"}
    assert LOSSES["offered"] is type(loss) is type(make_loss("offered"))


def test_two_packages_that_offer_one_name(site: Path) -> None:
    install(site, "offering_one", "offered")
    install(site, "offering_two", "offered")
    with pytest.raises(ValueError, match="several installed packages.*offering_one.*offering_two"):
        make_loss("offered")


def test_an_entry_point_under_another_name(site: Path) -> None:
    install(site, "offering_one", "offered", entry_point="other")
    with pytest.raises(ValueError, match="other = offering_one:Offered is of a loss called 'offered'"):
        make_loss("other")
