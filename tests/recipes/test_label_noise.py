"""Label noise: how many labels change, to what, and what is refused."""

from collections import Counter

import pytest
from datasets import Dataset

from hf_squareloss.recipes.arguments import DataSourceArguments
from hf_squareloss.recipes.label_noise import with_label_noise

LABELS = [0, 1, 2] * 1000


def rows(labels: list) -> Dataset:
    return Dataset.from_dict({"text": [f"text {i}" for i in range(len(labels))], "label": labels})


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_share_of_wrong_labels_is_exact(share: float) -> None:
    noisy = with_label_noise(rows(LABELS), share, seed=0)
    changed = [(old, new) for old, new in zip(LABELS, noisy["label"], strict=True) if old != new]
    assert len(changed) == share * len(LABELS)
    assert noisy["text"][:] == rows(LABELS)["text"][:]
    counts = Counter(changed)
    assert len(counts) in (0, 6)  # every pair of two classes
    for count in counts.values():
        assert count == pytest.approx(len(changed) / 6, abs=4 * (len(changed) / 6) ** 0.5)


def test_the_seed_chooses() -> None:
    first, again, other = (with_label_noise(rows(LABELS), 0.2, seed)["label"][:] for seed in (0, 0, 1))
    assert first == again != other


def test_classes_need_not_be_counted_from_zero() -> None:
    noisy = with_label_noise(rows([3, 7] * 50), 0.5, seed=0)["label"][:]
    assert set(noisy) == {3, 7} and sum(a != b for a, b in zip(noisy, [3, 7] * 50, strict=True)) == 50


@pytest.mark.parametrize("labels", [[0.5, 1.5], [[0, 1], [1, 0]], [1, 1]])
def test_other_labels_are_refused(labels: list) -> None:
    with pytest.raises(ValueError, match="one class per example"):
        with_label_noise(rows(labels), 0.5, seed=0)
    assert with_label_noise(rows(labels), 0.0, seed=0)["label"][:] == labels


def test_no_label_column_is_refused() -> None:
    with pytest.raises(ValueError, match="one class per example"):
        with_label_noise(Dataset.from_dict({"tags": [[0], [1]]}), 0.5, seed=0)


def test_the_argument_is_for_the_training_rows_alone() -> None:
    splits = {"train": rows(LABELS), "validation": rows(LABELS), "test": rows(LABELS)}
    chosen = DataSourceArguments(label_noise=0.2, max_train_samples=100).chosen(splits, 0)
    assert len(chosen["train"]) == 100
    texts = dict(zip(splits["train"]["text"], LABELS, strict=True))
    assert sum(texts[row["text"]] != row["label"] for row in chosen["train"]) == 20  # type: ignore[call-overload,index]
    assert chosen["validation"]["label"][:] == chosen["test"]["label"][:] == LABELS


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1, got 1.5"):
        DataSourceArguments(label_noise=1.5)
