"""Small pictures in folders by class, models for them, and options of runs of examples/run_image_classification.py."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForImageClassification

CLASSES = ("across", "upright")
SIDE = 8
MODEL = ["--model_type", "convnet", "--config_overrides", "hidden_sizes=[8,8]", "hidden_dropout_prob=0.0"]
SHORT = ["--max_steps", "2", "--save_strategy", "no"]
LEARN = ["--learning_rate", "1e-2", "--num_train_epochs", "6", "--logging_steps", "50", "--augmentations", "flip"]


def bars(label: str, generator: np.random.Generator) -> Image.Image:
    """A bright bar across or upright at a random place, with noise."""
    pixels = generator.integers(0, 60, (SIDE, SIDE, 3), dtype=np.uint8)
    place = generator.integers(SIDE)
    pixels[place if label == "across" else slice(None), slice(None) if label == "across" else place] = 255
    return Image.fromarray(pixels)


def write_pictures(folder: Path, sizes: dict[str, int]) -> list[str]:
    """A folder for each split with a folder for each class; as options."""
    generator, options = np.random.default_rng(0), []
    for split, size in sizes.items():
        for i in range(size):
            label = CLASSES[i % 2]
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            bars(label, generator).save(folder / split / label / f"{i:03}.png")
        options += [f"--{split}_dir", str(folder / split)]
    return options


def weights(folder: Path) -> torch.Tensor:
    loaded = AutoModelForImageClassification.from_pretrained(folder)
    return torch.cat([parameter.detach().flatten() for parameter in loaded.parameters()])
