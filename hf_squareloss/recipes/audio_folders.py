"""Folders of audio with metadata files, the layout that datasets calls audiofolder; read here without torchcodec."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from hf_squareloss.recipes.tables import Columns, read_table

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
# What datasets takes for a split, in the names of folders.
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}


def is_audio_folder(name: str | Path) -> bool:
    """Whether this is a folder with metadata files of audio: their column `file_name` holds paths.

    datasets cannot read it without torchcodec (5.2).
    """
    files = _metadata_files(Path(name))
    return bool(files) and "file_name" in read_table(files[0])


def read_audio_folder(folder: str | Path, split_names: Mapping[str, str | None]) -> dict[str, Columns]:
    """The metadata of each split as columns, with `audio`, paths relative to `folder`, for `file_name`.

    A split's rows are those whose path has the split's name as a folder; where no path has any, all are "train".

    Args:
        split_names: our split name -> "train", "validation", "test", or another name of a folder; several with +
            between. None: ours, where there is one.

    Raises:
        ValueError: no row of a split that is named, or of any; metadata files with different columns.
    """
    rows = _rows(Path(folder))
    found = {split: _rows_of(rows, theirs or split) for split, theirs in split_names.items()}
    missing = next((theirs for split, theirs in split_names.items() if theirs and not found[split]), None)
    if missing is not None:
        raise ValueError(f"{folder} has no split {missing!r}: no path in its metadata has a folder of that name")
    if not any(found.values()):
        raise ValueError(
            f"{folder} has none of the splits {', '.join(found)}: no path in its metadata has a folder of that name; "
            "say which by the options that end in split_name"
        )
    return {split: {name: [row[name] for row in part] for name in part[0]} for split, part in found.items() if part}


def _rows(folder: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    names: list[str] | None = None
    for file in _metadata_files(folder):
        table = read_table(file)
        if names is not None and set(names) != set(table):
            raise ValueError(f"{file} has the columns {', '.join(table)}, others {', '.join(names)}")
        names = list(table)
        for values in zip(*table.values(), strict=True):
            row = dict(zip(table, values, strict=True))
            path = os.path.relpath(file.parent / str(row.pop("file_name")), folder)
            rows.append({"audio": path, **row})
    return rows


def _rows_of(rows: list[dict[str, object]], split: str) -> list[dict[str, object]]:
    wanted = {name for part in split.split("+") for name in _SPLITS.get(part, (part,))}
    every = {name for names_of_split in _SPLITS.values() for name in names_of_split} | wanted
    folders = [set(Path(str(row["audio"])).parts[:-1]) for row in rows]
    if not any(parts & every for parts in folders) and "train" in wanted:
        return rows
    return [row for row, parts in zip(rows, folders, strict=True) if parts & wanted]


def _metadata_files(folder: Path) -> list[Path]:
    return sorted(path for name in _METADATA for path in folder.rglob(name)) if folder.is_dir() else []
