"""hf_squareloss.models: importing it is all that transformers needs to make, save, load and publish each model."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from hf_squareloss import models
from hf_squareloss.heads import Head

KNOWN = [(auto_class, config, model) for auto_class, config, model in models._MODELS]


@pytest.mark.parametrize(("auto_class", "config", "model"), KNOWN, ids=lambda part: part.__name__)
def test_each_is_made_saved_and_loaded(auto_class: type, config: type, model: type, tmp_path: Path) -> None:
    auto: object = auto_class
    made = auto.from_config(AutoConfig.for_model(config.model_type))  # type: ignore[attr-defined]
    assert type(made) is model
    made.save_pretrained(tmp_path)
    loaded = auto.from_pretrained(tmp_path)  # type: ignore[attr-defined]
    assert type(loaded) is model and loaded.config.model_type in models.MODEL_TYPES
    expected, found = made.state_dict(), loaded.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert Head.of(made).auto_class == auto_class.__name__  # what a model card names


def test_nothing_is_known_before_the_import() -> None:
    code = (
        "import hf_squareloss, transformers as t\ntry:\n    t.AutoConfig.for_model('convnet')\nexcept ValueError:\n    "
    )
    assert subprocess.check_output([sys.executable, "-c", f"{code}print('unknown')"], text=True) == "unknown\n"


@pytest.mark.parametrize(("auto_class", "config", "model"), KNOWN, ids=lambda part: part.__name__)
def test_a_head_of_other_classes_begins_as_torch_makes_it(
    auto_class: type, config: type, model: type, tmp_path: Path
) -> None:
    auto: Any = auto_class
    size = "num_labels" if "Classification" in auto.__name__ else "vocab_size"
    auto.from_config(AutoConfig.for_model(config.model_type, **{size: 40})).save_pretrained(tmp_path)  # type: ignore[attr-defined]
    loaded = auto.from_pretrained(tmp_path, **{size: 70}, ignore_mismatched_sizes=True)
    heads = [m for m in loaded.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 70]
    for head in heads:
        bound = head.in_features**-0.5
        assert head.weight.abs().max() <= bound and head.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.2)
    assert heads
