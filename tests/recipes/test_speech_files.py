"""Speech data: lists and sound files are read right, and whatever is wrong is refused with the utterance's name."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset
from utterances import RATE, refused, tone, write

from hf_squareloss.recipes.audio import read_audio
from hf_squareloss.recipes.speech_files import case_of, load_named_speech, load_speech_files, normalize_texts


# ---- lists ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl"])
def test_lists_of_files(kind: str, tmp_path: Path) -> None:
    signals = {"a/one.wav": tone(), "two.flac": tone(0.2)}
    file = write(tmp_path, signals, {"a/one.wav": "NA", "two.flac": "two words"}, kind)
    rows: Any = load_speech_files({"train": file})["train"]
    assert rows["text"][:] == ["NA", "two words"]  # "NA" is a word
    for row, signal in zip(rows, signals.values(), strict=True):
        found, rate = read_audio(row["audio"])
        assert rate == RATE
        np.testing.assert_allclose(found, signal, atol=1e-4)


def test_absolute_paths_and_other_column_names(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", {"x.wav": tone()}, {"x.wav": "x"})
    (tmp_path / "list.csv").write_text(f'file,words,speaker\n"{tmp_path / "elsewhere" / "x.wav"}","a, b",7\n')
    columns = {"audio_column": "file", "text_column": "words"}
    rows: Any = load_speech_files({"train": str(tmp_path / "list.csv")}, **columns)["train"]
    (row,) = rows
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
