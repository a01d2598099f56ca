"""Which model and which files: what goes together, and what would be ignored."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForImageClassification

from hf_squareloss.models import ConvNetConfig, ConvNetForImageClassification
from hf_squareloss.recipes.arguments import ModelSourceArguments
from hf_squareloss.recipes.media_arguments import MediaDataArguments, ScratchModelArguments
from hf_squareloss.recipes.row_names import PLACE


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train_dir": "a", "train_file": "b.csv"}, "exclude each other"),
        ({"train_dir": "a", "dataset_name": "b"}, "exclude each other"),
        ({"train_dir": "a", "train_split_name": "b"}, "train_split_name would be ignored"),
        ({"train_dir": "a", "eval_split_name": "b"}, "eval_split_name would be ignored"),
    ],
)
def test_data_that_exclude_each_other(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MediaDataArguments(**given)


def test_what_is_there(tmp_path: Path) -> None:
    assert MediaDataArguments().is_demo and not MediaDataArguments(train_dir="a").is_demo
    assert MediaDataArguments(test_dir="a").has_own_test and not MediaDataArguments(train_dir="a").has_own_test
    (tmp_path / "train.csv").write_text("img,kind\na.png,x\nb.png,y\n")
    args = MediaDataArguments(train_file=str(tmp_path / "train.csv"), label_column_name="kind")
    data = args.load("image", "img", None, ModelSourceArguments())
    assert data.label_names == ["x", "y"] and data.splits["train"].column_names == ["image", "label", PLACE]


def test_a_model_from_scratch() -> None:
    args = ScratchModelArguments(model_type="convnet", config_overrides=["hidden_sizes=[8]"])
    args.require_one(training=True)
    config = args.load_config()
    assert isinstance(config, ConvNetConfig) and config.hidden_sizes == [8]
    model, loading_info = args.load_model(AutoModelForImageClassification, config)
    assert isinstance(model, ConvNetForImageClassification) and loading_info is None
    with pytest.raises(ValueError, match="no_such"):
        ScratchModelArguments(model_type="no_such").load_config()


def test_a_trained_model(tmp_path: Path) -> None:
    ConvNetForImageClassification(ConvNetConfig(hidden_sizes=[8])).save_pretrained(tmp_path)
    args = ScratchModelArguments(model_name_or_path=str(tmp_path))
    config = args.load_config()
    assert config.hidden_sizes == [8]
    assert args.load_model(AutoModelForImageClassification, config)[1]["missing_keys"] == set()
    config.num_labels = 5
    args.ignore_mismatched_sizes = True
    assert args.load_model(AutoModelForImageClassification, config)[1]["mismatched_keys"]


def test_what_would_be_ignored() -> None:
    with pytest.raises(ValueError, match="give a model"):
        ScratchModelArguments().require_one(training=False)
    with pytest.raises(ValueError, match="config_overrides would be ignored: give --model_type"):
        ScratchModelArguments(config_overrides=["a=1"])
    with pytest.raises(ValueError, match="model_type would be ignored: config_name"):
        ScratchModelArguments(config_name="a", model_type="vit")
    both = ScratchModelArguments(model_name_or_path="a", model_type="vit", config_overrides=["depth=1"])
    with pytest.raises(ValueError, match="model_type would be ignored"):
        both.require_one(training=True)
    both.require_one(training=False)
