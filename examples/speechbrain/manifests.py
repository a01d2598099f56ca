"""SpeechBrain's JSON manifests from tab-separated files of paths and transcripts."""

import csv
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import soundfile


def write_manifests(
    data_folder: str | Path,
    output_folder: str | Path,
    *,
    train_tsv: str,
    valid_tsv: str | None,
    test_tsv: str | None,
    characters: str,
    sample_rate: int,
    feature_dim: int,
    valid_share: float,
) -> dict[str, Path]:
    """Writes train.json, valid.json and, where there is a test set, test.json to `output_folder`.

    Each utterance has a path, its length (samples, or frames of stored features) and its text. Without `valid_tsv`
    every run holds out the same `valid_share` of train.

    Args:
        data_folder: what the names of the files and the paths in them are relative to.
        train_tsv, valid_tsv, test_tsv: files with the columns audio (or path) and text.
        characters: what a text may hold.
        sample_rate: of the waveforms, in Hz.
        feature_dim: columns of the stored features (.npy).

    Returns:
        The manifests by their names.

    Raises:
        ValueError: naming the file: an empty transcript, a character that is not in `characters`, an empty waveform or
            one of another rate, features of another shape.
    """
    rows = {
        name: read_rows(Path(data_folder), tsv, characters, sample_rate, feature_dim)
        for name, tsv in (("train", train_tsv), ("valid", valid_tsv), ("test", test_tsv))
        if tsv is not None
    }
    if "valid" not in rows:
        rows["train"], rows["valid"] = hold_out(rows["train"], valid_share)
    manifests = {}
    for name, utterances in rows.items():
        manifests[name] = Path(output_folder) / f"{name}.json"
        manifests[name].write_text(json.dumps(utterances, indent=1))
    return manifests


def read_rows(folder: Path, tsv: str, characters: str, sample_rate: int, feature_dim: int) -> dict[str, dict[str, Any]]:
    utterances: dict[str, dict[str, Any]] = {}
    with open(folder / tsv, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        columns = set(reader.fieldnames or ())
        place = next((name for name in ("audio", "path") if name in columns), None)
        if place is None or "text" not in columns:
            raise ValueError(f"{folder / tsv} needs the columns audio (or path) and text, and has {reader.fieldnames}")
        for row in reader:
            path = folder / row[place]
            unknown = sorted(set(row["text"]) - set(characters))
            if not row["text"].strip() or unknown:
                what = f"the characters {unknown}, which are not in `characters`" if unknown else "an empty transcript"
                raise ValueError(f"{path} has {what}")
            length = num_frames(path, feature_dim) if path.suffix == ".npy" else num_samples(path, sample_rate)
            utterances[row[place]] = {"path": str(path), "length": length, "text": row["text"]}
    if not utterances:
        raise ValueError(f"{folder / tsv} names no utterance")
    return utterances


def num_samples(path: Path, sample_rate: int) -> int:
    info = soundfile.info(str(path))
    if info.samplerate != sample_rate or info.channels != 1 or not info.frames:
        raise ValueError(
            f"{path} must be a waveform of one channel at {sample_rate} Hz, got {info.frames} samples of "
            f"{info.channels} at {info.samplerate} Hz: give --sample_rate or convert it"
        )
    return info.frames


def num_frames(path: Path, feature_dim: int) -> int:
    shape = np.load(path, mmap_mode="r").shape
    if len(shape) != 2 or shape[1] != feature_dim or not shape[0]:
        raise ValueError(f"{path} must hold features (frames, {feature_dim}), got {shape}: give --feature_dim")
    return shape[0]


def hold_out(utterances: dict[str, Any], share: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """Splits utterances into those kept and a share held out, the same at every call."""
    held_out = set(random.Random(0).sample(sorted(utterances), max(1, round(share * len(utterances)))))
    if len(held_out) == len(utterances):
        raise ValueError("one utterance is not enough to hold some out: give --valid_tsv")
    return (
        {name: u for name, u in utterances.items() if name not in held_out},
        {name: u for name, u in utterances.items() if name in held_out},
    )
