"""Runs of examples/run_glue.py on the toy task: their options, and the weights that they save."""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification

LEARN = ["--learning_rate", "1e-2", "--num_train_epochs", "8", "--logging_steps", "50"]
SHORT = ["--learning_rate", "1e-2", "--max_steps", "2", "--save_strategy", "no"]


def file_options(files: dict[str, Path]) -> list[str]:
    return [text for split, file in files.items() for text in (f"--{split}_file", str(file))]


def weights(folder: Path) -> torch.Tensor:
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    return torch.cat([parameter.detach().flatten() for parameter in loaded.parameters()])
