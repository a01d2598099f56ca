"""From image files to pixel values: augmentation, the processor's numbers, and processors from scratch."""

import io
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from datasets import Dataset
from PIL import Image
from transformers import ConvNextImageProcessorPil, PreTrainedConfig, ViTImageProcessorPil
from transformers.models.auto import image_processing_auto
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from hf_squareloss.recipes.image_encoding import (
    Augmentation,
    ImageRows,
    Normalization,
    new_processor,
    processor_size,
    without_geometry,
)

BILINEAR = 2
OTHERS = {"ImageGPTImageProcessorPil", "Siglip2ImageProcessorPil"}  # they make no pixels (3, H, W)
KINDS: Any = vars(image_processing_auto)["IMAGE_PROCESSOR_MAPPING_NAMES"]
NAMES = {KINDS[kind].get("pil", "") for kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES if kind in KINDS}
PROCESSORS = sorted(name for name in NAMES - OTHERS if name.endswith("Pil"))  # timm's is none


def gradient(width: int, height: int) -> Image.Image:
    """Red says the column, green the row."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(width), np.arange(height)[:, None]
    return Image.fromarray(pixels)


def rows_of(*images: Image.Image) -> Dataset:
    files = []
    for image in images:
        file = io.BytesIO()
        image.save(file, "PNG")
        files.append({"path": None, "bytes": file.getvalue()})
    return Dataset.from_dict({"image": files, "label": list(range(len(files)))})


def test_nothing_random_is_a_plain_resize() -> None:
    image, plain = gradient(20, 10), Augmentation(crop=False, flip=False)
    found = plain(image, (5, 5), BILINEAR, np.random.default_rng(0))
    assert np.array_equal(np.asarray(found), np.asarray(image.resize((5, 5), Image.Resampling.BILINEAR)))


def test_crops_are_of_the_area_and_the_shape() -> None:
    image, crop = gradient(200, 100), Augmentation(crop=True, flip=False, min_area=0.25)
    areas, shapes = [], []
    for seed in range(200):
        found = np.asarray(crop(image, (50, 50), 0, np.random.default_rng(seed))).astype(float)
        assert found.shape == (50, 50, 3)
        width, height = (np.ptp(found[..., channel]) * 50 / 49 for channel in (0, 1))
        areas.append(width * height / 20_000)
        shapes.append(width / height)
    assert 0.2 < min(areas) < 0.3 and 0.55 < max(areas) < 0.7  # a third of twice the height is the largest
    assert 0.7 < min(shapes) < 0.8 and 1.25 < max(shapes) < 1.45
    whole = np.asarray(Augmentation(flip=False)(gradient(200, 2), (3, 2), 0, np.random.default_rng(0)))
    assert whole.shape == (2, 3, 3)  # no rectangle of such a shape fits: the middle


def test_every_second_image_is_mirrored() -> None:
    image, flip = gradient(8, 8), Augmentation(crop=False, flip=True)
    found = [np.asarray(flip(image, (8, 8), 0, np.random.default_rng(seed)))[0, 0, 0] for seed in range(200)]
    assert set(found) == {0, 7} and 80 < found.count(7) < 120


def test_evaluation_is_the_processors_and_training_its_numbers() -> None:
    processor = ViTImageProcessorPil(
        size={"height": 6, "width": 8}, image_mean=[0.1, 0.2, 0.3], image_std=[0.5, 0.6, 0.7]
    )
    image = gradient(8, 6)
    expected = processor(image, return_tensors="pt").pixel_values[0]
    (row,) = ImageRows(rows_of(image), "x", processor)
    assert torch.equal(torch.tensor(row["pixel_values"]), expected)
    assert row["labels"] == 0
    plain = Augmentation(crop=False, flip=False)
    (trained,) = ImageRows(rows_of(image), "x", processor, plain)
    assert torch.allclose(torch.tensor(trained["pixel_values"]), expected, atol=1e-6)
    assert trained["pixel_values"].dtype == np.float32
    raw = ViTImageProcessorPil(do_rescale=False, do_normalize=False)
    assert Normalization.of(raw)(image)[0, 0].tolist() == list(range(8))


def test_epochs_differ_and_labels_may_be_missing() -> None:
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8})
    rows = ImageRows(rows_of(gradient(40, 40)).remove_columns("label"), "x", processor, Augmentation())
    first = rows[0]
    assert set(first) == {"pixel_values"} and np.array_equal(rows[0]["pixel_values"], first["pixel_values"])
    rows.set_epoch(1)
    assert not np.array_equal(rows[0]["pixel_values"], first["pixel_values"])


@pytest.mark.parametrize(
    ("processor", "size"),
    [
        (ViTImageProcessorPil(size={"height": 6, "width": 8}), (8, 6)),
        (ConvNextImageProcessorPil(size={"shortest_edge": 32}), (32, 32)),
        (ViTImageProcessorPil(do_center_crop=True, crop_size={"height": 5, "width": 4}), (4, 5)),
    ],
    ids=["size", "edge", "crop"],
)
def test_the_size_that_a_processor_makes(processor: Any, size: tuple[int, int]) -> None:
    assert processor_size(processor) == size
    made = processor(gradient(64, 64), return_tensors="pt").pixel_values
    assert tuple(made.shape[2:]) == (size[1], size[0])


@pytest.mark.parametrize("name", PROCESSORS)
def test_training_pixels_are_those_of_evaluation(name: str) -> None:
    processor, image = getattr(transformers, name)(), Image.new("RGB", (300, 300), (200, 100, 50))
    evaluated, trained = (
        ImageRows(rows_of(image), "x", processor, augmentation)[0]["pixel_values"]
        for augmentation in (None, Augmentation())
    )
    assert trained.shape == evaluated.shape and trained.dtype == np.float32
    _, height, width = evaluated.shape  # whose border may be padding
    middle = evaluated[:, height // 2, width // 2]
    assert np.allclose(trained, middle[:, None, None], rtol=1e-5, atol=1e-5)


def test_a_processor_that_does_as_others_do_is_not_called_for_every_image() -> None:
    assert isinstance(without_geometry(ViTImageProcessorPil(), 8), Normalization)
    assert not isinstance(without_geometry(transformers.MobileViTImageProcessorPil(), 8), Normalization)


@pytest.mark.parametrize(
    "processor",
    [
        transformers.ImageGPTImageProcessorPil(clusters=[[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]),
        transformers.Siglip2ImageProcessorPil(),
    ],
    ids=["colours", "patches"],
)
def test_processors_of_something_else_than_pixels_are_refused(processor: Any) -> None:
    with pytest.raises(ValueError, match="makes (input_ids|pixel_values) .* take a model whose processor"):
        ImageRows(rows_of(gradient(32, 32)), "x", processor)[0]


@pytest.mark.parametrize(
    ("config", "sizes", "side", "expected"),
    [
        ({}, {(28, 28)}, None, 28),
        ({}, {(28, 20)}, None, 224),
        ({}, {(28, 28), (32, 32)}, None, 224),
        ({}, {(28, 28)}, 64, 64),
        ({"image_size": 32}, {(28, 28)}, None, 32),
        ({"image_size": 32}, {(28, 28)}, 32, 32),
    ],
)
def test_a_processor_from_scratch(config: dict[str, Any], sizes: set[Any], side: int | None, expected: int) -> None:
    found = new_processor(PreTrainedConfig(**config), sizes, side)
    assert processor_size(found) == (expected, expected)
    with pytest.raises(ValueError, match="image_size=64, but the model takes 32"):
        new_processor(PreTrainedConfig(image_size=32), sizes, 64)  # type: ignore[call-arg]
