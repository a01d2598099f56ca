"""Image classifiers and their processors: pretrained, from scratch, or timm's where timm loads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hf_squareloss.recipes.image_encoding import new_processor, processor_pixels
from hf_squareloss.recipes.media_arguments import ScratchModelArguments


@contextmanager
def timm_errors(name: str | None) -> Iterator[None]:
    """What does not load because of timm or torchvision becomes one line that says so.

    transformers raises an ImportError where they are missing, and a RuntimeError where they do not fit the installed
    torch ("operator torchvision::nms does not exist").

    Raises:
        ValueError: instead of these.
    """
    try:
        yield
    except (ImportError, RuntimeError) as error:
        said = " ".join(str(error).split())
        if "timm" not in said and "torchvision" not in said:
            raise
        reason = said if len(said) < 300 else f"{said[:300]} ..."
        raise ValueError(
            f"{name} needs timm and a torchvision that fits the installed torch, which do not load here ({reason}): "
            "install both for this torch, or take a model of transformers"
        ) from error


def require_rgb(config: Any) -> None:
    """ValueError for a model of other images than RGB ones, which all images become."""
    values = config.to_dict()
    channels = values.get("num_channels", (values.get("model_args") or {}).get("in_chans", 3))
    if channels != 3:
        raise ValueError(
            f"the model takes {channels} channels, but all images are read as RGB, as transformers' pipelines read "
            "them (grey becomes three equal channels): --config_overrides num_channels=3, or another model"
        )


def count_classes_once(config: Any) -> None:
    """Take the number of classes out of the arguments that timm wrote for a model, where it is a second one.

    transformers (5.24) hands timm both, which is a TypeError.
    """
    if config.model_type == "timm_wrapper" and config.model_args:
        config.model_args = {name: value for name, value in config.model_args.items() if name != "num_classes"}


def load_processor(
    model_args: ScratchModelArguments,
    name: str | None,
    config: Any,
    sizes: set[tuple[int, int]],
    side: int | None,
) -> Any:
    """The image processor: of this name, of the pretrained model, or a new one.

    Args:
        name: the processor's own, if it is not the model's.
        sizes, side: as for `new_processor`.

    Raises:
        ValueError: `side` for a processor that is there, or one that does not make pixels (3, H, W) of one shape.
    """
    from PIL import Image
    from transformers import AutoImageProcessor

    source = name or model_args.model_name_or_path
    if source is None:
        return new_processor(config, sizes, side)
    if side is not None:
        raise ValueError(f"image_size would be ignored: the image processor of {source} says it")
    try:
        processor = AutoImageProcessor.from_pretrained(source, **model_args.hub)
    except OSError:  # timm's are in no file of their own (transformers 5.24): an adapter's is its base model's
        if name is not None or config.name_or_path in ("", source):
            raise
        processor = AutoImageProcessor.from_pretrained(config.name_or_path, **model_args.hub)
    extremes = {choose(sizes, key=lambda size: size[0] / size[1]) for choose in (min, max)}
    shapes = {processor_pixels(processor, Image.new("RGB", size)).shape for size in extremes}
    if len(shapes) > 1:
        raise ValueError(
            f"the image processor of {source} makes images of different shapes, {' and '.join(map(str, shapes))}, "
            "which make no batch: give it a size of height and width, or a crop (do_center_crop)"
        )
    return processor
