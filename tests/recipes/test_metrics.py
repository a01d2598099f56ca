"""The metrics equal their textbook formulas and the reference libraries', and work as evaluate modules offline."""

import json
import math
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import evaluate
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics

from hf_squareloss.metric_order import greater_is_better
from hf_squareloss.recipes.metrics import ClassificationMetric, EntityMetric, SpeechRecognitionMetric


def compute(name: str, predictions: list[Any], references: list[Any]) -> float:
    found = ClassificationMetric([name]).compute(predictions=predictions, references=references)
    assert found is not None
    assert list(found) == [name]
    assert type(found[name]) is float
    return found[name]


# ---- naive formulas -------------------------------------------------------------------------------------------------
def accuracy(p: list[int], y: list[int]) -> float:
    return sum(a == b for a, b in zip(p, y, strict=True)) / len(y)


def f1_of(c: int, p: list[int], y: list[int]) -> float:
    hits = sum(a == b == c for a, b in zip(p, y, strict=True))
    return 2 * hits / (p.count(c) + y.count(c)) if p.count(c) + y.count(c) else 0.0


def f1(p: list[int], y: list[int]) -> float:
    classes = sorted({*p, *y})
    return f1_of(1, p, y) if classes[-1] <= 1 else mean(f1_of(c, p, y) for c in classes)


def matthews(p: list[int], y: list[int]) -> float:
    """Correlation of the one-hot vectors (Gorodkin, 2004)."""
    classes = sorted({*p, *y})

    def covariance(a: list[int], b: list[int]) -> float:
        joint = sum(u == v for u, v in zip(a, b, strict=True)) / len(a)
        return joint - sum(a.count(c) / len(a) * b.count(c) / len(b) for c in classes)

    return covariance(p, y) / math.sqrt(covariance(p, p) * covariance(y, y))


def mse(p: list[float], y: list[float]) -> float:
    return mean((a - b) ** 2 for a, b in zip(p, y, strict=True))


def pearson(p: list[float], y: list[float]) -> float:
    a, b = [v - mean(p) for v in p], [v - mean(y) for v in y]
    return sum(u * v for u, v in zip(a, b, strict=True)) / math.sqrt(sum(u * u for u in a) * sum(v * v for v in b))


def ranks(values: list[float]) -> list[float]:
    return [sum(v < w for v in values) + (values.count(w) + 1) / 2 for w in values]


def spearman(p: list[float], y: list[float]) -> float:
    return pearson(ranks(p), ranks(y))


CLASSES: dict[str, tuple[Callable[..., float], Callable[..., float]]] = {
    "accuracy": (accuracy, lambda p, y: sklearn_metrics.accuracy_score(y, p)),
    "f1": (f1, lambda p, y: sklearn_metrics.f1_score(y, p, average="binary" if max(p + y) == 1 else "macro")),
    "matthews_correlation": (matthews, lambda p, y: sklearn_metrics.matthews_corrcoef(y, p)),
}
VALUES: dict[str, tuple[Callable[..., float], Callable[..., float]]] = {
    "mse": (mse, lambda p, y: sklearn_metrics.mean_squared_error(y, p)),
    "pearson": (pearson, lambda p, y: stats.pearsonr(p, y).statistic),  # type: ignore[attr-defined]
    "spearmanr": (spearman, lambda p, y: stats.spearmanr(p, y).statistic),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("classes", [2, 5])
def test_metrics_of_classes(name: str, classes: int) -> None:
    naive, library = CLASSES[name]
    generator = random.Random(0)
    y = generator.choices(range(classes), k=40)
    p = [label if generator.random() < 0.6 else generator.randrange(classes) for label in y]
    found = compute(name, p, y)
    assert found == pytest.approx(naive(p, y)) == pytest.approx(library(p, y))
    assert compute(name, y, y) == pytest.approx(1.0)
    assert found < 0.95


@pytest.mark.parametrize("name", VALUES)
def test_metrics_of_values(name: str) -> None:
    naive, library = VALUES[name]
    generator = random.Random(0)
    y = [generator.choice([0.0, 0.5, 1.25, 3.0]) for _ in range(40)]  # with ties
    p = [value + generator.gauss(0, 1) for value in y]
    found = compute(name, p, y)
    assert found == pytest.approx(naive(p, y), rel=1e-4) == pytest.approx(library(p, y), rel=1e-4)
    assert compute(name, y, y) == pytest.approx(0.0 if name == "mse" else 1.0)


def test_f1_of_three_classes_is_the_macro_mean_where_only_two_occur() -> None:
    p, y = [0, 0, 0, 1], [0, 0, 1, 1]
    found = ClassificationMetric(["f1"], num_classes=3).compute(predictions=p, references=y)
    assert found is not None and found == {"f1": pytest.approx(mean([f1_of(0, p, y), f1_of(1, p, y)]))}
    assert found["f1"] != pytest.approx(compute("f1", p, y))


def test_f1_with_two_classes_is_of_class_1() -> None:
    p, y = [1, 1, 1, 0], [1, 0, 0, 0]
    assert compute("f1", p, y) == pytest.approx(2 * 1 / (3 + 1))
    swapped = compute("f1", [1 - c for c in p], [1 - c for c in y])
    assert swapped == pytest.approx(2 * 1 / (1 + 3))


@pytest.mark.parametrize("name", CLASSES)
def test_one_class_only_is_no_warning(name: str) -> None:
    assert compute(name, [1, 1], [1, 1]) == (0.0 if name == "matthews_correlation" else 1.0)


@pytest.mark.parametrize("name", ["pearson", "spearmanr"])
def test_a_constant_has_no_correlation(name: str) -> None:
    assert math.isnan(compute(name, [0.1, 0.1, 0.1], [1.0, 2.0, 3.0]))
    assert math.isnan(compute(name, [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]))
    assert math.isnan(compute(name, [1.0], [1.0]))


# ---- evaluate -------------------------------------------------------------------------------------------------------
def test_batches_add_up() -> None:
    metric = ClassificationMetric(["accuracy", "f1"])
    metric.add_batch(predictions=[0, 1], references=[0, 0])
    metric.add(prediction=1, reference=1)
    assert metric.compute() == ClassificationMetric(["accuracy", "f1"]).compute(
        predictions=[0, 1, 1], references=[0, 0, 1]
    )


def test_combined_and_saved_by_evaluate(tmp_path: Path) -> None:
    combined = evaluate.combine([ClassificationMetric(["accuracy"]), ClassificationMetric(["f1"])])
    found = combined.compute(predictions=[0, 1, 1], references=[0, 1, 0])
    assert found == {"accuracy": pytest.approx(2 / 3), "f1": pytest.approx(2 / 3)}
    evaluate.save(tmp_path / "result.json", **found)
    assert json.loads((tmp_path / "result.json").read_text())["accuracy"] == pytest.approx(2 / 3)


def test_no_network() -> None:
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    with pytest.raises((ConnectionError, FileNotFoundError)):  # evaluate's own cannot be had here
        evaluate.load("accuracy")
    assert compute("accuracy", [1], [1]) == 1.0


@pytest.mark.parametrize("names", [[], ["acuracy"], ["accuracy", "mse"], ["pearson", "f1"]])
def test_unknown_and_mixed_names_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="all be among"):
        ClassificationMetric(names)


# ---- speech ---------------------------------------------------------------------------------------------------------
def edits(p: Sequence[str], y: Sequence[str]) -> int:
    """Levenshtein's distance by its recursion."""
    row = list(range(len(y) + 1))
    for i, a in enumerate(p, 1):
        above, row = row, [i] + [0] * len(y)
        for j, b in enumerate(y, 1):
            row[j] = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
    return row[-1]


@pytest.mark.parametrize("seed", range(3))
def test_error_rates_are_edits_over_the_length_of_the_references(seed: int) -> None:
    generator = random.Random(seed)
    words = ["one", "two", "three", "o"]
    p, y = ([" ".join(generator.choices(words, k=generator.randrange(1, 6))) for _ in range(10)] for _ in range(2))
    found = SpeechRecognitionMetric().compute(predictions=p, references=y)
    pairs = list(zip(p, y, strict=True))
    wer = sum(edits(a.split(), b.split()) for a, b in pairs) / sum(len(b.split()) for b in y)
    cer = sum(edits(a, b) for a, b in pairs) / sum(len(b) for b in y)
    assert found is not None and found == {"wer": pytest.approx(wer), "cer": pytest.approx(cer)}
    assert 0 < found["cer"] != found["wer"] > 0
    assert SpeechRecognitionMetric(["wer"]).compute(predictions=y, references=y) == {"wer": 0.0}


def test_empty_references_count_their_insertions() -> None:
    metric = SpeechRecognitionMetric(["wer"])
    assert metric.compute(predictions=["a b", "x"], references=["a c", ""]) == {"wer": 1.0}
    assert metric.compute(predictions=["", ""], references=["", "a"]) == {"wer": 1.0}
    assert metric.compute(predictions=[""], references=[""]) == {"wer": 0.0}
    assert metric.compute(predictions=["a"], references=[""]) == {"wer": math.inf}


def test_speech_metrics_are_combined_and_added_up() -> None:
    combined = evaluate.combine([SpeechRecognitionMetric(["wer"]), SpeechRecognitionMetric(["cer"])])
    assert combined.compute(predictions=["ab"], references=["ac"]) == {"wer": 1.0, "cer": 0.5}
    metric = SpeechRecognitionMetric(["cer"])
    metric.add_batch(predictions=["ab", "a"], references=["ac", "a"])
    metric.add(prediction="", reference="a")
    assert metric.compute() == {"cer": 0.5}


@pytest.mark.parametrize("names", [[], ["mer"], ["wer", "accuracy"]])
def test_unknown_speech_metrics_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="wer and cer"):
        SpeechRecognitionMetric(names)


# ---- several classes at once ----------------------------------------------------------------------------------------
def test_lists_of_zeros_and_ones() -> None:
    p, y = [[1, 1, 0], [0, 1, 0], [0, 0, 0]], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    found = ClassificationMetric(["f1_micro", "f1_macro", "subset_accuracy"]).compute(predictions=p, references=y)
    of_class = [f1_of(1, [row[c] for row in p], [row[c] for row in y]) for c in range(3)]
    hits, chosen, true = 2, 3, 3
    assert found == pytest.approx(
        {"f1_micro": 2 * hits / (chosen + true), "f1_macro": mean(of_class), "subset_accuracy": 1 / 3}
    )
    with pytest.raises(ValueError, match="all among"):
        ClassificationMetric(["f1_micro", "accuracy"])


def test_precision_recall_and_absolute_error() -> None:
    two = ClassificationMetric(["precision", "recall"]).compute(predictions=[1, 1, 0, 0], references=[1, 0, 1, 1])
    assert two == {"precision": 0.5, "recall": pytest.approx(1 / 3)}
    many = ClassificationMetric(["precision"]).compute(predictions=[0, 1, 1], references=[0, 1, 2])
    assert many == {"precision": 0.5}  # the mean of 1, 1/2 and 0
    assert ClassificationMetric(["mae"]).compute(predictions=[1.0, 2.0], references=[2.0, 4.0]) == {"mae": 1.5}
    assert not greater_is_better("eval_mae")


# ---- entities -------------------------------------------------------------------------------------------------------
def test_entities_are_right_as_a_whole() -> None:
    names = ["B-PER", "I-PER", "B-LOC", "O"]
    truth = [["B-PER", "I-PER", "O", "B-LOC"], ["B-PER", "B-PER"]]
    found = [["B-PER", "O", "O", "B-LOC"], ["B-PER", "B-PER"]]  # one entity of four is cut short
    score = EntityMetric(names).compute(predictions=found, references=truth)
    assert score == {"f1": 0.75, "precision": 0.75, "recall": 0.75, "accuracy": pytest.approx(5 / 6)}
    by_type = EntityMetric(names, by_type=True).compute(predictions=found, references=truth) or {}
    assert (by_type["LOC_f1"], by_type["PER_recall"], by_type["PER_number"]) == (1.0, pytest.approx(2 / 3), 3)


def test_each_token_with_a_plain_tag_is_an_entity() -> None:
    truth, found = [["NOUN", "NOUN", "VERB"]], [["NOUN", "VERB", "VERB"]]
    score = EntityMetric(["NOUN", "VERB"]).compute(predictions=found, references=truth) or {}
    assert score["f1"] == score["accuracy"] == pytest.approx(2 / 3)
    outside = EntityMetric(["PER", "O"]).compute(predictions=[["O", "PER"]], references=[["O", "O"]]) or {}
    assert (outside["precision"], outside["recall"], outside["accuracy"]) == (0.0, 0.0, 0.5)


def test_no_entity_anywhere_is_no_error() -> None:
    score = EntityMetric(["B-PER", "O"]).compute(predictions=[["O"]], references=[["O"]])
    assert score == {"f1": 0.0, "precision": 0.0, "recall": 0.0, "accuracy": 1.0}
