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

    Args:
        audio: `path`, and `bytes` where the content is at hand.
        name: how errors call it.

    Returns:
        The signal and its sampling rate in Hz; None for .npy files, which do not tell.

    Raises:
        ValueError: missing or unreadable file, no samples, NaN or infinite values, a wrong number of dimensions.
    """
    import soundfile

    path, content = audio["path"] or "", audio["bytes"]
    source: Any = path if content is None else io.BytesIO(content)
    rate = None
    try:
        if Path(path).suffix == ".npy":
            signal = np.load(source, allow_pickle=False)
        else:
            samples, rate = soundfile.read(source, dtype="float32", always_2d=True)
            signal = samples.mean(axis=1) if len(samples) else samples[:, 0]
    except (OSError, EOFError, ValueError, soundfile.SoundFileError) as error:
        raise ValueError(f"{name}: the audio cannot be read: {error}") from error
    if signal.ndim not in (1, 2):
        raise ValueError(f"{name}: expected a waveform (samples,) or features (frames, dims), got {signal.shape}")
    if signal.size == 0:
        raise ValueError(f"{name}: the audio has zero length")
    bad = np.flatnonzero(~np.isfinite(signal).reshape(len(signal), -1).all(axis=1))
    if len(bad):
        unit = "sample" if signal.ndim == 1 else "frame"
        raise ValueError(f"{name}: NaN or infinite values, first at {unit} {bad[0]}")
    return signal.astype(np.float32), rate


def resample(signal: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    """A waveform (samples,) from `rate` to `wanted` Hz by a polyphase low-pass filter (scipy.signal.resample_poly)."""
    from scipy.signal import resample_poly

    if rate == wanted:
        return signal
    divisor = math.gcd(rate, wanted)
    return resample_poly(signal, wanted // divisor, rate // divisor).astype(np.float32)
