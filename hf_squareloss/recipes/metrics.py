"""Task metrics as evaluate modules that need no network: evaluate.load() fetches every metric from the Hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np

_CITATION = "Wang et al. GLUE: A Multi-Task Benchmark and Analysis Platform. ICLR 2019. arXiv 1804.07461"
_SPEECH_CITATION = "Morris, Maier, Green. From WER and RIL to MER and WIL. Interspeech 2004"
_ENTITY_CITATION = "Nakayama. seqeval: A Python framework for sequence labeling evaluation. 2018"
_CLASSIFICATION = ("accuracy", "f1", "matthews_correlation", "precision", "recall")
_REGRESSION = ("pearson", "spearmanr", "mse", "mae")
_MULTI_LABEL = ("f1_micro", "f1_macro", "subset_accuracy")
_FAMILIES = (_CLASSIFICATION, _REGRESSION, _MULTI_LABEL)


class ClassificationMetric(evaluate.Metric):
    """Scores of predicted classes or values, by name.

    F1, precision and recall are of class 1 with two classes and the macro mean otherwise.

    Args:
        names: any of accuracy, f1, matthews_correlation, precision, recall (predictions and references are class
            indices), or of pearson, spearmanr, mse, mae (they are real values), or of f1_micro, f1_macro,
            subset_accuracy (they are lists of 0 or 1, one per class; subset accuracy is the share of items with all
            classes right).

    Works with `evaluate.combine` and `evaluate.save`.

    Raises:
        ValueError: an unknown name, or classes and values mixed.

    Example:
        >>> ClassificationMetric(["accuracy"]).compute(predictions=[0, 1], references=[0, 0])
        {'accuracy': 0.5}
    """

    def __init__(self, names: list[str] | tuple[str, ...], num_classes: int | None = None, **kwargs: Any) -> None:
        if not names or not any(set(names) <= set(family) for family in _FAMILIES):
            families = " or all among ".join(map(str, _FAMILIES))
            raise ValueError(f"metric names must all be among {families}, got {names}")
        self._names = tuple(names)
        self._num_classes = num_classes
        super().__init__(keep_in_memory=True, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        kind: Any = datasets.Value("float32" if set(self._names) <= set(_REGRESSION) else "int64")
        if set(self._names) <= set(_MULTI_LABEL):
            kind = datasets.List(kind)
        return evaluate.MetricInfo(
            description=(self.__doc__ or "").strip(),
            citation=_CITATION,
            inputs_description="predictions and references: one class index, real value or list of 0 or 1 per item",
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, float]:
        return {
            name: _score(name, np.asarray(predictions), np.asarray(references), self._num_classes)
            for name in self._names
        }


class SpeechRecognitionMetric(evaluate.Metric):
    """Word and character error rates of transcripts, by jiwer: errors over the length of the references.

    (substitutions + deletions + insertions) / (words or characters of all references), over all utterances together.
    Words are separated by white space; a space is a character. An empty reference adds nothing to the denominator, and
    the hypothesis' words to the insertions; where all references are empty, the rate is 0 for empty hypotheses and
    infinite otherwise.

    Args:
        names: any of wer, cer. Predictions and references are strings.

    Works with `evaluate.combine` and `evaluate.save`.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> SpeechRecognitionMetric(["wer"]).compute(predictions=["one to"], references=["one two"])
        {'wer': 0.5}
    """

    def __init__(self, names: list[str] | tuple[str, ...] = ("wer", "cer"), **kwargs: Any) -> None:
        if not names or not set(names) <= {"wer", "cer"}:
            raise ValueError(f"metric names must all be among wer and cer, got {names}")
        self._names = tuple(names)
        super().__init__(keep_in_memory=True, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=(self.__doc__ or "").strip(),
            citation=_SPEECH_CITATION,
            inputs_description="predictions and references: one transcript per utterance",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, float]:
        return {name: _error_rate(name, list(predictions), list(references)) for name in self._names}


def require_metrics(names: Sequence[str], instead_of: Sequence[str]) -> None:
    """ValueError where these are no metrics of the kind that measures the same labels."""
    family = next(family for family in _FAMILIES if set(instead_of) <= set(family))
    if not names or not set(names) <= set(family):
        raise ValueError(f"metric_name: these labels are measured by {', '.join(family)}, got {', '.join(names)}")


class EntityMetric(evaluate.Metric):
    """Precision, recall and F1 of entities over all sentences together, and the accuracy of tokens, by seqeval.

    An entity is right where its type, its first and its last token are. Tags are in a scheme of places: B-PER begins an
    entity, I-PER goes on with it, O is outside (E- and S- end one and are one alone). Where a tag of `names` is of no
    such form, the tags are plain: then each token whose tag is not O is an entity of its own, so that without O the
    F1 is the accuracy.

    Args:
        names: the tags that there are.
        by_type: also precision, recall, F1 and number of each type of entity, as PER_f1.

    Predictions and references are lists of tags, one per sentence. Works with `evaluate.combine` and `evaluate.save`.

    Example:
        >>> tags = [["B-PER", "I-PER", "O"]]
        >>> EntityMetric(["B-PER", "I-PER", "O"]).compute(predictions=tags, references=tags)["f1"]
        1.0
    """

    def __init__(self, names: Sequence[str], *, by_type: bool = False, **kwargs: Any) -> None:
        self._plain = not all(re.fullmatch(r"O|[BIES]-.+", name) for name in names)
        self._by_type = by_type
        super().__init__(keep_in_memory=True, **kwargs)

    def _info(self) -> evaluate.MetricInfo:
        tags: Any = datasets.List(datasets.Value("string"))
        return evaluate.MetricInfo(
            description=(self.__doc__ or "").strip(),
            citation=_ENTITY_CITATION,
            inputs_description="predictions and references: one list of tags per sentence",
            features=datasets.Features({"predictions": tags, "references": tags}),
        )

    def _compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, float]:
        from seqeval.metrics import accuracy_score, classification_report

        def in_scheme(sentences: Any) -> list[list[str]]:
            return [[tag if tag == "O" or not self._plain else f"B-{tag}" for tag in tags] for tags in sentences]

        truth, found = in_scheme(references), in_scheme(predictions)
        if not any(tag != "O" for tags in (*truth, *found) for tag in tags):
            report: Any = {"micro avg": {"precision": 0.0, "recall": 0.0, "f1-score": 0.0}}  # seqeval finds no maximum
        else:
            report = classification_report(truth, found, output_dict=True, zero_division=0)  # type: ignore[arg-type]
        shown = {"f1": "f1-score", "precision": "precision", "recall": "recall"}
        metrics = {name: float(report["micro avg"][theirs]) for name, theirs in shown.items()}
        metrics["accuracy"] = float(accuracy_score(truth, found))
        for kind, values in report.items() if self._by_type else ():
            if not kind.endswith(" avg"):
                metrics |= {f"{kind}_{name}": float(values[theirs]) for name, theirs in shown.items()}
                metrics[f"{kind}_number"] = int(values["support"])
        return metrics


def _error_rate(name: str, predictions: list[str], references: list[str]) -> float:
    import jiwer

    compare: Any = jiwer.process_words if name == "wer" else jiwer.process_characters
    found = compare(references, predictions)
    errors = found.substitutions + found.deletions + found.insertions
    length = found.hits + found.substitutions + found.deletions
    return errors / length if length else float("inf") if errors else 0.0


def _score(name: str, predictions: np.ndarray, references: np.ndarray, num_classes: int | None) -> float:
    from scipy.stats import pearsonr, spearmanr
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef, precision_score, recall_score

    match name:
        case "accuracy":
            return float(accuracy_score(references, predictions))
        case "f1" | "precision" | "recall":
            scored: Any = {"f1": f1_score, "precision": precision_score, "recall": recall_score}[name]
            binary = num_classes == 2 if num_classes else max(references.max(), predictions.max()) <= 1
            average = "binary" if binary else "macro"
            return float(scored(references, predictions, average=average, zero_division=0.0))
        case "matthews_correlation":
            if len({*references.tolist(), *predictions.tolist()}) == 1:
                return 0.0  # as scikit-learn has it, which would warn
            return float(matthews_corrcoef(references, predictions))
        case "f1_micro" | "f1_macro":
            average = name.removeprefix("f1_")
            return float(f1_score(references, predictions, average=average, zero_division=0.0))  # type: ignore[arg-type]
        case "subset_accuracy":
            return float((predictions == references).all(-1).mean())
        case "mse":
            return float(np.mean((predictions - references) ** 2))
        case "mae":
            return float(np.mean(np.abs(predictions - references)))
    if predictions.std() == 0 or references.std() == 0:
        return float("nan")  # a constant has no correlation; scipy would warn
    correlation: Any = pearsonr if name == "pearson" else spearmanr
    return float(correlation(predictions, references).statistic)
