"""The built-in demo of multiple choice: which sentence goes on with a docstring of the standard library."""

from __future__ import annotations

import random
import re
import sysconfig
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.text_demo import docstrings

if TYPE_CHECKING:
    from datasets import DatasetDict

    from hf_squareloss.recipes.classification import ClassificationData

_CHOICES = 4
_WORDS = range(4, 13)  # of a sentence; longer ones are slow to train on
_EXAMPLES = MappingProxyType({"train": 512, "validation": 128, "test": 256})

# The first setting that was tried.
DEMO_TRAINING: Mapping[str, Any] = MappingProxyType(
    {
        "learning_rate": 1e-4,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 16,
        "per_device_eval_batch_size": 64,
        "warmup_steps": 0.1,
        "max_seq_length": 64,
        "metric_for_best_model": "accuracy",
    }
)


def docstring_endings(root: Path | None = None, seed: int = 0) -> DatasetDict:
    """Docstrings cut after their first sentence, as columns of SWAG: `sent1`, `ending0` to `ending3` and `label`.

    The right ending is the docstring's second sentence, the others are second sentences of other docstrings of the same
    split. Splits are by file: half of the files for train, a quarter for each of the others.

    Args:
        root: a folder of sources; default: the standard library that runs.
        seed: chooses files, endings and places. The result depends on these and on the Python release alone.

    Raises FileNotFoundError where there are no docstrings of two sentences.

    Example: `docstring_endings()["test"][0]["ending0"]`
    """
    from datasets import Dataset, DatasetDict

    generator = random.Random(seed)
    splits = {}
    for split, pairs in _sentences(root or Path(sysconfig.get_path("stdlib")), seed).items():
        rows = []
        for first, second in generator.sample(pairs, min(_EXAMPLES[split], len(pairs))):
            others = [ending for _, ending in generator.sample(pairs, _CHOICES) if ending != second][: _CHOICES - 1]
            endings = [second, *others]
            generator.shuffle(endings)
            row = {"sent1": first, **{f"ending{i}": ending for i, ending in enumerate(endings)}}
            rows.append({**row, "label": endings.index(second)})
        splits[split] = Dataset.from_list(rows)
    return DatasetDict(splits)


def similarity_baseline(data: ClassificationData) -> float:
    """Test accuracy of choosing the ending whose words are the nearest to the first sentence's, by TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    test = data.splits["test"]
    vectorizer = TfidfVectorizer(sublinear_tf=True)
    vectorizer.fit(text for choices in test["choices"] for text in choices)
    right = 0
    for context, choices, label in zip(test["context"], test["choices"], test["label"], strict=True):
        near = vectorizer.transform(choices) @ vectorizer.transform([context]).T
        right += int(near.toarray().argmax() == label)
    return right / len(test)


@cache
def _sentences(root: Path, seed: int) -> dict[str, list[tuple[str, str]]]:
    """Split -> the first two sentences of its docstrings, no sentence twice."""
    files = [path for path in sorted(root.rglob("*.py")) if not {"test", "tests", "site-packages"} & set(path.parts)]
    random.Random(seed).shuffle(files)
    splits: dict[str, list[tuple[str, str]]] = {"train": [], "validation": [], "test": []}
    seen: set[str] = set()
    for number, path in enumerate(files):
        split = ("train", "validation", "train", "test")[number % 4]
        for docstring in docstrings(path):
            sentences = re.split(r"(?<=[.!?])\s+(?=[A-Z])", " ".join(docstring.split()), maxsplit=2)[:2]
            if len(sentences) == 2 and all(len(s.split()) in _WORDS for s in sentences) and not seen & set(sentences):
                seen.update(sentences)
                splits[split].append((sentences[0], sentences[1]))
    if min(map(len, splits.values())) < _CHOICES:
        raise FileNotFoundError(f"expected sources of the standard library with docstrings below {root}")
    return splits
