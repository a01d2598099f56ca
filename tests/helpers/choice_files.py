"""Files of a toy task of multiple choice: the right choice has the word of the context once more."""

import csv
import random
from pathlib import Path
from typing import Any

import torch
from tiny_text_model import BAD, GOOD, OTHER, save_tiny_model
from transformers import BertForMultipleChoice

WORDS = [*GOOD, *BAD]
COLUMNS = ["sent1", "sent2", "ending0", "ending1", "ending2", "label"]


def questions(count: int, seed: str) -> list[dict[str, Any]]:
    generator = random.Random(seed)
    rows = []
    for _ in range(count):
        kinds = [WORDS[:6], WORDS[6:]]
        generator.shuffle(kinds)
        endings = [generator.choice(kinds[0]), *generator.choices(kinds[1], k=2)]
        places = generator.sample(range(3), 3)
        row = {"sent1": f"{generator.choice(OTHER)} {generator.choice(kinds[0])}", "sent2": generator.choice(OTHER)}
        row |= {f"ending{place}": ending for place, ending in zip(places, endings, strict=True)}
        rows.append({**row, "label": places[0]})
    return rows


def write_questions(path: Path, rows: list[dict[str, Any]], columns: list[str] = COLUMNS) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def write_files(folder: Path) -> list[str]:
    """The options that name the files."""
    options = []
    for split, count in (("train", 256), ("validation", 48), ("test", 48)):
        write_questions(folder / f"{split}.csv", questions(count, split))
        options += [f"--{split}_file", str(folder / f"{split}.csv")]
    return options


def save_tiny_chooser(folder: Path) -> str:
    """A BERT whose embeddings tell the two kinds of words apart: what is to be learnt is to compare."""
    save_tiny_model(folder, num_labels=1)
    model = BertForMultipleChoice.from_pretrained(folder)
    torch.manual_seed(0)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[5:11, :8] += 1.0
        model.bert.embeddings.word_embeddings.weight[11:17, :8] -= 1.0
    model.save_pretrained(folder)
    return str(folder)
