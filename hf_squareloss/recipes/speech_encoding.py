"""From audio files to a model's inputs: read, checked, resampled, encoded by a feature extractor, padded in batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hf_squareloss.recipes.audio import read_audio, resample
from hf_squareloss.recipes.speech_files import utterance_name

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class SpeechEncoder:
    """From the columns `audio` and `text` to a model's inputs and labels.

    Attributes:
        extractor: a transformers feature extractor for waveforms; None where only stored features come in.
        labels: (transcript, name of the utterance) -> token ids, such as `encode_text` with a tokenizer.
        input_name: what the model calls its inputs, "input_values" or "input_features".
        dims: dims of a frame of stored features that the model expects, after stacking; None: not known.
        stack: so many neighbouring frames of stored features become one: (frames, dims) -> (frames // stack,
            stack * dims), the remainder dropped.
        min_seconds, max_seconds: training waveforms outside are left out; evaluation keeps all.
    """

    extractor: Any
    labels: Callable[[str, str], list[int]]
    input_name: str
    dims: int | None = None
    stack: int = 1
    min_seconds: float = 0.0
    max_seconds: float = math.inf

    def encode(
        self, splits: Mapping[str, Dataset], *, num_proc: int | None = None, overwrite: bool = False
    ) -> dict[str, Dataset]:
        """Every split with the inputs and `labels` where there is text; `length`: samples or frames; `row`: from where.

        Raises:
            ValueError: with the utterance's name, for everything that `read_audio`, `labels` and this class refuse.
        """
        encoded = {}
        for split, rows in splits.items():
            made = rows.map(
                self._encode_row,
                with_indices=True,
                fn_kwargs={"split": split},
                remove_columns=rows.column_names,
                num_proc=num_proc,
                load_from_cache_file=not overwrite,
                desc=f"Reading {split}",
            )
            if split == "train":
                kept = [i for i, s in enumerate(made["seconds"]) if s is None or self._is_wanted(s)]
                if not kept:
                    raise ValueError(f"no training utterance has {self.min_seconds} to {self.max_seconds} seconds")
                made = made if len(kept) == len(made) else made.select(kept)
            encoded[split] = made.remove_columns("seconds").with_format("numpy")
        return encoded

    def _is_wanted(self, seconds: float) -> bool:
        return self.min_seconds <= seconds <= self.max_seconds

    def _encode_row(self, row: dict[str, Any], index: int, split: str) -> dict[str, Any]:
        name = utterance_name(split, index, row)
        labels = {"labels": self.labels(row["text"], name)} if "text" in row else {}
        signal, rate = read_audio(row["audio"], name)
        if signal.ndim == 2:
            inputs, seconds = self._stacked(signal, name), None
        else:
            inputs, seconds = self._extracted(signal, rate, name)
        return {self.input_name: inputs, "length": len(inputs), "row": index, "seconds": seconds, **labels}

    def _stacked(self, features: np.ndarray, name: str) -> np.ndarray:
        if self.input_name != "input_features":
            raise ValueError(f"{name}: features {features.shape}, but the model takes waveforms")
        if self.min_seconds > 0 or self.max_seconds < math.inf:
            raise ValueError(f"{name}: the length of stored features in seconds is not known, so it cannot be limited")
        frames, dims = len(features) // self.stack, self.stack * features.shape[1]
        if self.dims not in (None, dims):
            stacked = f" times {self.stack} stacked frames" if self.stack > 1 else ""
            raise ValueError(f"{name}: the model expects {self.dims} dims, got {features.shape[1]} features{stacked}")
        if frames == 0:
            raise ValueError(f"{name}: {len(features)} frames are too few for stacks of {self.stack}")
        return features[: frames * self.stack].reshape(frames, dims)

    def _extracted(self, signal: np.ndarray, rate: int | None, name: str) -> tuple[np.ndarray, float]:
        if self.extractor is None:
            raise ValueError(f"{name}: a waveform, but there is no feature extractor to make features of it")
        if self.stack > 1:
            raise ValueError(f"{name}: a waveform, but only stored features can be stacked")
        wanted = self.extractor.sampling_rate
        signal = resample(signal, rate or wanted, wanted)
        seconds = len(signal) / wanted
        found = self.extractor(signal, sampling_rate=wanted, return_attention_mask=True)
        mask_name = "padding_mask" if "padding_mask" in found else "attention_mask"  # OmniASR's name
        inputs, mask = (np.asarray(found[name][0]) for name in (self.input_name, mask_name))
        inputs = inputs.astype(np.float32)
        inputs = inputs[0] if inputs.shape == (1, len(mask)) else inputs  # its waveforms have a channel
        if len(mask) == len(inputs):  # some pad their frames to an even number; Whisper's inputs are (mels, frames)
            inputs = inputs[: mask.sum()]
        if not np.isfinite(inputs).all():
            raise ValueError(f"{name}: {len(signal)} samples are too few for the feature extractor, it returns NaN")
        return inputs, seconds


@dataclass(frozen=True)
class SpeechCollator:
    """Pads a batch of encoded utterances: inputs (B, T) or (B, T, dims) with zeros, labels (B, U) with -100.

    Attributes:
        input_name: "input_values" or "input_features".
        attention_mask: add the mask (B, T), 1 for what is no padding.
        pad_to_multiple_of: T is a multiple of this.
        channel: waveforms are (B, 1, T) and their mask is called `padding_mask` (OmniASR).
    """

    input_name: str
    attention_mask: bool = True
    pad_to_multiple_of: int = 1
    channel: bool = False

    def __call__(self, rows: list[Mapping[str, Any]]) -> dict[str, Tensor]:
        inputs = [torch.tensor(np.asarray(row[self.input_name], dtype=np.float32)) for row in rows]
        padded = self._pad(inputs)
        batch = {self.input_name: padded.unsqueeze(1) if self.channel else padded}
        if self.attention_mask:
            name = "padding_mask" if self.channel else "attention_mask"
            batch[name] = self._pad([torch.ones(len(x), dtype=torch.long) for x in inputs])
        if "labels" in rows[0]:
            labels = [torch.tensor(np.asarray(row["labels"], dtype=np.int64)) for row in rows]
            batch["labels"] = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
        return batch

    def _pad(self, sequences: list[Tensor]) -> Tensor:
        padded = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        missing = -padded.shape[1] % self.pad_to_multiple_of
        return torch.nn.functional.pad(padded, [0, 0] * (padded.ndim - 2) + [0, missing])


def load_feature_extractor(source: str, hub: Mapping[str, Any]) -> Any:
    """The feature extractor of a model; None for a folder or file without one, whose inputs are stored features.

    Args:
        hub: keyword arguments for from_pretrained.
    """
    from transformers import AutoFeatureExtractor

    files = [Path(source, file) for file in ("preprocessor_config.json", "processor_config.json")]
    if Path(source).exists() and not any(file.exists() for file in files):
        return None
    return AutoFeatureExtractor.from_pretrained(source, **hub)
