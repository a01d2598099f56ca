"""Speech data: lists and sound files are read right, and whatever is wrong is refused with the utterance's name."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset
from utterances import RATE, refused, tone, write

from hf_squareloss.recipes.audio import read_audio
from hf_squareloss.recipes.row_names import PLACE
from hf_squareloss.recipes.speech_files import (
    case_of,
    load_named_speech,
    load_speech_files,
    normalize_texts,
    require_round_trip,
    without_bad,
)


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
    columns: dict[str, Any] = {"audio_column": "file", "text_column": "words"}
    rows: Any = load_speech_files({"train": str(tmp_path / "list.csv")}, **columns)["train"]
    (row,) = rows
    assert row["text"] == "a, b" and len(read_audio(row["audio"])[0]) == len(tone())


def test_a_test_split_may_have_no_texts(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text("audio\nx.wav\n")
    file = str(tmp_path / "list.tsv")
    assert load_speech_files({"test": file})["test"].column_names == ["audio", PLACE]
    with pytest.raises(ValueError, match="train split has no column 'text'"):
        load_speech_files({"train": file})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", "audio,text\n", "must end in .csv"),
        ("a.csv", "audio,text\n", "validation split is empty"),
        ("a.csv", "", "validation split is empty"),
        ("a.csv", "path,text\nx.wav,a\n", "no column 'audio'; it has path, text"),
        ("a.csv", "audio,text\nx.wav\n", "line 2 has 1"),
        ("a.csv", "audio,text\nx.wav,a\nx.wav,a,b\n", "line 3 has 3"),
        ("a.json", "[{", "cannot be read"),
        ("a.jsonl", '{"audio": "x.wav", "text": null}', r"validation row 1 \(.*x.wav\): the transcript is empty"),
        ("a.jsonl", '{"audio": "x.wav", "text": ["a"]}', "row 1: text must be text"),
        ("a.csv", "audio,text\n,a\n", "row 1: expected the path of an audio file"),
        ("a.csv", "audio,text,offset\nx.wav,a,1:30\n", "row 1: offset must be a number of seconds, got '1:30'"),
        ("a.csv", "audio,text,offset\nx.wav,a,-1\n", "row 1: offset must be"),
    ],
)
def test_bad_lists_are_refused(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        load_speech_files({"validation": str(tmp_path / name)})


def test_only_training_needs_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.tsv").write_text("audio\ttext\nx.wav\ta\ny.wav\t \nz.wav\t\n")
    file = str(tmp_path / "list.tsv")
    for split in ("validation", "test"):
        assert load_speech_files({split: file})[split]["text"][:] == ["a", " ", ""]
    with pytest.raises(ValueError, match=r"2 of 3 .* train row 2 .*y.wav.* empty; train row 3 .*--skip_bad_utterances"):
        load_speech_files({"train": file})
    assert load_speech_files({"train": file}, skip_bad=True)["train"]["text"][:] == ["a"]
    assert "Left out: 2 of 3 utterances of the train split" in capsys.readouterr().out


def test_numbers_are_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"audio": "x.wav", "text": 7}\n{"audio": "x.wav", "text": "two", "n": null}\n')
    assert load_speech_files({"train": str(tmp_path / "a.jsonl")})["train"]["text"][:] == ["7", "two"]


def test_segments_of_a_file(tmp_path: Path) -> None:
    """As NeMo's manifests name them."""
    write(tmp_path, {"x.wav": np.arange(RATE, dtype=np.float32) / RATE}, {"x.wav": "x"})
    segments = [(0.25, 0.5), (0.5, None), (None, 0.125), (None, None)]
    lines = [{"audio_filepath": "x.wav", "text": "a", "offset": a, "duration": b} for a, b in segments]
    (tmp_path / "m.json").write_text("\n".join(map(json.dumps, lines)))
    rows: Any = load_speech_files({"train": str(tmp_path / "m.json")}, audio_column="audio_filepath")["train"]
    found = [read_audio(row["audio"])[0] for row in rows]
    assert [len(signal) / RATE for signal in found] == [0.5, 0.5, 0.125, 1.0]
    assert [float(signal[0]) for signal in found] == pytest.approx([0.25, 0.5, 0, 0], abs=1e-4)
    (tmp_path / "d.json").write_text('{"audio": "x.wav", "text": "a", "duration": 0.25}')  # says how long the file is
    rows: Any = load_speech_files({"train": str(tmp_path / "d.json")})["train"]
    (row,) = rows
    assert len(read_audio(row["audio"])[0]) == RATE


def test_an_audio_root(tmp_path: Path) -> None:
    write(tmp_path / "clips", {"x.wav": tone()}, {"x.wav": "x"})
    (tmp_path / "list.csv").write_text("audio,text\nx.wav,a\n")
    rows: Any = load_speech_files({"train": str(tmp_path / "list.csv")}, audio_root=str(tmp_path / "clips"))["train"]
    (row,) = rows
    assert len(read_audio(row["audio"])[0]) == len(tone())


def test_audio_in_a_parquet_file(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, tone(), RATE, format="WAV")
    rows = Dataset.from_dict({"audio": [{"bytes": file.getvalue(), "path": "x.wav"}], "text": ["a"]})
    rows.to_parquet(tmp_path / "a.parquet")
    rows: Any = load_speech_files({"train": str(tmp_path / "a.parquet")})["train"]
    (row,) = rows
    np.testing.assert_allclose(read_audio(row["audio"])[0], tone(), atol=1e-4)


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
    columns: dict[str, Any] = {"audio_column": "sound", "text_column": "words"}
    found = load_named_speech(
        "parquet",
        None,
        {"train": "train", "validation": "dev"},
        data_files={split: str(tmp_path / "data" / f"{split}.parquet") for split in ("train", "dev")},
        cache_dir=str(tmp_path / "cache"),
        **columns,
    )
    assert {name: rows["text"][:] for name, rows in found.items()} == {"train": ["a", "b"], "validation": ["a"]}
    assert found["train"].column_names == ["audio", "text", PLACE]
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


def test_bad_rows_are_left_out_of_training_and_validation_alone(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Dataset.from_dict({"x": list(range(14))})
    assert without_bad(rows, {}, "train", skip=False) is rows
    assert without_bad(rows, {1: "one is bad"}, "validation", skip=True)["x"][:] == [0, *range(2, 14)]
    assert capsys.readouterr().out == "Left out: one is bad\n"
    for split, skip in (("train", False), ("test", True)):
        with pytest.raises(ValueError, match="^one is bad"):
            without_bad(rows, {1: "one is bad"}, split, skip=skip)
    with pytest.raises(ValueError, match="^12 of 14 .*: bad 0; bad 1; .*; bad 4; and 7 more.*--skip_bad_utterances"):
        without_bad(rows, {i: f"bad {i}" for i in range(12)}, "train", skip=False)
    with pytest.raises(ValueError, match="no utterance of the train split can be used"):
        without_bad(rows, {i: f"bad {i}" for i in range(14)}, "train", skip=True)


def test_transcripts_come_back_from_their_tokens() -> None:
    require_round_trip("a  b", " a b", "x")
    for decoded in ("a, b", "A b", "ab"):
        with pytest.raises(ValueError, match="train row 1: the tokenizer gives back"):
            require_round_trip("a b", decoded, "train row 1")


def test_characters_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    said = refused(tmp_path, tone(), "abxz")
    assert "'x', 'z'" in said and "chars_to_ignore" in said
