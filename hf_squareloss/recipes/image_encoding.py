"""From image files to a model's pixel values: augmented in training, as the model's processor says in evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_squareloss.recipes.epoch_rows import EpochRows
from hf_squareloss.recipes.images import read_image
from hf_squareloss.recipes.row_names import row_name

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

AUGMENTATIONS = ("crop", "flip")
_DEFAULT_SIZE = 224  # pixels, of most published models
_COLOUR = (200, 100, 50)  # of the made-up images that show what a processor does


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images.

    Attributes:
        crop: a random rectangle of `min_area` to all of the image's area, of 3:4 to 4:3, brought to the model's size
            (Szegedy et al., arXiv 1409.4842, section 6); a plain resize without.
        flip: left and right are swapped for one image of two.
        min_area: in (0, 1].
    """

    crop: bool = True
    flip: bool = True
    min_area: float = 0.08

    def __call__(self, image: Image, size: tuple[int, int], resample: int, generator: np.random.Generator) -> Image:
        """The image as one of `size`, (width, height)."""
        from PIL import Image, ImageOps

        box = _random_box(image.size, self.min_area, generator) if self.crop else (0, 0, *image.size)
        resized = image.resize(size, Image.Resampling(resample), box)
        return ImageOps.mirror(resized) if self.flip and generator.random() < 0.5 else resized


def _random_box(size: tuple[int, int], min_area: float, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """(left, upper, right, lower) in whole pixels; the largest rectangle in the middle where ten draws do not fit."""
    width, height = size
    for _ in range(10):
        area = width * height * generator.uniform(min_area, 1.0)
        ratio = math.exp(generator.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, upper = generator.integers(width - w + 1), generator.integers(height - h + 1)
            return int(left), int(upper), int(left + w), int(upper + h)
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    left, upper = (width - w) // 2, (height - h) // 2
    return left, upper, left + w, upper + h


class ImageRows(EpochRows):
    """`pixel_values` (C, H, W) in float32, and `labels` where they are known.

    Args:
        rows: columns image (path and bytes) and label.
        split: how errors call it.
        processor: the model's image processor.
        augmentation: for training; None: as the processor says, which is what a pipeline does.
    """

    def __init__(
        self, rows: Dataset, split: str, processor: Any, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        from PIL import Image

        super().__init__(len(rows), seed)
        self._rows, self._split, self._processor, self._augmentation = rows, split, processor, augmentation
        if augmentation is not None:  # to_dict is a deep copy: once, not for every image
            resample = processor.to_dict().get("resample")
            self._resample = int(Image.Resampling.BILINEAR if resample is None else resample)
            side = min(self._read(rows[0], 0).size)
            self._size, self._pixels = processor_size(processor, side), without_geometry(processor, side)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = self._rows[index]
        image = self._read(row, index)
        if self._augmentation is None:
            pixels = processor_pixels(self._processor, image)
        else:
            changed = self._augmentation(image, self._size, self._resample, self.generator(index))
            pixels = self._pixels(changed)
        labels = {"labels": row["label"]} if "label" in row else {}
        return {"pixel_values": pixels, **labels}

    def _read(self, row: dict[str, Any], index: int) -> Image:
        return read_image(row["image"], row_name(row, "image", self._split, index))


def processor_pixels(processor: Any, image: Image, **options: Any) -> np.ndarray:
    """An image as (3, H, W) in float32, as its processor makes it.

    Raises:
        ValueError: it makes something else, such as patches or classes of colours.
    """
    made = processor(image, return_tensors="pt", **options)
    pixels = made.get("pixel_values")
    if pixels is None or pixels.dim() != 4 or pixels.shape[1] != 3:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in made.items())
        raise ValueError(
            f"a {type(processor).__name__} makes {shapes} of an image, but the scripts take pixel_values "
            "(1, 3, height, width): take a model whose processor makes those"
        )
    return pixels[0].float().numpy()


def without_geometry(processor: Any, side: int = _DEFAULT_SIZE) -> Callable[[Image], np.ndarray]:
    """What a processor does with an image but for resizing and cropping it.

    `Normalization`, an eighth of the time of the processor's call for 28 pixels, where it gives the same; some swap
    the channels or normalise twice.

    Args:
        side: of a made-up square on which that is tried.
    """
    from PIL import Image

    whole = processor_pixels(processor, Image.new("RGB", (side, side), _COLOUR))
    middle = whole[:, whole.shape[1] // 2, whole.shape[2] // 2]  # some pad
    quick = Normalization.of(processor)
    if np.allclose(quick(Image.new("RGB", (1, 1), _COLOUR))[:, 0, 0], middle, rtol=1e-5, atol=1e-5):
        return quick
    return partial(processor_pixels, processor, do_resize=False, do_center_crop=False)


@dataclass(frozen=True)
class Normalization:
    """A processor's scale, mean and standard deviation of each channel, for images of the right size."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, processor: Any) -> Normalization:
        values = processor.to_dict()
        timm = values.get("data_config", {})
        scale = values.get("rescale_factor", 1 / 255) if values.get("do_rescale", True) else 1.0
        if not values.get("do_normalize", True):
            return cls(scale, (0.0,), (1.0,))
        mean, std = (tuple(timm.get(name) or values[f"image_{name}"]) for name in ("mean", "std"))
        return cls(scale, mean, std)

    def __call__(self, image: Image) -> np.ndarray:
        """An RGB image as (3, H, W) in float32."""
        pixels = np.asarray(image, dtype=np.float32) * np.float32(self.scale)
        pixels = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def processor_size(processor: Any, side: int = _DEFAULT_SIZE) -> tuple[int, int]:
    """(width, height) of the image that a processor makes of a square.

    Args:
        side: of the square.
    """
    from PIL import Image

    _, height, width = processor_pixels(processor, Image.new("RGB", (side, side))).shape
    return width, height


def new_processor(config: Any, sizes: set[tuple[int, int]], side: int | None = None) -> Any:
    """An image processor for a model from scratch: squares, pixels from -1 to 1.

    Args:
        sizes: (width, height) of the training images.
        side: of the squares in pixels; default: the config's image_size, or that of the images where all are squares
            of one size, or 224.

    Raises:
        ValueError: `side` is not the config's image_size.
    """
    from transformers import ViTImageProcessorPil

    wanted = config.to_dict().get("image_size")
    if side is not None and wanted not in (None, side):
        raise ValueError(
            f"image_size={side}, but the model takes {wanted} pixels: --config_overrides image_size={side} changes it"
        )
    width, height = next(iter(sizes))
    own = width if len(sizes) == 1 and width == height else _DEFAULT_SIZE
    pixels = side or wanted or own
    return ViTImageProcessorPil(size={"height": pixels, "width": pixels})
