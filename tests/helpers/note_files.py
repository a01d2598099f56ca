"""Short notes in folders by class, and options of runs of examples/run_audio_classification.py on them."""

from pathlib import Path

import numpy as np
import soundfile
import torch
from ctc_runs import melody
from transformers import AutoModelForAudioClassification

from hf_squareloss.recipes.speech_demo import RATE

CLASSES = ("a", "b", "c")
SHORT = ["--max_steps", "2", "--save_strategy", "no"]
LEARN = ["--learning_rate", "1e-2", "--num_train_epochs", "5", "--warmup_steps", "0.1", "--logging_steps", "50"]


def write_notes(folder: Path, sizes: dict[str, int]) -> list[str]:
    """A folder for each split with a folder for each class: one to three times its note; as options."""
    generator, options = np.random.default_rng(0), []
    for split, size in sizes.items():
        for i in range(size):
            label = CLASSES[i % 3]
            (folder / split / label).mkdir(parents=True, exist_ok=True)
            sound = melody(label * generator.integers(1, 4), generator)
            soundfile.write(folder / split / label / f"{i:03}.wav", sound, RATE)
        options += [f"--{split}_dir", str(folder / split)]
    return options


def weights(folder: Path) -> torch.Tensor:
    loaded = AutoModelForAudioClassification.from_pretrained(folder)
    return torch.cat([parameter.detach().flatten() for parameter in loaded.parameters()])
