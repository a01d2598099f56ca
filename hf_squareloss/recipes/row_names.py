"""What errors call a row of images or sounds: its place in the data that were given, whatever is chosen of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

PLACE = "place"


def with_places(rows: Dataset, split: str) -> Dataset:
    """The rows of a split with a column `PLACE`, before any of them are chosen or left out."""
    places = [f"{split} row {number}" for number in range(1, len(rows) + 1)]
    return rows.add_column(PLACE, places)  # type: ignore[call-arg,arg-type]


def row_name(row: Mapping[str, Any], kind: str, split: str, index: int) -> str:
    """The place of a row where it has one, else its split and number (the first is 1); and its path where there is one.

    Args:
        kind: the column of the file, "image" or "audio".
    """
    path = row[kind]["path"]
    return (row.get(PLACE) or f"{split} row {index + 1}") + (f" ({path})" if path else "")


def only(rows: Dataset, kind: str) -> Dataset:
    """The column of the file, and `PLACE` where there is one."""
    return rows.select_columns([column for column in (kind, PLACE) if column in rows.column_names])
