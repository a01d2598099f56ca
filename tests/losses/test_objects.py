"""Losses as objects: JSON, copies, equality; and what importing them costs."""

import copy
import json
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from contract import EVERY, MULTI_LABEL, title

from hf_squareloss.losses import Loss, SquareLoss, make_loss

WEIGHTS = (1.0, 2.5, 3.0)
OBJECTS: list[Loss] = [
    *EVERY,
    *(replace(loss, label_smoothing=0.1, class_weights=WEIGHTS, ignore_index=-1) for loss in EVERY),
    *(replace(loss, multi_label=True, class_weights=WEIGHTS, ctc_tau="posterior") for loss in MULTI_LABEL),
    SquareLoss(k="paper", M="paper", ignore_index=0),
]


@pytest.mark.parametrize("loss", OBJECTS, ids=title)
def test_a_loss_survives_json_pickle_and_copies(loss: Loss) -> None:
    values = json.loads(json.dumps(loss.to_dict()))
    assert make_loss(values.pop("loss"), **values) == loss
    for copied in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), replace(loss)):
        assert copied == loss and hash(copied) == hash(loss) and type(copied) is type(loss)
    assert replace(loss, ignore_index=7) != loss


def test_to_dict_names_only_what_differs_from_the_default() -> None:
    assert SquareLoss().to_dict() == {"loss": "square"}
    assert SquareLoss(k=1, class_weights=(1, 2)).to_dict() == {"loss": "square", "k": 1.0, "class_weights": [1.0, 2.0]}


def test_a_loss_for_people_is_one_line() -> None:
    assert str(SquareLoss(k=2, M="paper")) == "square, k = 2.0, M = paper"
    assert str(SquareLoss(class_weights=(1, 2))) == "square, class_weights = [1.0, 2.0]"
    many = SquareLoss(class_weights=(1 / 3, *range(1, 15)), label_smoothing=0.1)
    assert str(many) == "square, label_smoothing = 0.1, class_weights = 15 numbers from 0.3333 to 14"
    assert len(str(SquareLoss(class_weights=(1.0,) * 100_000))) < 80


def test_losses_of_different_kinds_differ() -> None:
    assert len(set(EVERY)) == len(EVERY) == len({title(loss) for loss in EVERY})


@pytest.mark.parametrize("option", ["k", "label_smoothing"])
def test_a_loss_cannot_be_changed(option: str) -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        setattr(SquareLoss(), option, 0.5)


@pytest.mark.parametrize(("module", "expected"), [("hf_squareloss.losses", "False"), ("transformers", "True")])
def test_losses_import_without_transformers_and_without_a_word(module: str, expected: str) -> None:
    code = f"import sys, {module}; sys.exit(str('transformers' in sys.modules) != {expected!r})"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if module == "hf_squareloss.losses":
        assert done.stdout == done.stderr == ""


@pytest.mark.parametrize("loss", OBJECTS, ids=title)
def test_gradients_of_single_items_by_vmap(loss: Loss) -> None:
    """No label is read while torch.func looks on."""
    scores = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    if loss.multi_label:
        targets = torch.tensor([[0.0, 1.0, 1.0]] * 5, dtype=torch.float64)
    else:
        targets = torch.tensor([0, 2, 1, 1, 0])
    found = torch.func.vmap(torch.func.grad(lambda f, y: loss(f, y)))(scores, targets)
    scores.requires_grad_()
    (expected,) = torch.autograd.grad(loss(scores, targets).sum(), scores)
    torch.testing.assert_close(found, expected)
