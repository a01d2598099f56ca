"""Images or sounds with classes in one shape: splits with the columns image or audio, undecoded, label, and `PLACE`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.audio_folders import is_audio_folder, read_audio_folder
from hf_squareloss.recipes.class_folders import read_class_folder
from hf_squareloss.recipes.classification import ClassificationData, classification_data
from hf_squareloss.recipes.hub_splits import load_splits
from hf_squareloss.recipes.row_names import with_places
from hf_squareloss.recipes.speech_files import file_entries
from hf_squareloss.recipes.tables import Columns, read_table, to_dataset

if TYPE_CHECKING:
    from datasets import Dataset


def load_class_folders(folders: Mapping[str, str], kind: str) -> ClassificationData:
    """Files in folders by class, as `read_class_folder` says.

    Args:
        folders: split name -> path.
        kind: "image" or "audio".
    """
    tables = {split: read_class_folder(folder, split, kind) for split, folder in folders.items()}
    return _data({split: _listed(table, split, ".", kind, kind) for split, table in tables.items()}, kind)


def load_listed(
    files: Mapping[str, str],
    kind: str,
    *,
    column: str | None = None,
    label_column: str = "label",
    root: str | None = None,
) -> ClassificationData:
    """Files listed in tables, one per split, as `read_table` reads them.

    Args:
        files: split name -> path of the table.
        kind: "image" or "audio"; a list of sounds may name segments by `offset` and `duration` in seconds.
        column: the column of the paths; default: called like the kind.
        label_column: the column of the class, or several of 0 or 1 with commas between; the test split may lack it.
        root: the folder at which relative paths start; default: the folder of the list.

    Raises:
        ValueError: as `read_table` and `classification_data`, or a missing path.
    """
    tables = {split: read_table(file, split) for split, file in files.items()}
    splits = {
        split: _listed(table, split, root or Path(files[split]).parent, kind, column or kind)
        for split, table in tables.items()
    }
    return _data(splits, kind, label_column)


def load_named_media(
    name: str,
    config: str | None,
    kind: str,
    *,
    column: str | None = None,
    label_column: str = "label",
    split_names: Mapping[str, str | None],
    **load_options: Any,
) -> ClassificationData:
    """A data set of the Hub, or a folder that `datasets.load_dataset` reads, or one of sounds with metadata files.

    Args:
        column: the column of the images or sounds; default: called like the kind.
        split_names: as for `load_splits`.
        load_options: passed to `datasets.load_dataset` (cache_dir, token, revision, ...).

    Raises:
        ValueError: as `load_splits` and `classification_data`.
    """
    from datasets import Audio, Image

    if kind == "audio" and is_audio_folder(name):
        tables = read_audio_folder(name, {"train": None, "validation": None, "test": None, **split_names})
        listed = {split: _listed(table, split, name, kind, column or kind) for split, table in tables.items()}
        return _data(listed, kind, label_column)
    splits: dict[str, Any] = load_splits(name, config, split_names, **load_options)
    undecoded = Image(decode=False) if kind == "image" else Audio(decode=False)
    for split, rows in splits.items():
        if (column or kind) in rows.column_names:
            splits[split] = rows.cast_column(column or kind, undecoded)
    return _data(splits, kind, label_column, column)


def _listed(table: Columns, split: str, root: str | Path, kind: str, column: str) -> Dataset:
    """A table of paths as a Dataset: the column `kind` of paths and bytes, and all others as they are."""
    from datasets import Dataset, Features, concatenate_datasets

    if column not in table:
        raise ValueError(f"the {split} split has no column {column!r}; it has {', '.join(table)}")
    entries, feature = file_entries(table, split, root, column, kind)
    rows = Dataset.from_dict({kind: entries}, features=Features({kind: feature}))
    others = {name: values for name, values in table.items() if name not in {kind, column, "offset", "duration"}}
    beside = to_dataset(others, split)
    return concatenate_datasets([rows, beside], axis=1) if beside.column_names else rows


def _data(
    splits: Mapping[str, Dataset], kind: str, label_column: str = "label", column: str | None = None
) -> ClassificationData:
    data = classification_data(splits, {kind: column or kind, "label": label_column}, label_type="classes")
    return replace(data, splits={split: with_places(rows, split) for split, rows in data.splits.items()})
