"""The built-in image demo: handwritten digits, which come with scikit-learn."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_squareloss.recipes.classification import ClassificationData, classification_data

if TYPE_CHECKING:
    from datasets import Dataset

SIDE = 8  # pixels
_LARGEST = 16  # of a pixel there
_SHARES = {"train": 0.6, "validation": 0.15, "test": 0.25}

# The first setting that was tried.
DEMO_TRAINING: Mapping[str, Any] = MappingProxyType(
    {
        "model_type": "convnet",
        "learning_rate": 3e-3,
        "num_train_epochs": 15,
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 128,
        "warmup_steps": 0.1,
        "augmentations": ["crop"],  # a digit in a mirror is none
        "min_crop_area": 0.6,
    }
)


def handwritten_digits(seed: int = 0) -> ClassificationData:
    """1,797 grey images of 8 x 8 pixels in 10 classes (UCI, Alpaydin & Kaynak 1998) as PNG files in memory.

    60, 15 and 25 % are train, validation and test, chosen by the seed.

    Example: `handwritten_digits().splits["test"]["label"][:3]`
    """
    from datasets import Dataset

    files, labels = _read_digits()
    order = np.random.default_rng(seed).permutation(len(files))
    first, second = (round(share * len(files)) for share in (_SHARES["train"], 1 - _SHARES["test"]))
    splits: dict[str, Dataset] = {}
    for split, chosen in zip(_SHARES, (order[:first], order[first:second], order[second:]), strict=True):
        images = [{"path": None, "bytes": files[i]} for i in chosen]
        splits[split] = Dataset.from_dict({"image": images, "label": [str(labels[i]) for i in chosen]})
    return classification_data(splits, {"image": "image", "label": "label"}, label_type="classes")


def pixel_baseline(data: ClassificationData) -> float:
    """Test accuracy of logistic regression on the pixels, fitted on the training split.

    Example: `pixel_baseline(handwritten_digits())`
    """
    from PIL import Image
    from sklearn.linear_model import LogisticRegression

    pixels, labels = {}, {}
    for split in ("train", "test"):
        rows: Any = data.splits[split]
        opened = [Image.open(io.BytesIO(row["image"]["bytes"])) for row in rows]
        pixels[split] = np.stack([np.asarray(image, dtype=np.float64).ravel() / 255 for image in opened])
        labels[split] = rows["label"][:]
    model = LogisticRegression(max_iter=1000).fit(pixels["train"], labels["train"])
    return float(model.score(pixels["test"], labels["test"]))


@cache
def _read_digits() -> tuple[list[bytes], list[int]]:
    from PIL import Image
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    files = []
    for image in found.images:
        file = io.BytesIO()
        Image.fromarray(np.round(image * (255 / _LARGEST)).astype(np.uint8)).save(file, "PNG")
        files.append(file.getvalue())
    return files, found.target.tolist()
