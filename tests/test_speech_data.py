"""Speech data: lists and sound files are read right, and whatever is wrong is refused with the utterance's name."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor

from hf_squareloss.audio import read_audio
from hf_squareloss.ctc_data import character_tokenizer, require_frames
from hf_squareloss.speech_data import (
    SpeechCollator,
    SpeechEncoder,
    case_of,
    encode_text,
    load_named_speech,
    load_speech_files,
    normalize_texts,
    utterance_name,
)

RATE = 16000
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=False)
TOKENS: dict[str, Any] = {"unk_token": "[UNK]", "pad_token": "[PAD]", "word_delimiter_token": "|"}


def tone(seconds: float = 0.1, rate: int = RATE, frequency: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write(folder: Path, signals: dict[str, np.ndarray], texts: dict[str, str], kind: str = "tsv") -> str:
    """A list and its files: names ending in .npy are arrays, others sounds."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, signal in signals.items():
        (folder / name).parent.mkdir(exist_ok=True)
        if name.endswith(".npy"):
            np.save(folder / name, signal)
        else:
            soundfile.write(folder / name, signal, RATE)
    rows = [{"audio": name, "text": text} for name, text in texts.items()]
    separator = {"tsv": "\t", "csv": ","}.get(kind)
    if separator:
        lines = [separator.join(rows[0]), *(separator.join(row.values()) for row in rows)]
    else:
        lines = [json.dumps(rows if kind == "json" else row) for row in (rows if kind == "jsonl" else rows[:1])]
    file = folder / f"list.{kind}"
    file.write_text("\n".join(lines) + "\n")
    return str(file)


def encoder(**changes: Any) -> SpeechEncoder:
    tokenizer = character_tokenizer(["abc "], **TOKENS)
    options = {"extractor": EXTRACTOR, "labels": lambda text, name: encode_text(tokenizer, text, name)}
    return SpeechEncoder(**{**options, "input_name": "input_values", **changes})


def refused(folder: Path, signal: np.ndarray, text: str = "ab", name: str = "x.npy", **changes: Any) -> str:
    """What the encoder says about one utterance."""
    splits = load_speech_files({"train": write(folder, {name: signal}, {name: text})})
    with pytest.raises(ValueError) as error:
        encoder(**changes).encode(splits)
    assert f"train row 1 ({folder / name})" in str(error.value)
    return str(error.value)


# ---- lists ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl"])
def test_lists_of_files(kind: str, tmp_path: Path) -> None:
    signals = {"a/one.wav": tone(), "two.flac": tone(0.2)}
    file = write(tmp_path, signals, {"a/one.wav": "NA", "two.flac": "two words"}, kind)
    rows = load_speech_files({"train": file})["train"]
    assert rows["text"][:] == ["NA", "two words"]  # "NA" is a word
    for row, signal in zip(rows, signals.values(), strict=True):
        found, rate = read_audio(row["audio"])
        assert rate == RATE
        np.testing.assert_allclose(found, signal, atol=1e-4)


def test_absolute_paths_and_other_column_names(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"x.wav": tone()}, {"x.wav": "x"})
    (tmp_path / "list.csv").write_text(f'file,words,speaker\n"{tmp_path / "elsewhere" / "x.wav"}","a, b",7\n')
    columns = {"audio_column": "file", "text_column": "words"}
    (row,) = load_speech_files({"train": str(tmp_path / "list.csv")}, **columns)["train"]
    assert row["text"] == "a, b" and len(read_audio(row["audio"])[0]) == len(tone())


def test_a_test_split_may_have_no_texts(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("audio\nx.wav\n")
    file = str(tmp_path / "list.tsv")
    assert load_speech_files({"test": file})["test"].column_names == ["audio"]
    with pytest.raises(ValueError, match="train split has no column 'text'"):
        load_speech_files({"train": file})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", "audio,text\n", "must end in .csv"),
        ("a.csv", "audio,text\n", "validation split is empty"),
        ("a.csv", "", "validation split is empty"),
        ("a.csv", "path,text\nx.wav,a\n", "no column 'audio'; it has path, text"),
        ("a.csv", "audio,text\nx.wav\n", "row 1: expected a value for each of audio, text"),
        ("a.csv", "audio,text\nx.wav,a\nx.wav,a,b\n", "row 2: expected a value"),
        ("a.json", "[{", "cannot be read"),
        ("a.tsv", "audio\ttext\nx.wav\ta\ny.wav\t \n", r"validation row 2 \(.*y.wav\): the transcript is empty"),
    ],
)
def test_bad_lists_are_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_speech_files({"validation": str(tmp_path / name)})


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        load_speech_files({"train": str(tmp_path / "no.csv")})


def test_a_data_set_by_name(tmp_path: Path) -> None:
    """A folder stands for the Hub here; the audio is neither decoded by datasets nor changed."""
    file = io.BytesIO()
    soundfile.write(file, tone(), RATE, format="WAV")
    rows = {"sound": [{"bytes": file.getvalue(), "path": "x.wav"}] * 3, "words": ["a", "b", "c"], "id": [1, 2, 3]}
    data = Dataset.from_dict(rows).cast_column("sound", Audio(decode=False))
    (tmp_path / "data").mkdir()
    for split, count in {"train": 2, "dev": 1}.items():
        data.select(range(count)).to_parquet(tmp_path / "data" / f"{split}.parquet")
    columns = {"audio_column": "sound", "text_column": "words"}
    found = load_named_speech(
        "parquet",
        None,
        {"train": "train", "validation": "dev"},
        data_files={split: str(tmp_path / "data" / f"{split}.parquet") for split in ("train", "dev")},
        cache_dir=str(tmp_path / "cache"),
        **columns,
    )
    assert {name: rows["text"][:] for name, rows in found.items()} == {"train": ["a", "b"], "validation": ["a"]}
    assert found["train"].column_names == ["audio", "text"]
    np.testing.assert_allclose(read_audio(found["train"][0]["audio"])[0], tone(), atol=1e-4)


# ---- texts ----------------------------------------------------------------------------------------------------------
def test_texts_are_normalized() -> None:
    splits = {"train": Dataset.from_dict({"audio": [{"path": "x", "bytes": None}], "text": [" What?  no [..] "]})}
    found = normalize_texts(splits, ignore=["?", "[", "]", "."], case=str.upper)["train"]["text"][:]
    assert found == ["WHAT NO"]
    with pytest.raises(ValueError, match=r"train row 1 \(x\): the transcript is empty"):
        normalize_texts(splits, ignore=list("What?no[].")[:])


def test_the_case_is_the_vocabulary_s() -> None:
    assert case_of(["a", "b", "|", "<S>"]) is str.lower
    assert case_of(["A", "B", "|", "<s>"]) is str.upper
    assert case_of(["A", "b"]) is str and case_of(["1", "|"]) is str


def test_characters_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, tone(), "abxz")
    assert "'x', 'z'" in said and "chars_to_ignore" in said


# ---- signals --------------------------------------------------------------------------------------------------------
def test_the_encoder_resamples_sounds_and_takes_arrays_as_they_are(tmp_path: Path) -> None:
    file = write(tmp_path, {"x.wav": tone(), "x.npy": tone(rate=8000)}, {"x.wav": "ab", "x.npy": "c"})
    rows = encoder(extractor=Wav2Vec2FeatureExtractor(sampling_rate=8000, do_normalize=False)).encode(
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
        (np.array("text"), "x.npy", "expected a waveform"),
    ],
)
def test_bad_signals_are_refused(signal: np.ndarray, name: str, message: str, tmp_path: Path) -> None:
    assert re.search(message, refused(tmp_path, signal, name=name))


def test_names_of_utterances() -> None:
    assert utterance_name("train", 0, {"audio": {"path": "a.wav"}}) == "train row 1 (a.wav)"
    assert utterance_name("test", 4, {"audio": {"path": None}}) == "test row 5"


# ---- features -------------------------------------------------------------------------------------------------------
def test_stored_features_are_stacked(tmp_path: Path) -> None:
    features = np.arange(21, dtype=np.float32).reshape(7, 3)
    file = write(tmp_path, {"x.npy": features}, {"x.npy": "ab"})
    (row,) = encoder(extractor=None, input_name="input_features", stack=2, dims=6).encode(
        load_speech_files({"train": file})
    )["train"]
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
    (row,) = encoder(extractor=extractor, input_name="input_features").encode(load_speech_files({"train": file}))[
        "train"
    ]
    full = extractor(tone(0.205), sampling_rate=RATE)
    assert row["length"] == full["attention_mask"].sum() and row["input_features"].shape[1] == 160


def test_only_training_audio_is_left_out_by_its_length(tmp_path: Path) -> None:
    signals = {f"{i}.wav": tone(0.1 * i) for i in (1, 2, 3)}
    file = write(tmp_path, signals, {name: "ab" * 30 if name == "3.wav" else "ab" for name in signals})
    splits = load_speech_files({"train": file, "validation": file})
    found = encoder(min_seconds=0.15, max_seconds=0.25).encode(splits)
    assert (found["train"]["row"][:].tolist(), len(found["validation"])) == ([1], 3)
    with pytest.raises(ValueError, match="no training utterance"):
        encoder(min_seconds=0.5).encode(splits)
    # The name is of the row in the file, not of the row that is left.
    kept = encoder(min_seconds=0.25).encode(splits)
    with pytest.raises(ValueError, match=r"train row 3 \(.*3.wav\): the transcript needs 60 frames"):
        require_frames(splits, {"train": kept["train"]}, lambda lengths: lengths // 320, blank=5)


# ---- batches --------------------------------------------------------------------------------------------------------
def test_waveforms_are_padded() -> None:
    rows = [
        {"input_values": np.ones(3, np.float32), "labels": np.array([7])},
        {"input_values": np.full(5, 2, np.float32), "labels": np.array([8, 9])},
    ]
    batch = SpeechCollator("input_values", pad_to_multiple_of=4)(rows)
    assert batch["input_values"].tolist() == [[1] * 3 + [0] * 5, [2] * 5 + [0] * 3]
    assert batch["attention_mask"].tolist() == [[1] * 3 + [0] * 5, [1] * 5 + [0] * 3]
    assert batch["labels"].tolist() == [[7, -100], [8, 9]]
    assert batch["labels"].dtype == torch.int64
    assert set(SpeechCollator("input_values", attention_mask=False)([{"input_values": np.ones(3)}])) == {"input_values"}


def test_features_are_padded() -> None:
    rows = [{"input_features": np.ones((2, 3))}, {"input_features": np.ones((4, 3))}]
    batch = SpeechCollator("input_features")(rows)
    assert batch["input_features"].shape == (2, 4, 3) and batch["input_features"][0].sum() == 6
    assert batch["attention_mask"].sum(1).tolist() == [2, 4]
    assert "labels" not in batch
