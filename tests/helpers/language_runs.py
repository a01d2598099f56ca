"""Runs of examples/run_language_modeling.py: their options, and the weights that they save."""

from pathlib import Path
from typing import Any

import torch
from example_scripts import load_example
from transformers import AutoModelForCausalLM

script = load_example("run_language_modeling")
SMALL = "hidden_size=16,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2"
LLAMA = ["--model_type", "llama", "--config_overrides", SMALL, "--vocabulary", "words", "--block_size", "8"]
BERT = ["--model_type", "bert", *LLAMA[2:]]
SHORT = ["--max_steps", "2", "--learning_rate", "1e-2", "--save_strategy", "no"]


def weights(folder: Path, auto: Any = AutoModelForCausalLM) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in auto.from_pretrained(folder).parameters()])
