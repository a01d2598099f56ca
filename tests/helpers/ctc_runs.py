"""Melodies to be transcribed by examples/run_speech_recognition_ctc.py, models from scratch, and options of runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from transformers import AutoModelForCTC, Wav2Vec2FeatureExtractor

from hf_squareloss.recipes.speech_demo import RATE

SHORT = ["--max_steps", "2", "--save_strategy", "no"]
LEARN = [
    *["--learning_rate", "1e-2", "--num_train_epochs", "12", "--warmup_steps", "0.1", "--logging_steps", "50"],
    *["--train_sampling_strategy", "group_by_length"],
]
LEARNT = {
    "square": ["--loss", "square"],
    "cross_entropy": ["--loss", "cross_entropy"],
}
NOTES = {"a": 400.0, "b": 800.0, "c": 1600.0, " ": 1200.0}  # Hz
WAVEFORM_MODEL: dict[str, Any] = {
    **{"model_type": "wav2vec2", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"intermediate_size": 32, "conv_dim": [32, 32], "conv_kernel": [40, 4], "conv_stride": [20, 4]},
    **{"num_feat_extract_layers": 2, "feat_extract_norm": "layer", "conv_bias": True, "do_stable_layer_norm": True},
    **{"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "apply_spec_augment": False},
    **{"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0},
    **{"final_dropout": 0.0, "layerdrop": 0.0},
}
FEATURE_MODEL: dict[str, Any] = {
    **{"model_type": "wav2vec2-bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"intermediate_size": 16, "conv_depthwise_kernel_size": 3, "feature_projection_input_dim": 8},
    **{"left_max_position_embeddings": 4, "right_max_position_embeddings": 4, "apply_spec_augment": False},
}


def melody(text: str, generator: np.random.Generator) -> np.ndarray:
    """Each letter is a note of 60 ms, with 40 ms of silence after it, at 8 kHz."""
    time = np.arange(480) / RATE
    notes = [np.append(np.sin(2 * np.pi * NOTES[c] * time), np.zeros(320)) for c in text]
    signal = 0.3 * np.concatenate(notes)
    return (signal + generator.normal(0, 0.01, len(signal))).astype(np.float32)


def write_melodies(folder: Path, sizes: dict[str, int], features: bool = False) -> list[str]:
    """Lists with sound files, or with features (frames, 4), one for each letter; as options."""
    generator, options = np.random.default_rng(0), []
    for split, size in sizes.items():
        lines = ["audio,text"]
        for i in range(size):
            letters = generator.choice(list("abc"), generator.integers(1, 5))
            text = "".join(c + " " * (generator.random() < 0.4) for c in letters).strip()
            name = f"{split}{i}.{'npy' if features else 'wav'}"
            folder.mkdir(parents=True, exist_ok=True)
            if features:
                notes = [np.pad([[c == note for note in NOTES]] * 3, [(0, 3), (0, 0)]) for c in text]
                np.save(folder / name, np.concatenate(notes).astype(np.float32))
            else:
                soundfile.write(folder / name, melody(text, generator), RATE)
            lines.append(f"{name},{text}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n")
        options += [f"--{split}_file", str(folder / f"{split}.csv")]
    return options


def write_model(folder: Path, config: dict[str, Any], rate: int | None = RATE) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if rate is not None:
        Wav2Vec2FeatureExtractor(sampling_rate=rate, return_attention_mask=True).save_pretrained(folder)
    return str(folder)


def rows_of(files: list[str], split: str) -> list[list[str]]:
    file = Path(files[files.index(f"--{split}_file") + 1])
    rows = [line.split(",") for line in file.read_text().splitlines()[1:]]
    return [[str(file.parent / name), text] for name, text in rows]


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in AutoModelForCTC.from_pretrained(folder).parameters()])
