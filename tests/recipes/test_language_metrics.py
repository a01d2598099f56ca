"""Metrics of tokens against a naive loop over all probabilities, for scores that are shifted and those that are not."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import arguments, make_model

from hf_squareloss import SquareLossTrainer
from hf_squareloss.recipes.language_metrics import language_metrics, token_columns, token_values


@pytest.mark.parametrize("family", ["gpt2_causal", "bert_masked"])
@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_values_are_those_of_a_naive_loop(family: str, loss: str, tmp_path: Any) -> None:
    trainer = SquareLossTrainer(make_model(family), arguments(tmp_path), loss=loss)
    scores = torch.randn(2, 5, 50, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[4, 7, -100, 9, 1], [3, -100, -100, -100, 8]])
    found = token_values((scores, None), labels, trainer=trainer)
    shift = family == "gpt2_causal"
    surprise, right = [], []
    for row, tokens in zip(scores, labels, strict=True):
        for t, label in enumerate(tokens.tolist()):
            if label != -100 and not (shift and t == 0):
                p = trainer.loss.probabilities(row[t - 1 if shift else t])
                surprise.append(-math.log(p[label]))
                right.append(int(p.argmax()) == label)
    metrics = language_metrics(found.numpy())
    assert found.shape == (2, 4 if shift else 5, 2)
    assert metrics["nll"] == pytest.approx(sum(surprise) / len(surprise), rel=1e-5)
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["nll"])) and metrics["accuracy"] == np.mean(right)
    assert token_columns(found.numpy(), index=range(5, 5 + len(found)))["index"] == list(range(5, 5 + len(found)))
    columns = token_columns(found.numpy())
    assert sum(int(str(count)) for count in columns["tokens"]) == len(surprise)
    whole = sum(int(str(n)) * float(str(p)) for n, p in zip(columns["tokens"], columns["log_probability"], strict=True))
    assert whole == pytest.approx(-sum(surprise), rel=1e-4)


def test_what_a_trainer_pads_counts_for_nothing() -> None:
    values = np.array([[[1.0, 1.0], [-100.0, -100.0]], [[3.0, 0.0], [0.0, 1.0]]])
    assert language_metrics(values) == {"accuracy": 2 / 3, "nll": pytest.approx(4 / 3), "perplexity": math.exp(4 / 3)}
    assert language_metrics([[[1000.0, 0.0]]])["perplexity"] == math.inf
    with pytest.raises(ValueError, match="no token has a label"):
        language_metrics(np.full((2, 3, 2), -100.0))
