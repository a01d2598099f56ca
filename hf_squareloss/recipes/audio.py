"""Reading sound files and stored arrays, and changing a waveform's rate."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def read_audio(audio: Mapping[str, Any], name: str = "audio") -> tuple[np.ndarray, int | None]:
    """A sound or .npy file as float32: waveform (samples,), the mean of its channels, or features (frames, dims).

    Integer samples of a .npy file are scaled to [-1, 1], as those of sound files are.

    Args:
        audio: `path`, and `bytes` where the content is at hand; `offset` and `duration` in seconds where only a
            segment of a sound file is meant: None is from the start and to the end.
        name: how errors call it.

    Returns:
        The signal and its sampling rate in Hz; None for .npy files, which do not tell.

    Raises:
        ValueError: missing or unreadable file, no numbers, no samples, NaN or infinite values, a wrong number of
            dimensions, a segment outside the file, or one of a .npy file.
    """
    import soundfile

    path, content = audio["path"] or "", audio["bytes"]
    offset, duration = audio.get("offset"), audio.get("duration")
    source: Any = path if content is None else io.BytesIO(content)
    rate = None
    try:
        if content is None and not Path(path).is_file():  # libsndfile calls it a system error
            raise FileNotFoundError("there is no such file; --audio_root says where the paths of a list start")
        if Path(path).suffix.lower() == ".npy":
            if offset is not None or duration is not None:
                raise ValueError("a segment in seconds of an array, whose rate is not known")
            signal = np.load(source, allow_pickle=False)
        else:
            with soundfile.SoundFile(source) as file:
                rate = file.samplerate
                file.seek(_first_frame(file, offset or 0.0))
                frames = -1 if duration is None else round(duration * rate)
                samples = file.read(frames, dtype="float32", always_2d=True)
            signal = samples.mean(axis=1) if len(samples) else samples[:, 0]
    except (OSError, EOFError, ValueError, soundfile.SoundFileError) as error:
        raise ValueError(f"{name}: the audio cannot be read: {error}") from error
    if signal.dtype.kind not in "fiu":
        raise ValueError(f"{name}: expected numbers, got an array of {signal.dtype}")
    if signal.dtype.kind != "f" and signal.ndim == 1:  # samples as sound files have them: full scale is 1
        half = 2.0 ** (8 * signal.itemsize - 1)
        signal = signal / half - (1.0 if signal.dtype.kind == "u" else 0.0)
    if signal.ndim not in (1, 2):
        raise ValueError(f"{name}: expected a waveform (samples,) or features (frames, dims), got {signal.shape}")
    if signal.size == 0:
        raise ValueError(f"{name}: the audio has zero length")
    bad = np.flatnonzero(~np.isfinite(signal).reshape(len(signal), -1).all(axis=1))
    if len(bad):
        unit = "sample" if signal.ndim == 1 else "frame"
        raise ValueError(f"{name}: NaN or infinite values, first at {unit} {bad[0]}")
    return signal.astype(np.float32), rate


def _first_frame(file: Any, offset: float) -> int:
    frame = round(offset * file.samplerate)
    if not 0 <= frame < max(file.frames, 1):
        raise ValueError(f"the segment starts at {offset:g} seconds, the file has {file.frames / file.samplerate:g}")
    return frame


def resample(signal: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A waveform (samples,) from `rate` to `wanted` Hz by a polyphase low-pass filter (scipy.signal.resample_poly)."""
    from scipy.signal import resample_poly

    if rate == wanted:
        return signal
    divisor = math.gcd(rate, wanted)
    return resample_poly(signal, wanted // divisor, rate // divisor).astype(np.float32)
