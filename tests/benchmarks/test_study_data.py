"""The parts of the study's data sets: disjoint, of the sizes given, and the same each time."""

import csv
import gzip
import importlib
import json
import wave
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PARTS = ("train", "validation", "test")
data: Any = importlib.import_module("study_data")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Sets of 400 rows for training and 50 for test, all texts different; a class that only test has."""
    folder = tmp_path / "sources"
    for name in ("trec", "mrpc"):
        (folder / name).mkdir(parents=True)
        for split, count in (("train", 900), ("test", 50), ("validation", 40)):
            lines = [f'{split} {i}: "what"  {name}?\tpair {i}\t{i % 3}\t{i % 7}\t{i % 2}' for i in range(count)]
            lines += [f"{split} rare\tpair\trare\trare\t0"] if split == "test" else []
            text = "\n".join(["text\ttext_pair\tcoarse\tfine\tlabel", *lines]) + "\n"
            (folder / name / f"{split}.tsv").write_text(text, encoding="utf8")
    (folder / "20newsgroups").mkdir()
    for split in ("train", "test"):
        lines = [{"text": f"{split} {i}\n\nmore" if i else " ", "group": f"g{i % 5}"} for i in range(1_200)]
        with gzip.open(folder / "20newsgroups" / f"{split}.jsonl.gz", "wt", encoding="utf8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    return folder


def test_parts_of_texts_are_disjoint_and_the_same_each_time(sources: Path, tmp_path: Path) -> None:
    for output in ("once", "again"):
        data.main([str(sources), "--output_dir", str(tmp_path / output), "--sets", "trec", "trec50", "mrpc"])
    for name, sizes in (("trec", (355, 545, 50)), ("trec50", (355, 545, 50)), ("mrpc", (900, 40, 51))):
        parts = [rows(tmp_path / "once" / name / f"{part}.tsv") for part in PARTS]
        assert tuple(map(len, parts)) == sizes
        assert len({row["text"] for part in parts for row in part}) == sum(sizes)
        for part in PARTS:
            files = [(tmp_path / output / name / f"{part}.tsv").read_bytes() for output in ("once", "again")]
            assert files[0] == files[1]
    train = rows(tmp_path / "once/trec50/train.tsv")
    assert {row["label"] for row in train} == set("0123456")  # and not the class that test alone has
    assert '"what" trec?' in train[0]["text"] and list(train[0]) == ["text", "label"]
    assert list(rows(tmp_path / "once/mrpc/train.tsv")[0]) == ["text", "text_pair", "label"]


def test_rows_are_drawn_after_shuffling(sources: Path) -> None:
    texts = replace(data.TEXTS["trec"], validation=100, rows=60, test_rows=30)
    parts = data.text_parts(texts, sources / "trec")
    assert [len(parts[part]) for part in PARTS] == [
        60,
        100,
        29,
    ]  # a row of the rare class went
    places = [int(row["text"].split(":")[0].split()[1]) for row in parts["train"]]
    assert places != sorted(places) and max(places) > 600


def test_empty_texts_of_newsgroups_are_left_out(sources: Path, tmp_path: Path) -> None:
    data.main([str(sources), "--output_dir", str(tmp_path), "--sets", "20newsgroups"])
    read = {
        part: [json.loads(line) for line in (tmp_path / f"20newsgroups/{part}.jsonl").read_text("utf8").splitlines()]
        for part in PARTS
    }
    assert {part: len(of_part) for part, of_part in read.items()} == {"train": 199, "validation": 1000, "test": 1199}
    assert all(row["text"].strip() for of_part in read.values() for row in of_part)
    assert max(Counter(row["text"] for of_part in read.values() for row in of_part).values()) == 1


def test_a_set_that_is_missing_is_named_and_the_others_are_made(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        data.main([str(sources), "--output_dir", str(tmp_path), "--sets", "cola", "cifar10", "mnist", "fsdd", "trec"])
    said = capsys.readouterr().err
    for name in ("cola", "cifar10", "mnist", "fsdd"):
        assert f"{name}: {sources / name}" in said
    assert "trec" not in said.replace(str(sources), "") and (tmp_path / "trec/train.tsv").exists()


def test_long_texts_are_cut_one_behind_the_other(sources: Path, tmp_path: Path) -> None:
    with gzip.open(sources / "20newsgroups/train.jsonl.gz", "wt", encoding="utf8") as file:
        file.writelines(json.dumps({"text": f"{i:05d} " * 500, "group": "g"}) + "\n" for i in range(400))
    data.main([str(sources), "--output_dir", str(tmp_path), "--sets", "characters"])
    train, validation, test = ((tmp_path / f"characters/{part}.txt").read_text("utf8") for part in PARTS)
    assert (len(train), len(validation)) == (1_000_000, 100_000) and set(test[:4]) <= set("test ")
    assert not set(train.split()[:-1]) & set(validation.split()[500:])  # but for the text that is cut


def test_digits_are_all_there_once(tmp_path: Path) -> None:
    data.main([str(tmp_path), "--output_dir", str(tmp_path), "--sets", "digits"])
    counts = [len(list((tmp_path / "digits" / part).glob("*/*.png"))) for part in PARTS]
    assert counts == [1_000, 297, 500] and len(list((tmp_path / "digits/test").iterdir())) == 10


def test_strings_of_digits_have_silence_around_each(tmp_path: Path) -> None:
    folder = tmp_path / "sources/fsdd"
    folder.mkdir(parents=True)
    for digit in range(3):
        with wave.open(str(folder / f"{digit}.wav"), "wb") as file:
            file.setparams((1, 2, 8_000, 0, "NONE", ""))
            file.writeframes(bytes([digit + 1, 0]) * 800)
    for split in ("train", "test"):
        lines = ["text\tpaths", *(f"zero two {i}\t0.wav,2.wav" for i in range(150))]
        (folder / f"strings_{split}.tsv").write_text("\n".join(lines) + "\n")
    data.main([str(tmp_path / "sources"), "--output_dir", str(tmp_path), "--sets", "fsdd_strings"])
    parts = [rows(tmp_path / f"fsdd_strings/{part}.tsv") for part in PARTS]
    assert list(map(len, parts)) == [50, 100, 150]
    assert not {row["text"] for row in parts[0]} & {row["text"] for row in parts[1]}
    with wave.open(str(tmp_path / "fsdd_strings" / parts[1][0]["audio"])) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert file.getframerate() == 8_000
    assert samples.tolist() == [0] * 800 + [1] * 800 + [0] * 800 + [3] * 800 + [0] * 800


def test_speakers_held_out_are_in_no_other_part(tmp_path: Path) -> None:
    folder = tmp_path / "sources/an4_mfcc"
    folder.mkdir(parents=True)
    of_split = {split: [f"{split}{i}" for i in range(64)] for split in ("train", "test")}
    lines = ["id\tsplit\tspeaker\ttext"]
    for split, names in of_split.items():
        arrays: Any = {name: np.full((4, 13), 0.5) for name in names}
        np.savez(folder / f"{split}.npz", **arrays)
        lines += [f"{name}\t{split}\t{split}{place % 16}\tword" for place, name in enumerate(names)]
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n")
    data.main([str(tmp_path / "sources"), "--output_dir", str(tmp_path), "--sets", "an4"])
    parts = [rows(tmp_path / f"an4/{part}.tsv") for part in PARTS]
    assert list(map(len, parts)) == [56, 8, 64]
    speakers = [{int(Path(row["audio"]).stem.removeprefix("train")) % 16 for row in part} for part in parts[:2]]
    assert not speakers[0] & speakers[1]
    features = np.load(tmp_path / "an4" / parts[0][0]["audio"])
    assert features.dtype == np.float32 and features.shape == (4, 13)
