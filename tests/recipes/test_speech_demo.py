"""The built-in speech demo: its tones are those of the keypad, different in every call, and the same for a seed."""

import io
import re
from typing import Any

import numpy as np
import pytest
import soundfile

from hf_squareloss.recipes.audio import read_audio
from hf_squareloss.recipes.speech_demo import FREQUENCIES, RATE, demo_model, dial, dial_tones

SIZES = {"train": 12, "validation": 3, "test": 5}


def loudest(signal: np.ndarray, candidates: list[int]) -> int:
    """The frequency of the table with the most energy within 2 %: a plain Fourier sum over a grid."""
    time = np.arange(len(signal)) / RATE

    def energy(frequency: float) -> float:
        return max(abs(np.exp(-2j * np.pi * frequency * off * time) @ signal) for off in np.linspace(0.98, 1.02, 21))

    return max(candidates, key=energy)


@pytest.mark.parametrize("key", FREQUENCIES)
def test_every_key_sounds_with_its_two_frequencies(key: str) -> None:
    signal = dial(key, np.random.default_rng(3))
    low, high = loudest(signal, [697, 770, 852, 941]), loudest(signal, [1209, 1336, 1477, 1633])
    assert (low, high) == FREQUENCIES[key]


def test_the_keypad() -> None:
    assert "".join(FREQUENCIES) == "123456789*0#"
    assert FREQUENCIES["1"] == (697, 1209) and FREQUENCIES["#"] == (941, 1477)
    with pytest.raises(KeyError, match="A"):
        dial("A", np.random.default_rng(0))


def test_durations_and_levels() -> None:
    generator = np.random.default_rng(0)
    calls = [dial("12345", generator) for _ in range(20)]
    seconds = [len(call) / RATE for call in calls]
    assert 5 * 0.05 + 6 * 0.04 - 0.01 < min(seconds) < max(seconds) < 11 * 0.12 and len(set(seconds)) > 15
    peaks = [np.abs(call).max() for call in calls]
    assert max(peaks) <= 1 and max(peaks) > 3 * min(peaks)
    assert all(call.dtype == np.float32 for call in calls)


def test_the_splits_are_wav_files_and_keys() -> None:
    splits: dict[str, Any] = dict(dial_tones(0, SIZES))
    assert {name: len(rows) for name, rows in splits.items()} == SIZES
    for rows in splits.values():
        for row in rows:
            assert re.fullmatch(r"[0-9*#]{3,8}", row["text"])
            with soundfile.SoundFile(io.BytesIO(row["audio"]["bytes"])) as file:
                assert (file.samplerate, file.channels) == (RATE, 1)
    texts = [text for rows in splits.values() for text in rows["text"]]
    assert len(set(texts)) == len(texts)


def test_the_seed_decides() -> None:
    first, again, other = (dial_tones(seed, SIZES)["test"] for seed in (0, 0, 1))
    assert first.to_dict() == again.to_dict()
    assert first["text"] != other["text"]
    assert not np.array_equal(read_audio(first[0]["audio"])[0][:50], read_audio(other[0]["audio"])[0][:50])


def test_the_model_is_small() -> None:
    from transformers import AutoModelForCTC

    config = demo_model()
    config.vocab_size, config.pad_token_id = 15, 14
    assert 100_000 < AutoModelForCTC.from_config(config).num_parameters() < 200_000
