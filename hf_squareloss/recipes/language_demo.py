"""The built-in demos of language models: characters or words of the installed Python's own sources."""

import random
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import DatasetDict

DEMOS = ("characters", "words")
_CHARACTERS: Mapping[str, int] = MappingProxyType({"train": 3_000_000, "validation": 100_000, "test": 200_000})
_WORDS: Mapping[str, int] = MappingProxyType({"train": 8_000_000, "validation": 100_000, "test": 200_000})
_SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "encodings", "__pycache__"}

# A small decoder without dropout and position embeddings, in the place of the paper's Transformer-XL.
_DECODER = "hidden_size=128,intermediate_size=384,num_attention_heads=4,max_position_embeddings=512"
_TRAINING: dict[str, Any] = {
    "model_type": "llama",
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 16,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 50,
}
DEMO_TRAINING: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "characters": _TRAINING
        | {"config_overrides": [_DECODER, "num_hidden_layers=3"], "block_size": 128, "max_steps": 1200}
        | {"vocabulary": "characters", "vocabulary_size": 100, "learning_rate": 2e-3},
        "words": _TRAINING
        | {"config_overrides": [_DECODER, "num_hidden_layers=2"], "block_size": 64, "max_steps": 1500}
        | {"vocabulary": "words", "vocabulary_size": 20_000, "learning_rate": 2e-3},
    }
)


def python_sources(kind: str = "characters", root: Path | None = None) -> "DatasetDict":
    """Source files of the running Python's standard library, documentation strings and code alike, a text a file.

    Files are drawn in a fixed order, tests and tables of encodings aside, until each split has its number of
    characters: no file is in two of them. The result depends on the Python release alone.

    Args:
        kind: "characters" (3 million characters to train on) or "words" (8 million).
        root: the library's folder; default: that of the Python that runs.

    Raises:
        ValueError: another kind.
        FileNotFoundError: the library comes without its sources.
    """
    from datasets import Dataset, DatasetDict

    if kind not in DEMOS:
        raise ValueError(f"demo must be one of {', '.join(DEMOS)}, got {kind!r}")
    root = root or Path(sysconfig.get_path("stdlib"))
    files = [path for path in sorted(root.rglob("*.py")) if not _SKIPPED & set(path.relative_to(root).parts)]
    if not files:
        raise FileNotFoundError(f"expected the sources of the standard library below {root}, found none")
    random.Random(0).shuffle(files)
    texts = _texts(files)
    splits = {}
    for split in ("validation", "test", "train"):
        limit, taken, count = (_CHARACTERS if kind == "characters" else _WORDS)[split], [], 0
        while count < limit and (text := next(texts, None)) is not None:
            taken.append(text[: limit - count])
            count += len(taken[-1])
        splits[split] = Dataset.from_dict({"text": taken})
    return DatasetDict({split: splits[split] for split in ("train", "validation", "test")})


def _texts(files: list[Path]) -> Iterator[str]:
    for path in files:
        text = path.read_text(encoding="utf8", errors="replace")
        if text.strip():
            yield text


def commonest_next(train: list[list[int]], test: list[list[int]], order: int = 4) -> float:
    """Next-token accuracy of counts: the token that followed the last `order` ones most often in training.

    Where these were never seen, the last `order` - 1 decide, and so on. What a model must beat.

    Args:
        train, test: blocks of token ids.
    """
    best: dict[tuple[int, ...], int] = {}
    for length in range(order + 1):
        counts: dict[tuple[int, ...], dict[int, int]] = {}
        for block in train:
            for i in range(length, len(block)):
                followers = counts.setdefault(tuple(block[i - length : i]), {})
                followers[block[i]] = followers.get(block[i], 0) + 1
        best |= {context: max(found.items(), key=lambda item: item[1])[0] for context, found in counts.items()}
    right = total = 0
    for block in test:
        for i in range(1, len(block)):
            contexts = (tuple(block[i - n : i]) for n in range(min(order, i), -1, -1))
            right += block[i] == next((best[context] for context in contexts if context in best), None)
            total += 1
    return right / max(total, 1)
