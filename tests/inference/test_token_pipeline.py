"""The token-classification pipeline shows, and joins, the loss's own probabilities."""

from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from contract import ONE_EACH, title
from tag_files import make_tokenizer
from tiny_models import make_model
from torch import Tensor
from transformers import pipeline

from hf_squareloss import CrossEntropy, Loss, SquareLoss, attach_loss, probability_pipeline

LOSSES = [SquareLoss(k=2.0, M=3.0), *ONE_EACH, CrossEntropy(label_smoothing=0.2, class_weights=(1.0, 2.0, 3.0, 4.0))]
WORDS = ["Dr", "Ada", "saw", "Mrs", "Hedy", "home"]
PIECES = [[0, 1], [2], [3], [4, 5], [6], [7]]  # of each word


def words(p: Tensor, strategy: str) -> list[tuple[int, float]]:
    """(class, score) of each word, or piece, from probabilities (pieces, C)."""
    if strategy in ("none", "simple"):
        return [(int(row.argmax()), float(row.max())) for row in p]
    chosen = {
        "first": lambda rows: rows[0],
        "average": lambda rows: rows.mean(0),
        "max": lambda rows: rows[rows.max(-1).values.argmax()],
    }[strategy]
    return [(int(row.argmax()), float(row.max())) for row in (chosen(p[places]) for places in PIECES)]


def entities(found: list[tuple[int, float]], strategy: str) -> list[float]:
    """The scores: neighbours of one class are one entity, unless nothing is joined."""
    if strategy == "none":
        return [score for _, score in found]
    runs = [[score for _, score in run] for _, run in groupby(found, key=lambda word: word[0])]
    return [sum(run) / len(run) for run in runs]


@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_every_strategy_joins_probabilities(loss: Loss, tmp_path: Path) -> None:
    tokenizer, text = make_tokenizer(), " ".join(WORDS)
    model: Any = attach_loss(make_model("bert_tokens"), loss)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        p = loss.probabilities(model(**tokenizer(text, return_tensors="pt")).logits)[0, 1:-1]
    for strategy in ("none", "simple", "first", "average", "max"):
        options: Any = {"tokenizer": tokenizer, "aggregation_strategy": strategy, "ignore_labels": []}
        found: Any = probability_pipeline(str(tmp_path), **options)(text)
        expected = entities(words(p, strategy), strategy)
        assert [entity["score"] for entity in found] == pytest.approx(expected, abs=1e-6), strategy
    options["aggregation_strategy"] = "none"
    stock: Any = pipeline("token-classification", model=model, **options)
    softmax = loss.scores_are_logits and not loss.label_smoothing and loss.class_weights is None
    assert ([e["score"] for e in stock(text)] == pytest.approx(p.max(-1).values.tolist(), abs=1e-3)) == softmax
