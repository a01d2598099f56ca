"""Metrics of language models, token by token: all scores of an evaluation set would not fit in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hf_squareloss.heads import Head
from hf_squareloss.losses import Loss

if TYPE_CHECKING:
    from transformers import EvalPrediction

    from hf_squareloss.training import SquareLossTrainer

_IGNORED = -100.0  # as a Trainer pads what it gathers


def token_values(logits: Any, labels: Tensor, *, trainer: SquareLossTrainer) -> Tensor:
    """What the metrics need of each token, in place of its scores: a Trainer's `preprocess_logits_for_metrics`.

    Args:
        logits: (B, T, C), or a tuple that begins with them.
        labels: (B, T).

    Returns:
        (B, T', 2): -log p of the label by the loss's own link, and whether the largest score is its; -100 where
        ignored. T' is T - 1 where the model shifts its labels.
    """
    head = Head.of(trainer.model)  # type: ignore[arg-type]
    scores = logits[0] if isinstance(logits, tuple) else logits
    scores, labels = head.scores_and_labels({"logits": scores}, labels)
    # One row after the other: probabilities of a batch are several times its scores.
    return torch.stack([_row(row, label, trainer.loss) for row, label in zip(scores, labels, strict=True)])


def _row(scores: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    kept = labels != loss.ignore_index
    chosen = torch.where(kept, labels, 0).unsqueeze(-1)
    surprise = -loss.probabilities(scores.float()).gather(-1, chosen).squeeze(-1).log()
    values = torch.stack([surprise.clamp_min(0.0), (scores.argmax(-1) == chosen.squeeze(-1)).float()], dim=-1)
    return torch.where(kept.unsqueeze(-1), values, _IGNORED)


def language_metrics(values: Any) -> dict[str, float]:
    """accuracy, nll (nats a token) and perplexity = exp(nll) of `token_values`.

    Example:
        >>> found = language_metrics([[[0.0, 1.0], [2.0, 0.0], [-100.0, -100.0]]])
        >>> found["accuracy"], found["nll"], round(found["perplexity"], 3)
        (0.5, 1.0, 2.718)
    """
    surprise, right = _counted(values)
    if not len(surprise):
        raise ValueError("no token has a label: there is nothing to evaluate")
    nll = float(surprise.mean())
    return {"accuracy": float(right.mean()), "nll": nll, "perplexity": _perplexity(nll)}


def compute_language_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """`language_metrics` as a Trainer calls it, behind `token_values`."""
    return language_metrics(prediction.predictions)


def token_columns(values: Any, *, index: Sequence[int] | None = None) -> dict[str, Sequence[object]]:
    """Columns of a predictions file, a line per block: the share of right tokens, their number, mean log p, perplexity.

    Args:
        values: (N, T, 2), `token_values` of all blocks.
        index: what the blocks are called in the first column; default: their numbers, from 0.
    """
    columns: dict[str, list[object]] = {} if index is None else {"index": list(index)}
    columns |= {"accuracy": [], "tokens": [], "log_probability": [], "perplexity": []}
    for block in values:
        surprise, right = _counted(block)
        nll = float(surprise.mean()) if len(surprise) else math.nan
        columns["accuracy"].append(f"{right.mean():.6f}" if len(right) else math.nan)
        columns["tokens"].append(len(surprise))
        columns["log_probability"].append(f"{-nll:.6f}")
        columns["perplexity"].append(f"{_perplexity(nll):.6g}")
    return dict(columns)


def _counted(values: Any) -> tuple[np.ndarray, np.ndarray]:
    flat = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    kept = flat[flat[:, 0] >= 0.0]
    return kept[:, 0], kept[:, 1]


def _perplexity(nll: float) -> float:
    return math.exp(nll) if nll < 700.0 else math.inf
