"""From audio files to a model's inputs: read, checked, resampled, encoded by a feature extractor, padded in batches."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hf_squareloss.recipes.audio import read_audio, resample
from hf_squareloss.recipes.cache import cache_file
from hf_squareloss.recipes.notices import say
from hf_squareloss.recipes.row_names import PLACE, only, row_name
from hf_squareloss.recipes.speech_files import without_bad

if TYPE_CHECKING:
    from datasets import Dataset


_ROWS_IN_MEMORY = 16  # encoded, before they are written: a Whisper's have a megabyte each


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
        min_seconds, max_seconds: training waveforms outside are left out, and said; evaluation keeps all.
        heard_seconds: of a longer waveform the model would not hear the end, so that it cannot be used.
    """

    extractor: Any
    labels: Callable[[str, str], list[int]]
    input_name: str
    dims: int | None = None
    stack: int = 1
    min_seconds: float = 0.0
    max_seconds: float = math.inf
    heard_seconds: float = math.inf

    def encode(
        self,
        splits: Mapping[str, Dataset],
        *,
        num_proc: int | None = None,
        overwrite: bool = False,
        cache_dir: str | None = None,
        skip_bad: bool = False,
    ) -> dict[str, Dataset]:
        """Every split with the inputs and `labels` where there is text; `length`: samples or frames; `row`: from where.

        The inputs lie in the cache of datasets (or `cache_dir`), whatever the number of utterances; a second run, and
        other processes, read them there. A sound file that was changed is read again.

        Args:
            skip_bad: as for `without_bad`.

        Raises:
            ValueError: for everything that `read_audio`, `labels` and this class refuse, with the utterances' names.
        """
        return {
            split: self._encode_split(split, rows, num_proc, overwrite, cache_dir, skip_bad)
            for split, rows in splits.items()
        }

    def _encode_split(
        self, split: str, rows: Dataset, num_proc: int | None, overwrite: bool, cache_dir: str | None, skip_bad: bool
    ) -> Dataset:
        from datasets import Features, List, Value

        audio, number = only(rows, "audio"), Value("float32")
        file = cache_file(*self._content(audio), split, cache_dir=cache_dir)
        made = audio.map(
            self._encode_row,
            with_indices=True,
            fn_kwargs={"split": split},
            remove_columns=audio.column_names,
            features=Features(
                {
                    self.input_name: List(number) if self.input_name == "input_values" else List(List(number)),
                    "length": Value("int64"),
                    "seconds": Value("float64"),
                    "fault": Value("string"),
                }
            ),
            num_proc=num_proc,
            load_from_cache_file=not overwrite,
            cache_file_name=file,
            new_fingerprint=Path(file).stem,
            writer_batch_size=_ROWS_IN_MEMORY,
            desc=f"Reading {split}",
        )
        labels, faults = self._all_labels(split, rows)
        seconds = made["seconds"][:]
        left_out = {i for i, s in enumerate(seconds) if split == "train" and s is not None and not self._is_wanted(s)}
        faults = {i: fault for i, fault in faults.items() if i not in left_out}
        for i, fault in enumerate(made["fault"]):
            if fault is not None:
                faults[i] = fault
            elif (seconds[i] or 0.0) > self.heard_seconds and i not in left_out:
                faults[i] = (
                    f"{row_name(rows[i], 'audio', split, i)}: {seconds[i]:.2f} seconds, but the model hears only the "
                    f"first {self.heard_seconds:g}: cut the audio (--max_duration_in_seconds is for training alone)"
                )
        made = made.add_column("row", list(range(len(made))))  # type: ignore[call-arg]
        if labels is not None:
            made = made.add_column("labels", labels, feature=List(Value("int64")))  # type: ignore[call-arg,arg-type]
        made = without_bad(made.remove_columns(["seconds", "fault"]), faults, split, skip=skip_bad)
        if left_out:
            kept = [position for position, row in enumerate(made["row"]) if row not in left_out]
            limits = f"{self.min_seconds:g} to {self.max_seconds:g} seconds"
            if not kept:
                raise ValueError(f"no training utterance has {limits}")
            longer = sum(seconds[i] > self.max_seconds for i in left_out)
            say(
                f"Left out of training: {len(left_out)} of {len(seconds)} utterances, not of {limits} "
                f"({longer} longer, {len(left_out) - longer} shorter)"
            )
            made = made.select(kept)
        return made.with_format("numpy")

    def _content(self, audio: Any) -> tuple[Any, ...]:
        """What the encoded inputs depend on."""
        import transformers

        how = None if self.extractor is None else (type(self.extractor).__name__, self.extractor.to_dict())
        settings = (how, self.input_name, self.dims, self.stack, self.min_seconds > 0, self.max_seconds < math.inf)
        what = audio
        if audio[0]["audio"]["bytes"] is None:
            what = [
                (sorted(row["audio"].items(), key=str), row.get(PLACE), _stamp(row["audio"]["path"])) for row in audio
            ]
        return what, settings, transformers.__version__

    def _all_labels(self, split: str, rows: Dataset) -> tuple[list[list[int]] | None, dict[int, str]]:
        """The labels of all rows, and what is wrong with those that have none."""
        if "text" not in rows.column_names:
            return None, {}
        labels: list[list[int]] = []
        faults: dict[int, str] = {}
        for i, text in enumerate(rows["text"]):
            try:
                labels.append(self.labels(text, ""))
            except ValueError:
                name = row_name(rows[i], "audio", split, i)
                try:
                    self.labels(text, name)
                except ValueError as error:
                    faults[i] = str(error)
                labels.append([])
        return labels, faults

    def _is_wanted(self, seconds: float) -> bool:
        return self.min_seconds <= seconds <= self.max_seconds

    def _encode_row(self, row: dict[str, Any], index: int, split: str) -> dict[str, Any]:
        name = row_name(row, "audio", split, index)
        try:
            signal, rate = read_audio(row["audio"], name)
            if signal.ndim == 2:
                inputs, seconds = self._stacked(signal, name), None
            else:
                inputs, seconds = self._extracted(signal, rate, name)
        except ValueError as error:
            return {self.input_name: None, "length": 0, "seconds": None, "fault": str(error)}
        return {self.input_name: inputs, "length": len(inputs), "seconds": seconds, "fault": None}

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
        try:
            found = self.extractor(signal, sampling_rate=wanted, return_attention_mask=True)
        except (ValueError, RuntimeError, AssertionError) as error:  # some, for less than a window
            raise ValueError(f"{name}: the feature extractor fails on {len(signal)} samples ({error})") from error
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
        input_lengths: add the lengths (B,) before padding, which no model takes: for `UnpaddedTrainer`, without a mask.
    """

    input_name: str
    attention_mask: bool = True
    pad_to_multiple_of: int = 1
    channel: bool = False
    input_lengths: bool = False

    def __call__(self, rows: list[Mapping[str, Any]]) -> dict[str, Tensor]:
        inputs = [torch.tensor(np.asarray(row[self.input_name], dtype=np.float32)) for row in rows]
        padded = self._pad(inputs)
        batch = {self.input_name: padded.unsqueeze(1) if self.channel else padded}
        if self.attention_mask:
            name = "padding_mask" if self.channel else "attention_mask"
            batch[name] = self._pad([torch.ones(len(x), dtype=torch.long) for x in inputs])
        if self.input_lengths:
            batch["input_lengths"] = torch.tensor([len(x) for x in inputs])
        if "labels" in rows[0]:
            labels = [torch.tensor(np.asarray(row["labels"], dtype=np.int64)) for row in rows]
            labels = torch.nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100)
            if labels.shape[1] == 0:  # silence alone; models look for the largest label (transformers 5.24)
                labels = torch.full((len(rows), 1), -100)
            batch["labels"] = labels
        return batch

    def _pad(self, sequences: list[Tensor]) -> Tensor:
        padded = torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        missing = -padded.shape[1] % self.pad_to_multiple_of
        return torch.nn.functional.pad(padded, [0, 0] * (padded.ndim - 2) + [0, missing])


def stores_features(rows: Iterable[Any]) -> bool:
    """Whether the audio is stored features (frames, dims), by the first row that is no broken .npy file."""
    for row in rows:
        if Path(row["audio"]["path"] or "").suffix.lower() != ".npy":
            return False
        try:
            return read_audio(row["audio"])[0].ndim == 2
        except ValueError:  # which `SpeechEncoder.encode` says, with its name
            continue
    return False


def _stamp(path: str) -> tuple[int, int] | None:
    """What changes with a file; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


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


def heard_seconds(config: Any, extractor: Any) -> float:
    """The longest audio that a model hears to the end: Whisper's and AST's extractors drop the rest, without a word.

    Raises:
        ValueError: the extractor makes more or fewer frames than the model has positions.
    """
    from transformers import ASTFeatureExtractor, WhisperFeatureExtractor

    if isinstance(extractor, ASTFeatureExtractor):
        return 0.025 + 0.01 * (extractor.max_length - 1)  # windows of 25 ms, one every 10
    if not isinstance(extractor, WhisperFeatureExtractor):
        return math.inf
    positions = config.to_dict().get("max_source_positions")
    frames = extractor.nb_max_frames
    if positions is not None and 2 * positions != frames:  # its second convolution has stride 2
        raise ValueError(
            f"the feature extractor makes {frames} frames of {extractor.chunk_length} seconds, but the model's "
            f"max_source_positions={positions} are for {2 * positions}: set chunk_length to "
            f"{2 * positions * extractor.hop_length / extractor.sampling_rate:g}"
        )
    return float(extractor.chunk_length)
