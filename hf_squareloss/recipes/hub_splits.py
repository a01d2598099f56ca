"""The splits of a data set by its name on the Hub, whatever they are called there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def load_hub(name: str, config: str | None, **load_options: Any) -> Any:
    """`datasets.load_dataset` of a data set of the Hub or a folder.

    Raises:
        ValueError: it is a script, which datasets does not run since its release 4.
    """
    from datasets import load_dataset

    try:
        return load_dataset(name, config, **load_options)
    except RuntimeError as error:
        if "scripts are no longer supported" not in str(error):
            raise
        raise ValueError(
            f"{name} is a script, which datasets no longer runs: --dataset_revision refs/convert/parquet takes the "
            "copy that the Hub keeps of many such data sets, or name a data set that has files"
        ) from error


def load_splits(name: str, config: str | None, split_names: Mapping[str, str | None], **load_options: Any) -> Any:
    """train, validation and test of a data set, as far as there are such.

    Args:
        split_names: our split name -> its name there, such as "dev" or "train[90%:]"; None or no entry: ours, where
            there is one.
        load_options: passed to `datasets.load_dataset` (cache_dir, token, revision, ...).

    Raises:
        ValueError: none of the three, with those that there are; or validation or test rows that are training rows too.
    """
    raw = load_hub(name, config, **load_options)
    splits = {split: raw[split] for split in ("train", "validation", "test") if split in raw}
    for split, theirs in split_names.items():
        if theirs is not None:
            splits[split] = raw[theirs] if theirs in raw else load_hub(name, config, split=theirs, **load_options)
    _refuse_overlap({split: split_names.get(split) or split for split in splits}, raw)
    if not splits:
        raise ValueError(
            f"{name} has none of the splits train, validation and test but {', '.join(raw)}: "
            "say which by the options that end in split_name"
        )
    return splits


def _refuse_overlap(names: Mapping[str, str], raw: Any) -> None:
    """ValueError for a split that has rows of the training split, as the slice "train[90%:]" beside the whole."""
    from datasets import Dataset, ReadInstruction

    sizes = {name: len(rows) for name, rows in raw.items() if isinstance(rows, Dataset)}
    if sizes.keys() != raw.keys():  # streams, of which datasets takes no slices
        return
    specs = {split: "+".join(sizes) if name == "all" else name for split, name in names.items()}
    parts = {split: ReadInstruction.from_spec(spec).to_absolute(sizes) for split, spec in specs.items()}
    for split, name in names.items():
        if split != "train" and any(_overlap(a, b) for a in parts[split] for b in parts.get("train", ())):
            raise ValueError(
                f"the {split} split {name!r} has rows of the training split, {names['train']!r}: name other rows for "
                "training by --train_split_name, as in 'train[:90%]' beside 'train[90%:]'"
            )


def _overlap(a: Any, b: Any) -> bool:
    """Whether two parts of datasets, from a row to a row of a split, have one in common."""
    return a.splitname == b.splitname and max(a.from_, b.from_) < min(a.to, b.to)
