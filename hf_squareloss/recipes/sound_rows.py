"""From waveforms to a model's inputs in batches: cut at random in training, then through the feature extractor."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hf_squareloss.heads import ctc_frames
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.epoch_rows import EpochRows
from hf_squareloss.recipes.notices import say
from hf_squareloss.recipes.row_names import only, row_name
from hf_squareloss.recipes.speech_encoding import SpeechEncoder, load_feature_extractor
from hf_squareloss.recipes.speech_files import without_bad

if TYPE_CHECKING:
    from datasets import Dataset


class SoundRows(EpochRows):
    """`waveform` (samples,) in float32, and `labels` where they are known.

    Args:
        waveforms: with the column `input_values`, as `read_waveforms` gives them.
        labels: of each row; None where they are hidden.
        most: in training longer waveforms are cut to so many samples, from a random place; None: they stay whole.
    """

    def __init__(self, waveforms: Dataset, labels: Any = None, most: int | None = None, seed: int = 0) -> None:
        super().__init__(len(waveforms), seed)
        self._waveforms, self._labels, self._most = waveforms.select_columns("input_values"), labels, most

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: Any = self._waveforms[index]
        waveform = np.asarray(row["input_values"], dtype=np.float32)
        if self._most is not None and len(waveform) > self._most:
            start = int(self.generator(index).integers(len(waveform) - self._most + 1))
            waveform = waveform[start : start + self._most]
        return {"waveform": waveform} | ({} if self._labels is None else {"labels": self._labels[index]})


@dataclass(frozen=True)
class SoundCollator:
    """A batch of `SoundRows` as the feature extractor makes it, padded as it does by itself or to the longest.

    Sounds of several lengths that get no mask go through it one by one, for it would count padding in their mean; the
    batch has their `input_lengths` (B,) too, for `UnpaddedTrainer`.

    Attributes:
        attention_mask: whether the model gets the mask of what is no padding; None: as the extractor says.
    """

    extractor: Any
    attention_mask: bool | None = None

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        options: dict[str, Any] = {"sampling_rate": self.extractor.sampling_rate, "return_tensors": "pt"}
        parameter = inspect.signature(type(self.extractor).__call__).parameters.get("padding")
        to_longest = parameter is not None and parameter.default in (False, True)  # Whisper's pads to 30 s, and must
        if to_longest:
            options["padding"] = True
        if self.attention_mask is not None:
            options["return_attention_mask"] = self.attention_mask
        waveforms = [row["waveform"] for row in rows]
        batch = dict(self.extractor(waveforms, **options))
        name = self.extractor.model_input_names[0]
        if to_longest and "attention_mask" not in batch:
            each = [self.extractor([waveform], **options)[name][0] for waveform in waveforms]
            batch[name] = torch.nn.utils.rnn.pad_sequence(each, batch_first=True)
            batch["input_lengths"] = torch.tensor([len(inputs) for inputs in each])
        if "labels" in rows[0]:
            batch["labels"] = torch.tensor([row["labels"] for row in rows])
        return batch


def read_waveforms(
    data: ClassificationData, rate: int, *, min_seconds: float = 0.0, **options: Any
) -> tuple[dict[str, Dataset], ClassificationData]:
    """The waveforms of all splits at one rate, and the data without the rows that were left out.

    Args:
        data: with the column audio.
        rate: in Hz; sounds of another one are resampled.
        min_seconds: shorter training sounds are left out.
        options: as for `SpeechEncoder.encode`.

    Raises:
        ValueError: sounds that cannot be read, or stored features, by name.
    """
    from transformers import Wav2Vec2FeatureExtractor

    plain = Wav2Vec2FeatureExtractor(sampling_rate=rate, do_normalize=False)
    reader = SpeechEncoder(plain, _no_labels, "input_values", min_seconds=min_seconds)
    sounds = reader.encode({name: only(rows, "audio") for name, rows in data.splits.items()}, **options)
    kept = {name: rows.select(sounds[name]["row"]) for name, rows in data.splits.items()}
    return sounds, replace(data, splits=kept)


def show_unheard(sounds: Mapping[str, Dataset], heard: float, rate: int) -> None:
    """Print how many waveforms of validation and test are longer than the `heard` seconds that reach the model."""
    for name, rows in sounds.items():
        longer = int((np.asarray(rows["length"]) > heard * rate + 0.5).sum())
        if longer and name != "train":
            say(
                f"{longer} of {len(rows)} sounds of the {name} split are longer than the {heard:g} seconds that the "
                "model hears: what comes behind them does not count"
            )


def usable_sounds(
    model: Any,
    extractor: Any,
    sounds: Mapping[str, Dataset],
    data: ClassificationData,
    *,
    mask_length: int = 1,
    skip_bad: bool = False,
) -> tuple[dict[str, Dataset], ClassificationData]:
    """The waveforms that are long enough for the feature extractor and for the model, and the data without the others.

    Of no frame the mean would be NaN.

    Args:
        sounds: as `read_waveforms` gives them, with data.
        mask_length: frames of SpecAugment's mask: a batch of shorter training sounds would end the training.
        skip_bad: as for `without_bad`.

    Raises:
        ValueError: what is too short, by name.
    """
    kept, splits = {}, {}
    for split, rows in sounds.items():
        faults: dict[int, str] = {}
        for place in np.argsort(np.asarray(rows["length"]), kind="stable").tolist():  # a longer one is no worse
            waveform: Any = rows[place]["input_values"]
            fault = _fault(model, extractor, waveform, mask_length if split == "train" else 1)
            if fault is None:
                break
            named = row_name(data.splits[split][place], "audio", split, place)
            faults[place] = f"{named}: {len(waveform)} samples are too few: {fault}"
        faults = dict(sorted(faults.items()))
        kept[split] = without_bad(rows, faults, split, skip=skip_bad)
        places = [place for place in range(len(rows)) if place not in faults]
        splits[split] = data.splits[split].select(places) if faults else data.splits[split]
    return kept, replace(data, splits=splits)


def _fault(model: Any, extractor: Any, waveform: Any, mask_length: int) -> str | None:
    """What is wrong with a waveform that is too short."""
    try:
        inputs = SoundCollator(extractor)([{"waveform": np.asarray(waveform, np.float32)}])[model.main_input_name]
    except (ValueError, RuntimeError, AssertionError) as error:
        return f"the feature extractor fails on them ({error})"
    if not inputs.isfinite().all():
        return "the feature extractor returns NaN"
    frames = masked = inputs.shape[1]
    convolves = {"_get_feat_extract_output_lengths", "_get_subsampling_output_length"} & set(dir(model))
    if model.main_input_name == "input_values" and convolves:
        length = torch.tensor([frames])
        frames, masked = (int(ctc_frames(model, length, before_adapter=before)) for before in (False, True))
    if frames < 1:
        return "the model makes no frame of them"
    if masked < mask_length:
        return f"the model makes {masked} frames of them, SpecAugment masks {mask_length} at a time"
    return None


def load_extractor(source: str | None, config: Any, hub: Mapping[str, Any]) -> Any:
    """The feature extractor in a folder or of a model on the Hub; for a model from scratch its family's, at 16 kHz.

    Raises:
        ValueError: there is none.
    """
    from transformers import ASTFeatureExtractor, SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

    if source is not None:
        extractor = load_feature_extractor(source, hub)
        if extractor is not None:
            return extractor
    values = config.to_dict()
    if config.model_type == "audio-spectrogram-transformer":
        return ASTFeatureExtractor(num_mel_bins=values["num_mel_bins"], max_length=values["max_length"])
    if config.model_type == "wav2vec2-bert":
        return SeamlessM4TFeatureExtractor()
    if "conv_stride" in values:  # group norm over padded waveforms was trained without a mask (wav2vec2-base)
        return Wav2Vec2FeatureExtractor(return_attention_mask=values.get("feat_extract_norm") != "group")
    raise ValueError(f"it is not known how to make the inputs of a {config.model_type}: give --feature_extractor_name")


def _no_labels(text: str, name: str) -> list[int]:
    raise AssertionError("there is no text to be labelled")
