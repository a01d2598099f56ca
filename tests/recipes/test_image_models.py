"""Processors of image models, and what is said where timm or torchvision do not load."""

from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoConfig,
    CLIPImageProcessorPil,
    ConvNextImageProcessorPil,
    PreTrainedConfig,
    ResNetConfig,
    ViTImageProcessorPil,
)

from hf_squareloss.recipes.image_encoding import processor_size
from hf_squareloss.recipes.image_models import count_classes_once, load_processor, require_rgb, timm_errors
from hf_squareloss.recipes.media_arguments import ScratchModelArguments


@pytest.mark.parametrize(
    "error",
    [
        ImportError("TimmWrapperConfig requires the timm library\nbut it was not found"),
        RuntimeError("operator torchvision::nms does not exist"),
    ],
)
def test_timm_that_does_not_load_is_one_line(error: Exception) -> None:
    with pytest.raises(ValueError, match=r"timm/resnet18 needs timm .* \((TimmWrapperConfig|operator)") as found:
        with timm_errors("timm/resnet18"):
            raise error
    assert "\n" not in str(found.value)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="^size mismatch"):
        with timm_errors("a"):
            raise RuntimeError("size mismatch")


def test_models_of_grey_images_are_refused() -> None:
    require_rgb(ResNetConfig())
    with pytest.raises(ValueError, match="the model takes 1 channels"):
        require_rgb(ResNetConfig(num_channels=1))


def test_timms_own_arguments() -> None:
    """Its files name the number of classes a second time, and the channels."""
    written: dict[str, Any] = {"num_classes": 5, "in_chans": 3, "img_size": 64}
    config: Any = PreTrainedConfig()
    config.model_type, config.model_args = "timm_wrapper", dict(written)
    require_rgb(config)
    count_classes_once(config)
    assert config.model_args == {"in_chans": 3, "img_size": 64}
    config.model_type, config.model_args = "another", dict(written)
    count_classes_once(config)
    assert config.model_args == written
    config.model_args["in_chans"] = 1
    with pytest.raises(ValueError, match="the model takes 1 channels"):
        require_rgb(config)


def test_the_models_own_processor_or_another_or_a_new_one(tmp_path: Path) -> None:
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "model")
    ConvNextImageProcessorPil(size={"shortest_edge": 32}).save_pretrained(tmp_path / "other")
    config, sizes = ResNetConfig(), {(8, 8)}
    trained = ScratchModelArguments(model_name_or_path=str(tmp_path / "model"))
    assert processor_size(load_processor(trained, None, config, sizes, None)) == (16, 16)
    assert processor_size(load_processor(trained, str(tmp_path / "other"), config, sizes, None)) == (32, 32)
    scratch = ScratchModelArguments(model_type="resnet")
    assert processor_size(load_processor(scratch, None, config, sizes, None)) == (8, 8)
    with pytest.raises(ValueError, match="image_size would be ignored"):
        load_processor(trained, None, config, sizes, 8)


def test_an_adapters_is_that_of_its_base_model_where_it_has_none(tmp_path: Path) -> None:
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path / "base")
    ResNetConfig().save_pretrained(tmp_path / "base")
    config = AutoConfig.from_pretrained(tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    adapter = ScratchModelArguments(model_name_or_path=str(tmp_path / "adapter"))
    assert processor_size(load_processor(adapter, None, config, {(8, 8)}, None)) == (16, 16)
    with pytest.raises(OSError, match="image processor"):
        load_processor(adapter, str(tmp_path / "adapter"), config, {(8, 8)}, None)
    for file in (tmp_path / "base").iterdir():
        file.unlink()
    with pytest.raises(OSError, match="base"):
        load_processor(adapter, None, config, {(8, 8)}, None)


def test_images_of_different_shapes_make_no_batch(tmp_path: Path) -> None:
    """A processor that keeps the ratio of the sides and crops nothing."""
    ratio = {"size": {"shortest_edge": 16}, "do_center_crop": False}
    CLIPImageProcessorPil(**ratio).save_pretrained(tmp_path / "model")
    ResNetConfig().save_pretrained(tmp_path / "model")
    trained, config = ScratchModelArguments(model_name_or_path=str(tmp_path / "model")), ResNetConfig()
    with pytest.raises(ValueError, match=r"makes images of different shapes, .* and .*, which make no batch"):
        load_processor(trained, None, config, {(8, 8), (16, 8), (12, 8)}, None)
    assert processor_size(load_processor(trained, None, config, {(8, 8), (4, 4)}, None)) == (16, 16)
