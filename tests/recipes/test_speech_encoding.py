"""Signals and features become a model's inputs, and whatever is wrong is refused with the utterance's name."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from utterances import EXTRACTOR, RATE, encoder, refused, tone, write

from hf_squareloss.recipes import speech_encoding
from hf_squareloss.recipes.audio import read_audio
from hf_squareloss.recipes.ctc_data import require_frames
from hf_squareloss.recipes.speech_encoding import SpeechCollator, heard_seconds, load_feature_extractor, stores_features
from hf_squareloss.recipes.speech_files import load_speech_files


def test_the_encoder_resamples_sounds_and_takes_arrays_as_they_are(tmp_path: Path) -> None:
    file = write(tmp_path, {"x.wav": tone(), "x.npy": tone(rate=8000)}, {"x.wav": "ab", "x.npy": "c"})
    rows: Any = encoder(extractor=Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=False)).encode(
        load_speech_files({"train": file})
    )["train"]
    assert rows["length"][:].tolist() == [800, 800]
    np.testing.assert_allclose(rows[0]["input_values"][50:-50], rows[1]["input_values"][50:-50], atol=5e-3)
    assert [row["labels"].tolist() for row in rows] == [[0, 1], [2]]


@pytest.mark.parametrize(
    ("signal", "name", "message"),
    [
        (np.zeros(0, np.float32), "x.wav", "zero length"),
        (np.zeros((0, 13), np.float32), "x.npy", "zero length"),
        (np.array([0.0, np.nan, np.inf]), "x.npy", "NaN or infinite values, first at sample 1"),
        (np.array([[0.0, 1.0], [2.0, np.inf]]), "x.npy", "NaN or infinite values, first at frame 1"),
        (np.zeros((2, 3, 4)), "x.npy", r"features \(frames, dims\), got \(2, 3, 4\)"),
        (np.array(1.0), "x.npy", "expected a waveform"),
        (np.array("text"), "x.npy", "expected numbers"),
    ],
)
def test_bad_signals_are_refused(signal: np.ndarray, name: str, message: str, tmp_path: Path) -> None:
    assert re.search(message, refused(tmp_path, signal, name=name))


# ---- features -------------------------------------------------------------------------------------------------------
def test_stored_features_are_stacked(tmp_path: Path) -> None:
    features = np.arange(21, dtype=np.float32).reshape(7, 3)
    file = write(tmp_path, {"x.npy": features}, {"x.npy": "ab"})
    rows: Any = encoder(extractor=None, input_name="input_features", stack=2, dims=6).encode(
        load_speech_files({"train": file})
    )["train"]
    (row,) = rows
    assert row["length"] == 3
    np.testing.assert_array_equal(row["input_features"], [[*features[2 * t], *features[2 * t + 1]] for t in range(3)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": 80}, "expects 80 dims, got 3"),
        ({"dims": 4, "stack": 2}, "expects 4 dims, got 3 features times 2"),
        ({"stack": 8}, "7 frames are too few for stacks of 8"),
        ({"max_seconds": 3.0}, "cannot be limited"),
        ({"input_name": "input_values"}, "takes waveforms"),
    ],
)
def test_features_that_do_not_fit_are_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert message in refused(
        tmp_path, np.zeros((7, 3)), **{"extractor": None, "input_name": "input_features", **changes}
    )


def test_waveforms_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    assert "no feature extractor" in refused(tmp_path, tone(), extractor=None, input_name="input_features")
    assert "can be stacked" in refused(tmp_path, tone(), stack=2)


def test_features_of_waveforms_have_their_mask_s_length(tmp_path: Path) -> None:
    extractor = SeamlessM4TFeatureExtractor()
    file = write(tmp_path, {"x.wav": tone(0.205)}, {"x.wav": "ab"})
    splits = load_speech_files({"train": file})
    rows: Any = encoder(extractor=extractor, input_name="input_features").encode(splits)["train"]
    (row,) = rows
    full = extractor(tone(0.205), sampling_rate=RATE)
    assert row["length"] == full["attention_mask"].sum() and row["input_features"].shape[1] == 160


def test_all_bad_utterances_are_named_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signals = {"a.wav": tone(), "b.wav": np.zeros(0, np.float32), "c.wav": tone()}
    file = write(tmp_path, signals, {"a.wav": "ab", "b.wav": "ab", "no.wav": "ab", "c.wav": "xyz"})
    splits = load_speech_files({"train": file})
    with pytest.raises(ValueError, match="3 of 4") as error:
        encoder().encode(splits)
    for words in (r"row 2 \(.*b.wav\): .*zero length", r"row 3 \(.*no.wav\): .*read", r"row 4 \(.*c.wav\): .*have 'x'"):
        assert re.search(words, str(error.value))
    kept: Any = encoder().encode(splits, skip_bad=True)["train"]
    assert kept["row"][:].tolist() == [0] and kept["labels"][0].tolist() == [0, 1]
    assert "Left out: 3 of 4 utterances" in capsys.readouterr().out
    soundfile.write(tmp_path / "b.wav", tone(), RATE)  # mended: what the cache says of it is out of date
    assert list(encoder().encode(splits, skip_bad=True)["train"]["row"]) == [0, 1]


def test_a_broken_first_row_does_not_hide_what_the_others_are(tmp_path: Path) -> None:
    np.save(tmp_path / "features.npy", np.ones((4, 2)))
    np.save(tmp_path / "waveform.npy", np.ones(4))
    for names, expected in (
        (["no.npy", "features.npy"], True),
        (["no.npy", "waveform.npy"], False),
        (["no.wav", "features.npy"], False),
        (["no.npy"], False),
    ):
        rows = [{"audio": {"path": str(tmp_path / name), "bytes": None}} for name in names]
        assert stores_features(rows) is expected
    with pytest.raises(ValueError, match="x: the audio cannot be read: there is no such file; --audio_root"):
        read_audio({"path": "no.wav", "bytes": None}, "x")


def test_audio_is_read_once_and_kept_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, {"x.wav": tone(), "y.wav": tone()}, {"x.wav": "ab", "y.wav": "c"})
    read: list[str] = []

    def counted(audio: Any, name: str) -> Any:
        read.append(name)
        return read_audio(audio, name)

    monkeypatch.setattr(speech_encoding, "read_audio", counted)
    cache: dict[str, Any] = {"cache_dir": str(tmp_path / "cache")}
    first: Any = encoder().encode(load_speech_files({"train": file}), **cache)["train"]
    again: Any = encoder().encode(load_speech_files({"train": file}), **cache)["train"]
    assert len(read) == 2 and first[1]["input_values"].tolist() == again[1]["input_values"].tolist()
    assert str(tmp_path / "cache") in first.cache_files[0]["filename"]
    other: Any = encoder(labels=lambda text, name: [7]).encode(load_speech_files({"train": file}), **cache)["train"]
    assert len(read) == 2 and other["labels"][:].tolist() == [[7], [7]]  # the audio is the same
    encoder(extractor=Wav2Vec2FeatureExtractor(do_normalize=True)).encode(load_speech_files({"train": file}), **cache)
    assert len(read) == 4
    encoder().encode(load_speech_files({"train": file}), overwrite=True, **cache)
    assert len(read) == 6
    soundfile.write(tmp_path / "y.wav", tone(0.2), RATE)
    changed: Any = encoder().encode(load_speech_files({"train": file}), **cache)["train"]
    assert len(read) == 8 and changed["length"][:].tolist() == [1600, 3200]


def test_audio_that_the_model_does_not_hear_to_the_end(tmp_path: Path) -> None:
    file = write(tmp_path, {"x.wav": tone(0.1), "y.wav": tone(0.3)}, {"x.wav": "ab", "y.wav": "c"})
    splits = load_speech_files({"train": file, "validation": file})
    with pytest.raises(ValueError, match=r"train row 2 \(.*y.wav\): 0.30 seconds, .* only the first 0.2"):
        encoder(heard_seconds=0.2).encode(splits)
    limited = encoder(heard_seconds=0.2, max_seconds=0.25)
    assert len(limited.encode({"train": splits["train"]})["train"]) == 1
    with pytest.raises(ValueError, match="validation row 2"):
        limited.encode(splits)


def test_only_training_audio_is_left_out_by_its_length(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    signals = {f"{i}.wav": tone(0.1 * i) for i in (1, 2, 3)}
    file = write(tmp_path, signals, {name: "ab" * 30 if name == "3.wav" else "ab" for name in signals})
    splits = load_speech_files({"train": file, "validation": file})
    found: dict[str, Any] = dict(encoder(min_seconds=0.15, max_seconds=0.25).encode(splits))
    assert (found["train"]["row"][:].tolist(), len(found["validation"])) == ([1], 3)
    said = "Left out of training: 2 of 3 utterances, not of 0.15 to 0.25 seconds (1 longer, 1 shorter)"
    assert said in capsys.readouterr().out
    with pytest.raises(ValueError, match="no training utterance"):
        encoder(min_seconds=0.5).encode(splits)
    # The name is of the row in the file, not of the row that is left.
    kept = encoder(min_seconds=0.25).encode(splits)
    with pytest.raises(ValueError, match=r"train row 3 \(.*3.wav\): the transcript needs 60 frames"):
        require_frames(splits, {"train": kept["train"]}, lambda lengths: lengths // 320, blank=5)


# ---- batches --------------------------------------------------------------------------------------------------------
def test_waveforms_are_padded() -> None:
    rows: list[Mapping[str, Any]] = [
        {"input_values": np.ones(3, np.float32), "labels": np.array([7])},
        {"input_values": np.full(5, 2, np.float32), "labels": np.array([8, 9])},
    ]
    batch = SpeechCollator("input_values", pad_to_multiple_of=4)(rows)
    assert batch["input_values"].tolist() == [[1] * 3 + [0] * 5, [2] * 5 + [0] * 3]
    assert batch["attention_mask"].tolist() == [[1] * 3 + [0] * 5, [1] * 5 + [0] * 3]
    assert batch["labels"].tolist() == [[7, -100], [8, 9]]
    assert batch["labels"].dtype == torch.int64
    assert set(SpeechCollator("input_values", attention_mask=False)([{"input_values": np.ones(3)}])) == {"input_values"}
    unmasked = SpeechCollator("input_values", attention_mask=False, input_lengths=True, pad_to_multiple_of=8)
    batch = unmasked([{"input_values": np.ones(3)}, {"input_values": np.ones(5)}])
    assert set(batch) == {"input_values", "input_lengths"} and batch["input_lengths"].tolist() == [3, 5]


def test_a_batch_of_silence_has_labels() -> None:
    """Models look for the largest label, which nothing has not."""
    rows: list[Mapping[str, Any]] = [{"input_values": np.ones(3, np.float32), "labels": np.zeros(0)}] * 2
    assert SpeechCollator("input_values")(rows)["labels"].tolist() == [[-100], [-100]]


def test_features_are_padded() -> None:
    rows: list[Mapping[str, Any]] = [{"input_features": np.ones((2, 3))}, {"input_features": np.ones((4, 3))}]
    batch = SpeechCollator("input_features")(rows)
    assert batch["input_features"].shape == (2, 4, 3) and batch["input_features"][0].sum() == 6
    assert batch["attention_mask"].sum(1).tolist() == [2, 4]
    assert "labels" not in batch


def test_a_folder_without_a_feature_extractor_is_for_stored_features(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for source in (tmp_path, tmp_path / "config.json"):
        assert load_feature_extractor(str(source), {}) is None
    with pytest.raises(OSError, match="no-such-model"):  # a name of the Hub, which is asked for
        load_feature_extractor("no-such-model", {})
    EXTRACTOR.save_pretrained(tmp_path)
    assert load_feature_extractor(str(tmp_path), {}).to_dict() == EXTRACTOR.to_dict()


# ---- how much is heard ----------------------------------------------------------------------------------------------
def test_what_a_model_hears() -> None:
    extractor = WhisperFeatureExtractor(chunk_length=2)
    assert heard_seconds(WhisperConfig(max_source_positions=100), extractor) == 2.0
    assert heard_seconds(WhisperConfig(), None) == math.inf
    assert heard_seconds(WhisperConfig(), Wav2Vec2FeatureExtractor()) == math.inf
    with pytest.raises(ValueError, match=r"200 frames of 2 seconds, .*=150 are for 300: set chunk_length to 3"):
        heard_seconds(WhisperConfig(max_source_positions=150), extractor)


@pytest.mark.parametrize(
    ("extractor", "config"),
    [
        (ASTFeatureExtractor(max_length=20, num_mel_bins=32), ASTConfig()),
        (WhisperFeatureExtractor(chunk_length=2), WhisperConfig(max_source_positions=100)),
    ],
    ids=["AST", "Whisper"],
)
def test_nothing_behind_what_a_model_hears_changes_its_inputs(extractor: Any, config: Any) -> None:
    heard = round(heard_seconds(config, extractor) * extractor.sampling_rate)
    noise = np.random.default_rng(0).normal(size=2 * heard).astype(np.float32)
    noise[0] = 10.0  # of Whisper's the level is the highest of all frames

    def inputs(samples: int) -> np.ndarray:
        made = extractor(noise[:samples], sampling_rate=extractor.sampling_rate, return_tensors="np")
        return next(iter(made.values()))

    assert np.array_equal(inputs(heard), inputs(2 * heard))
    assert not np.array_equal(inputs(heard), inputs(heard - extractor.sampling_rate // 50))
