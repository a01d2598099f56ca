"""Make the train, validation and test parts of the study's data sets, each the same wherever it is made.

    python benchmarks/study_data.py SOURCES --output_dir data

SOURCES holds one folder for each public data set, with its rows as they were published; what is missing is left out,
and named at the end. model_cards/NAME/study.yaml expects the parts in data/, at the top of the repository. A run of a
study is known by the content of its files, so parts that differ are seen at once.
"""

import argparse
import csv
import gzip
import io
import json
import random
import shutil
import wave
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, str]
Parts = dict[str, list[Row]]
SEED = 0


@dataclass(frozen=True)
class Texts:
    """How the parts of a set of labelled texts are cut from its published files.

    Attributes:
        folder: below SOURCES.
        train, test: names of tab-separated files with a header and no quotes.
        label: the column of the label.
        validation: the name of a file, or how many rows of `train`, drawn at random, are cut off for it.
        rows: of `train`, after shuffling; None for all in their order.
        test_rows: of `test`, drawn at random; None for all.
        columns: what is kept beside the label.
    """

    folder: str
    train: str
    test: str
    validation: str | int
    label: str = "label"
    rows: int | None = None
    test_rows: int | None = None
    columns: tuple[str, ...] = ("text",)


TEXTS = {
    "mrpc": Texts("mrpc", "train", "test", "validation", columns=("text", "text_pair")),
    "rte": Texts("rte", "train", "validation", 300, columns=("text", "text_pair")),
    "cola": Texts("cola", "train", "validation", 800, rows=4000),
    "sst2": Texts("sst2_sentences", "train", "test", "validation", rows=4000),
    "trec": Texts("trec", "train", "test", 545, label="coarse"),
    "trec50": Texts("trec", "train", "test", 545, label="fine"),
    "ag_news": Texts("ag_news", "train_10k", "test", 800, rows=3000, test_rows=2000),
    "banking77": Texts("banking77", "train", "test", 1000, label="intent", rows=4000, test_rows=1540),
    "movie": Texts("vader_sentiment", "movie_train", "movie_test", 800, rows=4000),
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", type=Path)
    parser.add_argument("--output_dir", type=Path, default=Path("data"))
    parser.add_argument("--sets", nargs="+", choices=sorted(SETS), default=sorted(SETS))
    args = parser.parse_args(argv)
    missing = []
    for name in args.sets:
        try:
            SETS[name](args.sources, args.output_dir / name)
        except FileNotFoundError as error:
            missing.append(f"{name}: {error.filename} is missing")
    if missing:
        parser.exit(1, "\n".join(missing) + "\n")


def cut(rows: Iterable[Any], count: int) -> tuple[list[Any], list[Any]]:
    """Rows in a random order, the same each time, as (the rest, the first `count`)."""
    shuffled = list(rows)
    random.Random(SEED).shuffle(shuffled)
    return shuffled[count:], shuffled[:count]


def text_parts(texts: Texts, folder: Path) -> Parts:
    """The parts of a set of texts; classes that training does not have are left out of the others."""

    def rows(name: str) -> list[Row]:
        read = read_table(folder / f"{name}.tsv")
        return [{**{name: row[name] for name in texts.columns}, "label": row[texts.label]} for row in read]

    train, test = rows(texts.train), rows(texts.test)
    if isinstance(texts.validation, str):
        validation = rows(texts.validation)
        train = train if texts.rows is None else cut(train, 0)[0]
    else:
        train, validation = cut(train, texts.validation)
    train = train[: texts.rows]
    if texts.test_rows is not None:
        test = cut(test, texts.test_rows)[1]
    known = {row["label"] for row in train}
    return {
        "train": train,
        "validation": [row for row in validation if row["label"] in known],
        "test": [row for row in test if row["label"] in known],
    }


def write_texts(parts: Parts, folder: Path) -> None:
    """Tab-separated files; white space within a text is one space."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        lines = [
            "\t".join(" ".join(value.split()) for value in row.values()) for row in [{n: n for n in rows[0]}, *rows]
        ]
        (folder / f"{part}.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf8")


def newsgroups(sources: Path, folder: Path) -> None:
    """20 Newsgroups by date, without headers, footers and quotes; empty texts are left out; 1,500 of the test texts.

    The published test texts stand group by group, so the first of them would be of a few groups.
    """

    def rows(part: str) -> list[Row]:
        with gzip.open(sources / "20newsgroups" / f"{part}.jsonl.gz", "rt", encoding="utf8") as file:
            read = [json.loads(line) for line in file]
        return [{"text": row["text"], "label": row["group"]} for row in read if row["text"].strip()]

    train, validation = cut(rows("train"), 1000)
    folder.mkdir(parents=True, exist_ok=True)
    for part, of_part in (("train", train), ("validation", validation), ("test", cut(rows("test"), 1500)[1])):
        lines = "".join(json.dumps(row) + "\n" for row in of_part)
        (folder / f"{part}.jsonl").write_text(lines, encoding="utf8")


def mnist(sources: Path, folder: Path) -> None:
    """5,000 of MNIST's training images, 500 of them for validation, and 2,000 of the test images."""
    import numpy as np

    found = np.load(sources / "mnist" / "mnist.npz")
    train, test = (np.random.default_rng(SEED).permutation(count) for count in (5_000, 10_000))
    parts = {"train": ("train", train[500:]), "validation": ("train", train[:500]), "test": ("test", test[:2000])}
    for part, (published, order) in parts.items():
        write_images(found[f"x_{published}"][order], found[f"y_{published}"][order], folder / part)


def cifar10(sources: Path, folder: Path) -> None:
    """The first 5,000 of CIFAR-10's (shuffled) training images, 1,000 of them for validation, and 2,000 for test."""
    import numpy as np
    import pyarrow.parquet as parquet
    from PIL import Image

    for published, parts in (
        ("train", {"train": slice(4000), "validation": slice(4000, 5000)}),
        ("test", {"test": slice(2000)}),
    ):
        with (sources / "cifar10" / f"{published}.parquet").open("rb") as file:
            table = parquet.read_table(file)
        for part, chosen in parts.items():
            rows, labels = table["image"].to_pylist()[chosen], table["label"].to_pylist()[chosen]
            images = [np.asarray(Image.open(io.BytesIO(row["bytes"])).convert("RGB")) for row in rows]
            write_images(images, labels, folder / part)


def write_images(images: Sequence[Any], labels: Sequence[int], folder: Path) -> None:
    """PNG files, in a folder for each class."""
    from PIL import Image

    for place, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        of_class = folder / str(label)
        of_class.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(of_class / f"{place:05d}.png")


def fsdd(sources: Path, folder: Path) -> None:
    """The Free Spoken Digit Dataset by its own split, 300 of the training recordings for validation."""
    rows = read_table(sources / "fsdd" / "metadata.tsv")
    train, validation = cut([row for row in rows if row["split"] == "train"], 300)
    test = [row for row in rows if row["split"] == "test"]
    for part, of_part in (("train", train), ("validation", validation), ("test", test)):
        for row in of_part:
            of_class = folder / part / row["text"]
            of_class.mkdir(parents=True, exist_ok=True)
            shutil.copy(sources / "fsdd" / row["path"], of_class)


def fsdd_strings(sources: Path, folder: Path) -> None:
    """Strings of 2 to 6 spoken digits of one speaker, with 0.1 seconds of silence between them, 8 kHz."""
    for split, parts in (("train", ("train", "validation")), ("test", ("test",))):
        rows = read_table(sources / "fsdd" / f"strings_{split}.tsv")
        rest, first = cut(rows, 100) if split == "train" else (rows, [])
        for part, of_part in zip(parts, (rest, first), strict=False):
            (folder / part).mkdir(parents=True, exist_ok=True)
            lines = ["audio\ttext"]
            for place, row in enumerate(of_part):
                name = f"{part}/{place:04d}.wav"
                join_recordings([sources / "fsdd" / path for path in row["paths"].split(",")], folder / name)
                lines.append(f"{name}\t{row['text']}")
            (folder / f"{part}.tsv").write_text("\n".join(lines) + "\n", encoding="utf8")


def join_recordings(paths: Sequence[Path], path: Path, *, gap: float = 0.1) -> None:
    """One wav file of several of 16 bits and one channel, with `gap` seconds of silence before, between and behind."""
    with wave.open(str(paths[0])) as first:
        silence = bytes(2 * int(gap * first.getframerate()))
        parts, parameters = [silence], first.getparams()
    for each in paths:
        with wave.open(str(each)) as recording:
            parts += [recording.readframes(recording.getnframes()), silence]
    with wave.open(str(path), "wb") as joined:
        joined.setparams(parameters)
        joined.writeframes(b"".join(parts))


def an4(sources: Path, folder: Path) -> None:
    """AN4 as cepstral features, 100 frames of 13 values a second; an eighth of the training speakers for validation."""
    import numpy as np

    rows = read_table(sources / "an4_mfcc" / "metadata.tsv")
    speakers = sorted({row["speaker"] for row in rows if row["split"] == "train"})
    random.Random(SEED).shuffle(speakers)
    held_out = speakers[: len(speakers) // 8]
    (folder / "features").mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {part: ["audio\ttext"] for part in ("train", "validation", "test")}
    for split in ("train", "test"):
        features = np.load(sources / "an4_mfcc" / f"{split}.npz")
        for row in (row for row in rows if row["split"] == split):
            name = f"features/{row['id']}.npy"
            np.save(folder / name, features[row["id"]].astype("f4"))
            part = "validation" if row["speaker"] in held_out and split == "train" else split
            lines[part].append(f"{name}\t{row['text']}")
    for part, of_part in lines.items():
        (folder / f"{part}.tsv").write_text("\n".join(of_part) + "\n", encoding="utf8")


def digits(_: Path, folder: Path) -> None:
    """scikit-learn's digits, 8 x 8 pixels: 1,000 for training, 297 for validation, 500 for test."""
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    images, labels = (found.images * 255 / 16).round().astype("uint8"), found.target
    rest, test = cut(range(len(labels)), 500)
    for part, rows in (("train", rest[297:]), ("validation", rest[:297]), ("test", test)):
        write_images(images[rows], labels[rows], folder / part)


def characters(sources: Path, folder: Path) -> None:
    """The texts of 20 Newsgroups as long texts: a million characters for training, 100,000 for each other part."""
    folder.mkdir(parents=True, exist_ok=True)
    for published, parts in (("train", {"train": 1_000_000, "validation": 100_000}), ("test", {"test": 100_000})):
        with gzip.open(sources / "20newsgroups" / f"{published}.jsonl.gz", "rt", encoding="utf8") as file:
            texts, _ = cut([json.loads(line)["text"] for line in file], 0)
        text, start = "\n".join(" ".join(each.split()) for each in texts), 0
        for part, length in parts.items():
            (folder / f"{part}.txt").write_text(text[start : start + length], encoding="utf8")
            start += length


def read_table(path: Path) -> list[Row]:
    """Rows of a tab-separated file with a header and no quotes."""
    with path.open(encoding="utf8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def _texts(name: str) -> Callable[[Path, Path], None]:
    return lambda sources, folder: write_texts(text_parts(TEXTS[name], sources / TEXTS[name].folder), folder)


SETS: dict[str, Callable[[Path, Path], None]] = {
    **{name: _texts(name) for name in TEXTS},
    "20newsgroups": newsgroups,
    "an4": an4,
    "characters": characters,
    "cifar10": cifar10,
    "digits": digits,
    "fsdd": fsdd,
    "fsdd_strings": fsdd_strings,
    "mnist": mnist,
}


if __name__ == "__main__":
    main()
