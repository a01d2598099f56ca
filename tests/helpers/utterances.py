"""Lists of small sound files, and what an encoder says about one of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers import Wav2Vec2FeatureExtractor

from hf_squareloss.recipes.ctc_data import character_tokenizer
from hf_squareloss.recipes.speech_encoding import SpeechEncoder
from hf_squareloss.recipes.speech_files import encode_text, load_speech_files

RATE = 16000
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=False)
TOKENS: dict[str, Any] = {"unk_token": "[UNK]", "pad_token": "[PAD]", "word_delimiter_token": "|"}


def tone(seconds: float = 0.1, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write(folder: Path, signals: dict[str, np.ndarray], texts: dict[str, str], kind: str = "tsv") -> str:
    """A list and its files: names ending in .npy are arrays, others sounds."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, signal in signals.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if name.endswith(".npy"):
            np.save(folder / name, signal)
        else:
            soundfile.write(folder / name, signal, RATE)
    rows = [{"audio": name, "text": text} for name, text in texts.items()]
    separator = {"tsv": "\t", "csv": ","}.get(kind)
    if separator:
        lines = [separator.join(rows[0]), *(separator.join(row.values()) for row in rows)]
    else:
        lines = [json.dumps(rows if kind == "json" else row) for row in (rows if kind == "jsonl" else rows[:1])]
    file = folder / f"list.{kind}"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def encoder(**changes: Any) -> SpeechEncoder:
    tokenizer = character_tokenizer(["abc "], **TOKENS)
    options = {"extractor": EXTRACTOR, "labels": lambda text, name: encode_text(tokenizer, text, name)}
    return SpeechEncoder(**{**options, "input_name": "input_values", **changes})


def refused(folder: Path, signal: np.ndarray, text: str = "ab", name: str = "x.npy", **changes: Any) -> str:
    """What the encoder says about one utterance."""
    splits = load_speech_files({"train": write(folder, {name: signal}, {name: text})})
    with pytest.raises(ValueError) as error:
        encoder(**changes).encode(splits)
    assert f"train row 1 ({folder / name})" in str(error.value)
    return str(error.value)
