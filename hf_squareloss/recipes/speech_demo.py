"""The built-in speech demo: telephone dial tones (DTMF) with noise, to be transcribed to the keys that were pressed."""

from __future__ import annotations

import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset

RATE = 8000  # Hz, as in telephony
_LOW = (697, 770, 852, 941)  # Hz, the rows of the keypad (ITU-T Recommendation Q.23)
_HIGH = (1209, 1336, 1477)  # Hz, its columns
FREQUENCIES: Mapping[str, tuple[int, int]] = MappingProxyType(
    {key: (low, high) for low, row in zip(_LOW, ("123", "456", "789", "*0#"), strict=True)
     for high, key in zip(_HIGH, row, strict=True)}
)  # fmt: skip
_SPLITS = {"train": 1600, "validation": 200, "test": 400}

# Chosen on the validation split.
DEMO_TRAINING: Mapping[str, Any] = MappingProxyType(
    {
        "learning_rate": 5e-3,
        "num_train_epochs": 8,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 64,
        "train_sampling_strategy": "group_by_length",
        "warmup_steps": 0.1,
    }
)


def dial_tones(
    seed: int = 0, sizes: Mapping[str, int] = MappingProxyType(_SPLITS), keys: tuple[int, int] = (3, 9)
) -> dict[str, Dataset]:
    """Calls of three to eight random keys, in the shape of `load_speech_files`: wav files in memory, and their keys.

    `sizes` is the number of calls per split; the splits are independent. `keys` is how many a call has: from the first
    number to below the second. The same seed gives the same calls.

    Example: `dial_tones()["test"]["text"][:3]`
    """
    from datasets import Dataset

    splits = {}
    for split, generator in zip(sizes, np.random.default_rng(seed).spawn(len(sizes)), strict=True):
        texts = ["".join(generator.choice(list(FREQUENCIES), generator.integers(*keys))) for _ in range(sizes[split])]
        audio = [{"path": None, "bytes": _wav(dial(text, generator))} for text in texts]
        splits[split] = Dataset.from_dict({"audio": audio, "text": texts})
    return splits


def dial(keys: str, generator: np.random.Generator) -> np.ndarray:
    """One call at 8 kHz, float32 (samples,) within [-1, 1].

    Each key sounds 50 to 120 ms, with gaps of 40 to 120 ms before, between and after. Both sines are off by up to
    1.5 %, their levels differ by up to 4 dB, and one level holds for a call: -30 to -9 dB of full scale. White noise
    lies 5 to 25 dB below the tones.

    Raises KeyError for a key that a telephone does not have.
    """
    level, pieces = generator.uniform(-30, -9), [_silence(generator)]
    for key in keys:
        time = np.arange(int(RATE * generator.uniform(0.05, 0.12))) / RATE
        twist = generator.uniform(-2, 2)  # dB up for one sine, down for the other
        tone = np.zeros(len(time))
        for frequency, gain in zip(FREQUENCIES[key], (level + twist, level - twist), strict=True):
            phase, deviation = generator.uniform(0, 2 * np.pi), generator.uniform(0.985, 1.015)
            tone += 10 ** (gain / 20) * np.sin(2 * np.pi * frequency * deviation * time + phase)
        pieces += [tone, _silence(generator)]
    signal = np.concatenate(pieces)
    noise = 10 ** ((level - generator.uniform(5, 25)) / 20)
    return np.clip(signal + generator.normal(0, noise, len(signal)), -1, 1).astype(np.float32)


def _silence(generator: np.random.Generator) -> np.ndarray:
    return np.zeros(int(RATE * generator.uniform(0.04, 0.12)))


def _wav(signal: np.ndarray) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, signal, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def demo_model() -> Any:
    """The config of a small Wav2Vec2-BERT (conformer) with 139,000 parameters, to be trained from scratch.

    Its inputs are two stacked frames of 80 log-mel bands, 50 per second at 16 kHz: `SeamlessM4TFeatureExtractor`.
    """
    from transformers import Wav2Vec2BertConfig

    return Wav2Vec2BertConfig(
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        conv_depthwise_kernel_size=7,
        left_max_position_embeddings=8,
        right_max_position_embeddings=8,
        **dict.fromkeys(
            ("hidden_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout", "layerdrop"), 0.0
        ),
        apply_spec_augment=False,
    )
