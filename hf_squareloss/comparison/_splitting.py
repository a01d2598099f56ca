"""One file of labelled rows becomes three: training, validation and test, the same ones every time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

SHARE = 0.1
_SEED = 0


def split_file(
    file: str | Path, parts: tuple[str, ...] = ("validation", "test"), *, label_column: str = "label"
) -> dict[str, str]:
    """Split rows off a file, a tenth for each of `parts`; all as JSON lines.

    A fixed seed shuffles the rows. Where labels are classes, parts have each class in its proportion, and the first row
    of every class is for training.

    Args:
        file: as `read_table` reads it.
        label_column: where the file has no such column, rows are split without regard to labels.

    Returns:
        train and each of `parts` -> the text of a file of it.

    Raises:
        ValueError: the file cannot be read, has too few rows, or holds bytes.
    """
    from hf_squareloss.recipes.tables import read_table

    table = read_table(file, "data")
    labels = table.get(label_column, [])
    order = _by_class(labels, len(next(iter(table.values()))))
    every = round(1 / SHARE)
    offsets = {part: every - 1 - number * (every // 2) for number, part in enumerate(reversed(parts))}
    taken = {part: sorted(order[offset::every]) for part, offset in offsets.items()}
    if not all(taken.values()):
        raise ValueError(f"{file} has too few rows to split {' and '.join(parts)} off: give them as files of their own")
    left = {row for rows in taken.values() for row in rows}
    taken["train"] = [row for row in range(len(next(iter(table.values())))) if row not in left]
    try:
        return {
            part: _lines({name: values[row] for name, values in table.items()} for row in taken[part])
            for part in ("train", *parts)
        }
    except TypeError as error:  # bytes, as of images in a parquet file
        raise ValueError(
            f"{file} holds what the parts, as JSON lines, cannot ({error}): give them as files of their own, "
            "--train_file, --validation_file and --test_file behind --"
        ) from error


def _by_class(labels: list[Any], count: int) -> list[int]:
    """Rows in the order in which parts take every tenth one: shuffled, and sorted by class where there are classes."""
    shuffled = np.random.default_rng(_SEED).permutation(count).tolist()
    if not _are_classes(labels):
        return shuffled
    rows = defaultdict(list)
    for row in shuffled:
        rows[labels[row]].append(row)
    return [row for name in sorted(rows) for row in rows[name][1:]]  # the first of each stays for training


def _are_classes(labels: list[Any]) -> bool:
    from hf_squareloss.recipes.labels import meaning_of

    if not labels or not all(isinstance(label, str) for label in labels):
        return False
    try:
        return meaning_of(labels).names is not None
    except ValueError:  # the script refuses such labels, and says why
        return False


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
