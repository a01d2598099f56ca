"""Manifests: what they hold, and that bad input is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from manifests import write_manifests

RATE = 8000


def make(folder: Path, rows: list[tuple[str, str]]) -> dict[str, Any]:
    """Waveforms of 0.1 s for the names that end so, features of 20 x 3 for the others."""
    for name, _ in rows:
        if name.endswith(".wav"):
            soundfile.write(folder / name, np.zeros(RATE // 10, "float32"), RATE)
        else:
            np.save(folder / name, np.zeros((20, 3), "float32"))
    lines = ["path\ttext", *("\t".join(row) for row in rows)]
    (folder / "train.tsv").write_text("\n".join(lines) + "\n")
    return {
        "train_tsv": "train.tsv",
        "valid_tsv": None,
        "test_tsv": None,
        "characters": "ab ",
        "sample_rate": RATE,
        "feature_dim": 3,
        "valid_share": 0.25,
    }


def test_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    options = make(tmp_path, [("0.wav", "a")])
    (tmp_path / "train.tsv").write_text("file\ttext\n0.wav\ta\n")
    with pytest.raises(ValueError, match=r"needs the columns audio \(or path\) and text, and has \['file', 'text'\]"):
        write_manifests(tmp_path, tmp_path, **options)
    (tmp_path / "train.tsv").write_text("audio\ttext\n" + "".join(f"{n}.wav\ta\n" for n in range(4)))
    for n in range(4):
        soundfile.write(tmp_path / f"{n}.wav", np.zeros(RATE // 10, "float32"), RATE)
    assert len(json.loads(write_manifests(tmp_path, tmp_path, **options)["train"].read_text())) == 3


def test_lengths_texts_and_the_part_held_out(tmp_path: Path) -> None:
    options = make(tmp_path, [("0.wav", "a"), ("1.npy", "a b"), ("2.wav", 'b"a'.replace('"', " ")), ("3.wav", "b")])
    manifests = write_manifests(tmp_path, tmp_path, **options)
    assert list(manifests) == ["train", "valid"]
    train, valid = (json.loads(path.read_text()) for path in manifests.values())
    assert len(train) == 3 and len(valid) == 1 and not set(train) & set(valid)
    utterances = train | valid
    assert [utterances[name]["length"] for name in ("0.wav", "1.npy")] == [800, 20]
    assert utterances["1.npy"]["text"] == "a b" and Path(utterances["1.npy"]["path"]).exists()
    again = write_manifests(tmp_path, tmp_path, **options)
    assert json.loads(again["valid"].read_text()) == valid

    options |= {"valid_tsv": "train.tsv", "test_tsv": "train.tsv"}
    given = {
        name: json.loads(path.read_text()) for name, path in write_manifests(tmp_path, tmp_path, **options).items()
    }
    assert list(given) == ["train", "valid", "test"] and all(len(rows) == 4 for rows in given.values())


@pytest.mark.parametrize(
    ("row", "changes", "message"),
    [
        (("bad.wav", "abc"), {}, r"bad.wav.*\['c'\]"),
        (("bad.wav", " "), {}, "bad.wav.*empty"),
        (("bad.wav", "a"), {"sample_rate": 16000}, "16000 Hz"),
        (("bad.npy", "a"), {"feature_dim": 4}, r"bad.npy.*\(frames, 4\)"),
    ],
)
def test_bad_utterances_are_named(tmp_path: Path, row: tuple[str, str], changes: dict[str, Any], message: str) -> None:
    options = make(tmp_path, [row, ("good.npy", "a"), ("other.npy", "b")])
    with pytest.raises(ValueError, match=message):
        write_manifests(tmp_path, tmp_path, **options | changes)


def test_waveforms_without_samples_and_with_two_channels(tmp_path: Path) -> None:
    options = make(tmp_path, [("bad.wav", "a"), ("good.npy", "a")])
    write_manifests(tmp_path, tmp_path, **options)
    for samples in (np.zeros(0, "float32"), np.zeros((800, 2), "float32")):
        soundfile.write(tmp_path / "bad.wav", samples, RATE)
        with pytest.raises(ValueError, match="bad.wav"):
            write_manifests(tmp_path, tmp_path, **options)


def test_nothing_left_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="valid_tsv"):
        write_manifests(tmp_path, tmp_path, **make(tmp_path, [("0.wav", "a")]))
    with pytest.raises(ValueError, match="no utterance"):
        write_manifests(tmp_path, tmp_path, **make(tmp_path, []))
