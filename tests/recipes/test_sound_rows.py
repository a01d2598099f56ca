"""From waveforms to batches: random cuts, resampling, padding by the extractor, and what cannot be used."""

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from ctc_runs import WAVEFORM_MODEL
from datasets import Dataset
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    AutoModelForAudioClassification,
    ResNetConfig,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from hf_squareloss.recipes.classification import ClassificationData, classification_data
from hf_squareloss.recipes.sound_rows import (
    SoundCollator,
    SoundRows,
    load_extractor,
    read_waveforms,
    show_unheard,
    usable_sounds,
)


def sounds(*lengths: int, rate: int = 8000) -> ClassificationData:
    """Ramps of these lengths."""
    files = []
    for length in lengths:
        file = io.BytesIO()
        soundfile.write(file, np.arange(length, dtype=np.float32) / 10_000, rate, format="WAV", subtype="FLOAT")
        files.append({"path": None, "bytes": file.getvalue()})
    rows = Dataset.from_dict({"audio": files, "label": ["x", "y"] * (len(files) // 2)})
    return classification_data({"train": rows}, {"audio": "audio", "label": "label"}, label_type="classes")


def waveforms(*lengths: int) -> Dataset:
    return Dataset.from_dict({"input_values": [np.arange(n, dtype=np.float32) for n in lengths]}).with_format("numpy")


def test_waveforms_at_the_models_rate(tmp_path: Any) -> None:
    read, data = read_waveforms(sounds(800, 400), 16_000, cache_dir=str(tmp_path))
    assert [len(row) for row in read["train"]["input_values"]] == [1600, 800]
    assert read["train"]["input_values"][0][800] == pytest.approx(0.04, rel=1e-2)
    assert data.splits["train"]["label"][:] == [0, 1]


def test_sounds_longer_than_what_is_heard_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Dataset.from_dict({"length": [16_400, 16_401, 20_000]})
    show_unheard({"train": rows, "validation": rows}, 1.025, 16_000)
    assert capsys.readouterr().out == (
        "2 of 3 sounds of the validation split are longer than the 1.025 seconds that the model hears: "
        "what comes behind them does not count\n"
    )
    show_unheard({"test": rows}, math.inf, 16_000)
    assert capsys.readouterr().out == ""


def test_sounds_that_cannot_be_used_are_named_or_left_out(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bad = sounds(800, 0, 400, 160)
    options: dict[str, Any] = {"cache_dir": str(tmp_path)}
    with pytest.raises(ValueError, match="train row 2: the audio has zero length"):
        read_waveforms(bad, 8000, **options)
    read, data = read_waveforms(bad, 8000, skip_bad=True, min_seconds=0.03, **options)
    assert len(read["train"]) == 2 and data.splits["train"]["label"][:] == [0, 0]
    assert "Left out: train row 2" in capsys.readouterr().out


def test_training_cuts_at_random_and_evaluation_does_not() -> None:
    rows = SoundRows(waveforms(1000, 50), [1, 0], most=100, seed=3)
    first = rows[0]["waveform"]
    assert len(first) == 100 and np.array_equal(first, np.arange(100) + first[0]) and rows[0]["labels"] == 1
    assert np.array_equal(rows[0]["waveform"], first) and len(rows[1]["waveform"]) == 50
    starts = []
    for epoch in range(50):
        rows.set_epoch(epoch)
        starts.append(rows[0]["waveform"][0])
    assert min(starts) < 150 and max(starts) > 750 and len(set(starts)) > 40
    whole = SoundRows(waveforms(1000))
    assert len(whole[0]["waveform"]) == 1000 and "labels" not in whole[0]


def test_batches_are_the_extractors() -> None:
    batch = [SoundRows(waveforms(1000, 600), [1, 0])[i] for i in range(2)]
    masked = Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=False, return_attention_mask=True)
    found = SoundCollator(masked)(batch)
    assert found["input_values"].shape == (2, 1000) and found["attention_mask"].sum(1).tolist() == [1000, 600]
    assert torch.equal(found["input_values"][1, :600], torch.arange(600.0)) and found["labels"].tolist() == [1, 0]
    assert "attention_mask" not in SoundCollator(masked, attention_mask=False)(batch)
    spectrograms = SoundCollator(ASTFeatureExtractor(max_length=32, num_mel_bins=16))(batch)
    assert spectrograms["input_values"].shape == (2, 32, 16)
    whisper = SoundCollator(WhisperFeatureExtractor(chunk_length=2))(batch)
    assert whisper["input_features"].shape == (2, 80, 200)  # always the whole chunk


def test_without_a_mask_a_sound_is_as_it_is_alone() -> None:
    """Padding would count in its mean and deviation."""
    rows = [{"waveform": np.random.default_rng(i).normal(3, 2, n).astype(np.float32)} for i, n in enumerate((900, 400))]
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=True, return_attention_mask=False)
    found = SoundCollator(extractor)(rows)
    assert found["input_lengths"].tolist() == [900, 400] and "attention_mask" not in found
    for row, inputs, length in zip(rows, found["input_values"], (900, 400), strict=True):
        own = (row["waveform"] - row["waveform"].mean()) / np.sqrt(row["waveform"].var() + 1e-7)
        assert inputs[:length].numpy() == pytest.approx(own, abs=1e-5) and not inputs[length:].any()
    padded = torch.tensor(np.array(extractor([row["waveform"] for row in rows], padding=True)["input_values"]))
    assert (padded[1, :400] - found["input_values"][1, :400]).abs().max() > 0.1  # what must not be taken
    spectrograms = SoundCollator(SeamlessM4TFeatureExtractor(), attention_mask=False)
    found = spectrograms([{"waveform": np.zeros(n, np.float32)} for n in (16_000, 8_000)])
    assert found["input_lengths"].tolist() == [49, 24] and found["input_features"].shape[1] == 49
    assert "input_lengths" not in SoundCollator(ASTFeatureExtractor(max_length=32, num_mel_bins=16))(rows)


@pytest.mark.parametrize(
    ("kind", "samples", "mask_length", "message"),
    [
        ("wav2vec2", 50, 1, "train row 3: 50 samples are too few: the model makes no frame of them"),
        ("wav2vec2", 400, 50, "train row 3: 400 samples are too few: .* frames of them, SpecAugment masks 50 at a"),
        ("wav2vec2-bert", 100, 1, "train row 3: 100 samples are too few: the feature extractor fails on them"),
        ("wav2vec2-bert", 2000, 10, "train row 3: 2000 samples are too few: .* 6 frames of them, SpecAugment masks 10"),
    ],
)
def test_sounds_too_short(
    kind: str, samples: int, mask_length: int, message: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {name: value for name, value in WAVEFORM_MODEL.items() if name != "model_type"}
    small: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    bert = Wav2Vec2BertConfig(**{**small, "left_max_position_embeddings": 4, "right_max_position_embeddings": 4})
    config: Any = Wav2Vec2Config(**values) if kind == "wav2vec2" else bert
    model, extractor = AutoModelForAudioClassification.from_config(config), load_extractor(None, config, {})
    read, data = read_waveforms(sounds(16_000, 20_000, samples, samples, rate=16_000), 16_000, cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match=f"2 of 4 utterances .*: {message}.*--skip_bad_utterances"):
        usable_sounds(model, extractor, read, data, mask_length=mask_length)
    kept, left = usable_sounds(model, extractor, read, data, mask_length=mask_length, skip_bad=True)
    assert [int(length) for length in kept["train"]["length"]] == [16_000, 20_000] and left.splits["train"]["label"][
        :
    ] == [0, 1]
    assert "Left out: 2 of 4" in capsys.readouterr().out
    rows = {"test": read["train"]}
    of_test = replace(data, splits={"test": data.splits["train"]})
    if mask_length > 1:  # in training alone
        assert usable_sounds(model, extractor, rows, of_test, mask_length=mask_length)[1] == of_test
    else:
        with pytest.raises(ValueError, match="test row 3"):
            usable_sounds(model, extractor, rows, of_test, skip_bad=True)


def test_the_extractor_of_a_family(tmp_path: Any) -> None:
    masked = load_extractor(None, Wav2Vec2Config(feat_extract_norm="layer"), {})
    assert masked.return_attention_mask and not load_extractor(None, Wav2Vec2Config(), {}).return_attention_mask
    assert isinstance(load_extractor(None, Wav2Vec2BertConfig(), {}), SeamlessM4TFeatureExtractor)
    assert load_extractor(None, ASTConfig(max_length=32, num_mel_bins=16), {}).max_length == 32
    with pytest.raises(ValueError, match="inputs of a resnet: give --feature_extractor_name"):
        load_extractor(None, ResNetConfig(), {})
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(tmp_path)
    assert load_extractor(str(tmp_path), ResNetConfig(), {}).sampling_rate == 8000
