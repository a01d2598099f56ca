"""Where prepared data lie on disk: in the cache of datasets, under a name that follows from what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset


def cache_file(*content: Any, cache_dir: str | None = None) -> str:
    """The path of an Arrow file for `Dataset.map`, the same in every process and run that has the same content.

    Without it, what is made of a data set in memory is made again by every process, and stays in memory.

    Args:
        content: data sets, tokenizers, settings: all that the file depends on.
        cache_dir: the cache; default: that of datasets, which HF_HOME moves.
    """
    from datasets import config
    from datasets.fingerprint import Hasher

    folder = Path(cache_dir or config.HF_DATASETS_CACHE, "hf_squareloss")
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder / f"{Hasher.hash(content)}.arrow")


def tokenized_splits(
    splits: Mapping[str, Dataset],
    encode: Callable[[dict[str, list[Any]]], dict[str, Any]],
    key: object,
    *,
    num_proc: int | None = None,
    overwrite: bool = False,
    cache_dir: str | None = None,
) -> dict[str, Dataset]:
    """Each split as `encode` makes it of batches of rows, with none of its old columns; made once, and kept on disk.

    Args:
        key: all that `encode` depends on.
        num_proc: so many processes share a split's batches.
        overwrite: make it again, not from the cache.
        cache_dir: as for `cache_file`.
    """
    files = {name: cache_file(split, key, cache_dir=cache_dir) for name, split in splits.items()}
    return {
        name: split.map(
            encode,
            batched=True,
            remove_columns=split.column_names,
            num_proc=num_proc,
            load_from_cache_file=not overwrite,
            cache_file_name=files[name],
            new_fingerprint=Path(files[name]).stem,  # else `encode` is pickled for one, with its tokenizer
            desc=f"Tokenizing {name}",
        )
        for name, split in splits.items()
    }
