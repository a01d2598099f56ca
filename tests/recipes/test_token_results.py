"""Metrics and predictions of token classes: of the tokens alone, with the loss's own probabilities."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from transformers import EvalPrediction

from hf_squareloss import CrossEntropy, SquareLoss
from hf_squareloss.inference import calibration_metrics
from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.token_results import token_columns, token_metrics

NAMES = ["B-PER", "I-PER", "O"]
SCORES = np.array(
    [
        [[0, 0, 9], [0.9, 0.1, 0], [0.2, 0.7, 0.1], [0, 0, 1]],
        [[9, 0, 0], [0.1, 0, 0.9], [0, 0, 0], [-100, -100, -100]],
    ],
    dtype=np.float32,
)
LABELS = np.array([[-100, 0, 1, -100], [-100, 0, -100, -100]])


def of(loss: Any) -> dict[str, Any]:
    rows = Dataset.from_dict({"tokens": [["Dr", "Ada"], ["Emmy", "saw"]]})
    return {"data": ClassificationData({"test": rows}, NAMES), "trainer": SimpleNamespace(loss=loss)}


def test_metrics_are_of_labelled_places_alone() -> None:
    loss = SquareLoss(k=1.0, M=1.0)
    found = token_metrics(EvalPrediction(SCORES, LABELS), **of(loss))
    assert (found["precision"], found["recall"], found["accuracy"]) == (1.0, 0.5, pytest.approx(2 / 3))
    kept = torch.tensor([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0.1, 0, 0.9]])
    expected = calibration_metrics(loss.probabilities(kept), torch.tensor([0, 1, 0]))
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    other = token_metrics(EvalPrediction(SCORES, LABELS), **of(CrossEntropy()), by_type=True)
    assert other["nll"] != pytest.approx(found["nll"], abs=0.01)
    assert (other["PER_f1"], other["PER_number"]) == (pytest.approx(2 / 3), 2)


def test_a_line_for_each_token() -> None:
    starts = Dataset.from_dict({"starts": [[1, 2], [1, -1]]})
    found = token_columns(SCORES, **of(SquareLoss(k=1.0, M=1.0)), encoded={"test": starts})
    assert found["sentence"] == [0, 0, 1, 1] and found["token"] == ["Dr", "Ada", "Emmy", "saw"]
    assert list(found["prediction"]) == ["B-PER", "I-PER", "O", ""]  # the last one was cut off
    assert list(found["p(B-PER)"]) == ["0.900000", "0.200000", "0.100000", ""]
    assert list(found["p(O)"]) == ["0.000000", "0.100000", "0.900000", ""]
