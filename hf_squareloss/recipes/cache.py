"""Where prepared data lie on disk: in the cache of datasets, under a name that follows from what they are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any


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
