"""CTC decoding with the loss's own probabilities: greedy and prefix beam search."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_squareloss.config import base_model
from hf_squareloss.heads import Head, ctc_frames
from hf_squareloss.inference._generation import log_probabilities
from hf_squareloss.losses import Loss

LanguageModel = Callable[[tuple[int, ...]], np.ndarray]


class Transcript(NamedTuple):
    """One labelling found by `ctc_beam_search`.

    Attributes:
        labels: its labels, without blanks.
        log_probability: natural logarithm of the probability of all its alignments found, plus the language model's
            weights.
    """

    labels: tuple[int, ...]
    log_probability: float


def ctc_greedy(
    scores: Tensor,
    logit_lengths: Tensor | None = None,
    *,
    model: PreTrainedModel | None = None,
    blank: int | None = None,
    input_lengths: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> list[list[int]]:
    """The labels of the likeliest class of every frame: repeats collapsed, then blanks dropped.

    The raw scores decide: every link keeps their order (class weights, which a link undoes, apart).

    Args:
        scores: raw scores (B, T, C).
        logit_lengths: (B,) frames of each utterance; later ones are padding. None counts them from one of the last two,
            or takes all frames.
        model: the CTC model that the scores are of: it knows its blank, and its frames of inputs.
        blank: the class that stands for no label; None takes the model's, or 0 without a model.
        input_lengths: (B,) lengths of the inputs, as samples of a waveform.
        attention_mask: (B, L) as the model got it, 1 for inputs and 0 for padding.

    Returns:
        One list of labels per utterance.

    Raises:
        ValueError: shapes that do not fit, lengths outside [0, T], a blank outside [0, C) or not the model's, lengths
            given twice, or lengths of inputs without a model.

    Source: Graves et al., Connectionist Temporal Classification, ICML 2006, section 3.2 ("best path decoding").

    Example:
        >>> import torch
        >>> ctc_greedy(torch.eye(3)[torch.tensor([[1, 1, 0, 1, 2]])], torch.tensor([5]))
        [[1, 1, 2]]
    """
    logit_lengths, blank = _frames_and_blank(scores, logit_lengths, model, blank, input_lengths, attention_mask)
    transcripts = []
    for path, length in zip(scores.argmax(-1).tolist(), logit_lengths.tolist(), strict=True):
        starts = [c for before, c in zip([None, *path], path[:length], strict=False) if c != before]
        transcripts.append([c for c in starts if c != blank])
    return transcripts


def ctc_beam_search(
    scores: Tensor,
    logit_lengths: Tensor | None = None,
    *,
    loss: Loss | PreTrainedModel,
    blank: int | None = None,
    input_lengths: Tensor | None = None,
    attention_mask: Tensor | None = None,
    beam_size: int = 16,
    language_model: LanguageModel | None = None,
) -> list[list[Transcript]]:
    """The likeliest labellings of each utterance, the probabilities of all their alignments added up.

    log p(labels) = log sum over alignments pi of labels of prod_t p_t(pi_t),   p_t = loss.probabilities(scores_t)

    The search keeps the `beam_size` best prefixes after every frame; with as many as there are labellings it is exact.

    Args:
        scores: raw scores (B, T, C).
        logit_lengths: (B,) frames of each utterance, as for `ctc_greedy`.
        loss: the loss that the scores were trained with, or a model whose config names it: it knows its blank, and its
            frames of inputs.
        blank: the class that stands for no label; None takes the model's, or 0 for a loss.
        input_lengths: (B,) lengths of the inputs, where a model is given.
        attention_mask: (B, L) as the model got it, where a model is given.
        beam_size: prefixes kept after each frame.
        language_model: gives for a prefix of labels a weight for every class (C,), added where that class is appended:
            alpha log p_LM(c | prefix) + beta, say, with a bonus beta for every label.

    Returns:
        For each utterance at most `beam_size` transcripts, the best first.

    Raises:
        ValueError: as `ctc_greedy`, or beam_size < 1.

    Source: Graves & Jaitly, ICML 2014, algorithm 1; Hannun et al., arXiv 1408.2873, algorithm 1.

    Example:
        >>> import torch
        >>> from hf_squareloss import SquareLoss
        >>> scores = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]])  # the best path is empty, the best labelling is not
        >>> ctc_beam_search(scores, torch.tensor([2]), loss=SquareLoss(k=1.0, M=1.0))[0][0].labels
        (1,)
    """
    model = None if isinstance(loss, Loss) else loss
    logit_lengths, blank = _frames_and_blank(scores, logit_lengths, model, blank, input_lengths, attention_mask)
    if beam_size < 1:
        raise ValueError(f"beam_size must be 1 or more, got {beam_size}")
    log_p = log_probabilities(scores.detach(), loss).double().cpu().numpy()
    return [
        _prefix_search(frames[:length], blank, beam_size, language_model)
        for frames, length in zip(log_p, logit_lengths.tolist(), strict=True)
    ]


class _Beam(NamedTuple):
    """Prefixes of labels; for each the log probability of its alignments by their last frame, and the weights."""

    prefixes: list[tuple[int, ...]]
    in_blank: np.ndarray
    in_label: np.ndarray
    weights: np.ndarray  # of the language model, summed over the labels

    def values(self) -> np.ndarray:
        return np.logaddexp(self.in_blank, self.in_label) + self.weights


def _prefix_search(
    log_p: np.ndarray, blank: int, beam_size: int, language_model: LanguageModel | None
) -> list[Transcript]:
    """Frames (T, C) of log probabilities, T possibly 0."""
    nothing = np.zeros(log_p.shape[1])
    following: dict[tuple[int, ...], np.ndarray] = {}
    beam = _Beam([()], np.zeros(1), np.full(1, -np.inf), np.zeros(1))
    for frame in log_p:
        for prefix in beam.prefixes:
            if prefix not in following:
                following[prefix] = nothing if language_model is None else np.asarray(language_model(prefix), float)
        added = np.stack([following[prefix] for prefix in beam.prefixes])
        beam = _next_beam(beam, frame, added, blank, beam_size)
    return [Transcript(*pair) for pair in zip(beam.prefixes, beam.values().tolist(), strict=True)]


def _next_beam(beam: _Beam, frame: np.ndarray, added: np.ndarray, blank: int, beam_size: int) -> _Beam:
    """One frame (C,) further; `added` (N, C) are the language model's weights for the next label of each prefix."""
    prefixes = beam.prefixes
    last = np.array([prefix[-1] if prefix else blank for prefix in prefixes])
    total = np.logaddexp(beam.in_blank, beam.in_label)
    longer = total[:, None] + frame
    longer[np.arange(len(prefixes)), last] = beam.in_blank + frame[last]  # a repeat without a blank is the same label
    longer[:, blank] = -np.inf
    same = beam.in_label + frame[last]
    place = {prefix: row for row, prefix in enumerate(prefixes)}
    for row, prefix in enumerate(prefixes):
        parent = place.get(prefix[:-1]) if prefix else None
        if parent is not None:  # two ways to one prefix
            same[row] = np.logaddexp(same[row], longer[parent, prefix[-1]])
            longer[parent, prefix[-1]] = -np.inf
    # The candidates (N, 1 + C): each prefix itself, then each class appended to it.
    in_blank = np.concatenate([(total + frame[blank])[:, None], np.full_like(longer, -np.inf)], axis=1).ravel()
    in_label = np.concatenate([same[:, None], longer], axis=1).ravel()
    weights = (beam.weights[:, None] + np.concatenate([np.zeros((len(prefixes), 1)), added], axis=1)).ravel()
    values = np.logaddexp(in_blank, in_label) + weights
    best = np.argsort(-values, kind="stable")[:beam_size]
    best = best[values[best] > -np.inf]
    rows, columns = np.divmod(best, 1 + len(frame))
    kept = [
        prefixes[row] + ((column - 1,) if column else ())
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    return _Beam(kept, in_blank[best], in_label[best], weights[best])


def _frames_and_blank(
    scores: Tensor,
    logit_lengths: Tensor | None,
    model: nn.Module | None,
    blank: int | None,
    input_lengths: Tensor | None,
    attention_mask: Tensor | None,
) -> tuple[Tensor, int]:
    """The frames (B,) of each utterance and the blank: those given, or what the model says."""
    if sum(given is not None for given in (logit_lengths, input_lengths, attention_mask)) > 1:
        raise ValueError("give one of logit_lengths, input_lengths and attention_mask")
    if attention_mask is not None:
        input_lengths = attention_mask.sum(-1)
    if input_lengths is not None:
        if model is None:
            raise ValueError("only a model knows how many frames it makes of its inputs: give it, or logit_lengths")
        logit_lengths = ctc_frames(base_model(model), input_lengths)
    if logit_lengths is None:
        logit_lengths = torch.full(scores.shape[:1], scores.shape[1] if scores.dim() > 1 else 0)
    if model is not None:
        theirs = Head.of(model).blank
        if blank is None and theirs is None:
            raise ValueError(f"the config of this {type(base_model(model)).__name__} names no blank: give blank=")
        if None not in (blank, theirs) and blank != theirs:
            raise ValueError(f"the model's blank is {theirs}, got blank={blank}")
        blank = theirs if blank is None else blank
    blank = 0 if blank is None else blank
    _check(scores, logit_lengths, blank)
    return logit_lengths, blank


def _check(scores: Tensor, logit_lengths: Tensor, blank: int) -> None:
    if scores.dim() != 3 or tuple(logit_lengths.shape) != tuple(scores.shape[:1]):
        raise ValueError(
            f"scores must be (B, T, C) and logit_lengths (B,), got {tuple(scores.shape)} and "
            f"{tuple(logit_lengths.shape)}"
        )
    frames, num_classes = scores.shape[1:]
    if ((logit_lengths < 0) | (logit_lengths > frames)).any():
        raise ValueError(f"logit_lengths must be in [0, {frames}], got {logit_lengths.tolist()}")
    if not 0 <= blank < num_classes:
        raise ValueError(f"blank must be in [0, {num_classes}), got {blank}")
