"""Sounds are read and resampled right, and what is no sound is refused."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_squareloss.recipes.audio import read_audio, resample

RATE = 16000


def tone(seconds: float = 0.1, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def test_channels_become_their_mean(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.stack([tone(), np.zeros_like(tone())], axis=1), RATE)
    np.testing.assert_allclose(read_audio({"path": str(tmp_path / "x.wav"), "bytes": None})[0], tone() / 2, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_resampling_keeps_a_tone(rate: int) -> None:
    found, expected = resample(tone(0.5, rate), rate, RATE), tone(0.5)
    assert len(found) == len(expected) and found.dtype == np.float32
    np.testing.assert_allclose(found[800:-800], expected[800:-800], atol=5e-3)  # the filter rings at the ends
    wrong = tone(0.5, rate)[:4000]  # as if it had been right already
    assert np.abs(wrong - expected[:4000]).max() > 0.1


def test_resampling_removes_what_the_new_rate_cannot_hold() -> None:
    assert np.abs(resample(tone(0.5, RATE, 6000.0), RATE, 8000)[400:-400]).max() < 0.01


def test_a_float_sound_file_with_nan_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([0.0, np.nan], np.float32), RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="me: NaN"):
        read_audio({"path": str(tmp_path / "x.wav"), "bytes": None}, "me")


@pytest.mark.parametrize("content", [None, b"", b"no sound"])
@pytest.mark.parametrize("name", ["x.wav", "x.npy"])
def test_missing_and_broken_files_are_refused(name: str, content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="me: the audio cannot be read"):
        read_audio({"path": str(tmp_path / name), "bytes": None}, "me")


def test_stored_samples_of_a_sound_card_are_scaled_as_in_a_sound_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(), RATE)
    expected = read_audio({"path": str(tmp_path / "x.wav"), "bytes": None})[0]
    for kind in (np.int16, np.int32):
        np.save(tmp_path / "x.npy", np.round(tone().astype(np.float64) * np.iinfo(kind).max).astype(kind))
        np.testing.assert_allclose(read_audio({"path": str(tmp_path / "x.npy"), "bytes": None})[0], expected, atol=1e-4)
    np.save(tmp_path / "x.npy", np.array([0, 128, 255], np.uint8))  # silence is in the middle
    assert read_audio({"path": str(tmp_path / "x.npy"), "bytes": None})[0].tolist() == [-1.0, 0.0, 127 / 128]
    np.save(tmp_path / "x.npy", np.full((3, 2), 7, np.int16))  # features are numbers as they are
    assert (read_audio({"path": str(tmp_path / "x.npy"), "bytes": None})[0] == 7.0).all()


@pytest.mark.parametrize("array", [np.array(["a", "b"]), np.array([1 + 1j, 2]), np.array([True, False])])
def test_arrays_of_no_numbers_are_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ValueError, match=f"row 3: expected numbers, got an array of {array.dtype}"):
        read_audio({"path": str(tmp_path / "x.npy"), "bytes": None}, "row 3")
