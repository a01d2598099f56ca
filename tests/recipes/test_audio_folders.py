"""Folders of audio with metadata files are read as datasets' audiofolder names its splits, without torchcodec."""

import json
from pathlib import Path

import pytest
import soundfile
from utterances import RATE, tone

from hf_squareloss.recipes.audio import read_audio
from hf_squareloss.recipes.audio_folders import is_audio_folder, read_audio_folder
from hf_squareloss.recipes.speech_files import load_named_speech


def lay_out(folder: Path, metadata: dict[str, list[tuple[str, str]]], kind: str = "csv") -> Path:
    """Metadata files by their folder, with the sound files that they name."""
    for place, rows in metadata.items():
        for name, _ in rows:
            (folder / place / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / place / name, tone(), RATE)
        lines = [f"{name},{text}" for name, text in rows]
        content = "\n".join(["file_name,text", *lines])
        if kind == "jsonl":
            content = "\n".join(json.dumps({"file_name": name, "text": text}) for name, text in rows)
        (folder / place / f"metadata.{kind}").write_text(content + "\n")
    return folder


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_metadata_in_each_split(kind: str, tmp_path: Path) -> None:
    rows = {"data/train": [("a.wav", "one"), ("deep/b.wav", "two")], "data/dev": [("c.wav", "three")]}
    folder = lay_out(tmp_path, rows, kind)
    assert is_audio_folder(folder)
    splits = load_named_speech(str(folder), None, {"train": "train", "validation": "validation"})
    assert {name: split["text"][:] for name, split in splits.items()} == {
        "train": ["one", "two"],
        "validation": ["three"],
    }
    for split in splits.values():
        for row in split:
            assert len(read_audio(row["audio"])[0]) == len(tone())  # type: ignore[index,call-overload]
    both = read_audio_folder(folder, {"train": "train+validation"})["train"]
    assert both["text"] == ["three", "one", "two"] or both["text"] == ["one", "two", "three"]


def test_one_metadata_file(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "split", {".": [("train/a.wav", "one"), ("test/b.wav", "two")]})
    found = read_audio_folder(folder, {"train": "train", "validation": None, "test": None})  # None: where there is one
    assert found["train"]["text"] == ["one"]
    assert found["test"] == {"audio": ["test/b.wav"], "text": ["two"]} and set(found) == {"train", "test"}
    flat = lay_out(tmp_path / "flat", {".": [("a.wav", "one"), ("b.wav", "two")]})
    assert read_audio_folder(flat, {"train": None, "test": None}) == {
        "train": {"audio": ["a.wav", "b.wav"], "text": ["one", "two"]}
    }
    with pytest.raises(ValueError, match="no split 'validation'"):
        read_audio_folder(flat, {"train": None, "validation": "validation"})
    with pytest.raises(ValueError, match="none of the splits validation, test"):
        read_audio_folder(flat, {"validation": None, "test": None})


def test_what_is_no_folder_of_audio(tmp_path: Path) -> None:
    assert not is_audio_folder("user/name") and not is_audio_folder(tmp_path)
    (tmp_path / "metadata.csv").write_text("name\nx\n")
    assert not is_audio_folder(tmp_path)


def test_metadata_with_other_columns_are_refused(tmp_path: Path) -> None:
    lay_out(tmp_path, {"train": [("a.wav", "one")], "test": [("b.wav", "two")]})
    (tmp_path / "test" / "metadata.csv").write_text("file_name,words\nb.wav,two\n")
    with pytest.raises(ValueError, match="has the columns"):
        read_audio_folder(tmp_path, {"train": "train"})
