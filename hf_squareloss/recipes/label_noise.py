"""Training labels made wrong on purpose, to see how much of it a loss bears."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset


def with_label_noise(rows: Dataset, share: float, seed: int) -> Dataset:
    """Rows of which round(share * N) have another class than before, each other class being equally likely.

    Symmetric noise: a chosen row of class y gets y' uniformly among the C - 1 other classes of the rows.

    Args:
        rows: with class indices, one per row, in the column `label`.
        share: of the rows, between 0 and 1.
        seed: chooses rows and classes; the same rows, share and seed give the same labels.

    Raises:
        ValueError: a share outside [0, 1], or rows whose labels are not of two classes or more.

    Source: Natarajan et al., Learning with Noisy Labels, NeurIPS 2013, section 2, with equal flip rates.
    """
    from datasets import Value

    if not 0 <= share <= 1:
        raise ValueError(f"label_noise must be between 0 and 1, got {share}")
    if share == 0:
        return rows
    labels = np.asarray(rows["label"][:]) if "label" in rows.column_names else np.empty(0)
    classes = np.unique(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(classes) < 2:
        raise ValueError("label_noise needs one class per example, of two classes or more")
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(labels))[: round(share * len(labels))]
    steps = generator.integers(1, len(classes), len(chosen))
    positions = np.searchsorted(classes, labels)
    positions[chosen] = (positions[chosen] + steps) % len(classes)
    feature = rows.features["label"] if len(rows.features) else Value("int64")
    return rows.remove_columns("label").add_column("label", classes[positions].tolist(), feature=feature)  # type: ignore[call-arg,arg-type]
