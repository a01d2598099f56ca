"""Arguments of the image examples: augmentation, rows, and the classifier that they name."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_files import write_pictures

from hf_squareloss.recipes.image_arguments import DataArguments, ModelArguments, load_image_classifier
from hf_squareloss.recipes.image_encoding import Augmentation


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Augmentation(crop=True, flip=True, min_area=0.08)),
        ({"augmentations": ["crop"], "min_crop_area": 0.5}, Augmentation(crop=True, flip=False, min_area=0.5)),
        ({"augmentations": ["none"]}, Augmentation(crop=False, flip=False, min_area=0.08)),
    ],
)
def test_random_changes(given: dict[str, Any], expected: Augmentation) -> None:
    assert DataArguments(**given).augmentation == expected


@pytest.mark.parametrize("given", [{"augmentations": ["turn"]}, {"augmentations": ["none", "crop"]}])
def test_unknown_changes_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="augmentations must be of crop, flip, or none"):
        DataArguments(**given)


def test_from_folders_to_a_classifier(tmp_path: Path) -> None:
    options = write_pictures(tmp_path, {"train": 4, "validation": 2})
    data_args = DataArguments(train_dir=options[1], validation_dir=options[3])
    model_args = ModelArguments(model_type="convnet", config_overrides=["hidden_sizes=[8]"])
    data = data_args.load_images(model_args)
    sizes = data_args.read_sizes(data, model_args)
    assert sizes == {(8, 8)}
    model, loading_info, processor, data = load_image_classifier(model_args, data, sizes, train=True, verbose=False)
    assert model.config.id2label == {0: "across", 1: "upright"} and loading_info is None
    rows = data_args.rows(data, processor, seed=1)
    other = data_args.rows(data, processor, seed=2)
    assert not np.array_equal(rows["train"][0]["pixel_values"], other["train"][0]["pixel_values"])
    same = [given["validation"][0]["pixel_values"] for given in (rows, other)]
    assert np.array_equal(*same)
