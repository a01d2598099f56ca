"""The tones of the audio demo."""

from typing import Any

import numpy as np

from hf_squareloss.recipes.audio import read_audio
from hf_squareloss.recipes.audio_demo import demo_classifier, filter_baseline, key_tones
from hf_squareloss.recipes.speech_demo import FREQUENCIES, RATE

SIZES = {"train": 60, "validation": 24, "test": 60}


def test_one_key_a_file() -> None:
    data = key_tones(0, SIZES)
    assert {name: len(rows) for name, rows in data.splits.items()} == SIZES
    assert set(data.label_names or []) == set(FREQUENCIES)
    rows: Any = data.splits["train"]
    lengths = [len(read_audio(row["audio"])[0]) / RATE for row in rows]
    assert 0.13 <= min(lengths) and max(lengths) <= 0.36  # 50 to 120 ms, and silence of 40 to 120 ms on both sides
    again, other = key_tones(0, SIZES), key_tones(1, SIZES)
    assert again.splits["test"]["label"][:] == data.splits["test"]["label"][:] != other.splits["test"]["label"][:]


def test_the_strongest_frequencies_are_mostly_the_keys() -> None:
    assert 0.75 < filter_baseline(key_tones(0, SIZES)) < 1.0


def test_the_model_is_small() -> None:
    assert demo_classifier().hidden_size == demo_classifier().classifier_proj_size == 64
    assert np.isclose(sum(FREQUENCIES["5"]), 770 + 1336)
