"""CTC decoding against every alignment written out."""

import itertools
import math
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
import torch
from contract import EVERY, title
from torch import Tensor

from hf_squareloss import CrossEntropy, Loss, SquareLoss
from hf_squareloss.inference import ctc_beam_search, ctc_greedy

PLAIN = SquareLoss(k=1.0, M=1.0)
LOSSES: list[Loss] = [*EVERY, CrossEntropy(label_smoothing=0.2, class_weights=(1.0, 2.0, 3.0))]


def random_scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 0.7 + 0.3


def collapse(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(c for c, _ in itertools.groupby(path) if c != blank)


def every_labelling(probabilities: Tensor, blank: int, bonus: Any = None) -> dict[tuple[int, ...], float]:
    """log p of all labellings of frames (T, C), one alignment at a time."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    table = probabilities.tolist()
    for path in itertools.product(range(len(table[0])), repeat=len(table)):
        found[collapse(path, blank)] += math.prod(frame[c] for frame, c in zip(table, path, strict=True))
    values = {labels: math.log(p) for labels, p in found.items()}
    if bonus is None:
        return values
    return {
        labels: value + sum(float(bonus(labels[:i])[c]) for i, c in enumerate(labels))
        for labels, value in values.items()
    }


@pytest.mark.parametrize("blank", [0, 2])
def test_greedy_is_the_best_path(blank: int) -> None:
    scores = random_scores(5, 6, 3)
    lengths = torch.tensor([6, 4, 1, 0, 6])
    found = ctc_greedy(scores, lengths, blank=blank)
    paths = scores.argmax(-1).tolist()
    for labels, path, length in zip(found, paths, lengths.tolist(), strict=True):
        assert tuple(labels) == collapse(tuple(path[:length]), blank)
    assert found[3] == [] and any(len(labels) > 1 for labels in found)


def test_greedy_keeps_repeats_that_a_blank_separates() -> None:
    path = torch.tensor([[1, 1, 0, 1, 2, 2]])
    assert ctc_greedy(torch.eye(3)[path], torch.tensor([6])) == [[1, 1, 2]]
    assert ctc_greedy(torch.eye(3)[path], torch.tensor([2])) == [[1]]


@pytest.mark.parametrize("loss", LOSSES, ids=title)
@pytest.mark.parametrize("blank", [0, 1])
def test_a_wide_beam_equals_enumeration(loss: Loss, blank: int) -> None:
    scores = random_scores(3, 5, 3)
    lengths = torch.tensor([5, 3, 1])
    found = ctc_beam_search(scores, lengths, loss=loss, blank=blank, beam_size=1000)
    for transcripts, frames, length in zip(found, scores, lengths.tolist(), strict=True):
        expected = every_labelling(loss.probabilities(frames[:length]), blank)
        assert {labels: value for labels, value in transcripts} == pytest.approx(expected, abs=1e-5)
        values = [value for _, value in transcripts]
        assert values == sorted(values, reverse=True)
        assert sum(map(math.exp, values)) == pytest.approx(1.0, abs=1e-5)


def test_a_narrow_beam_finds_the_best_of_most() -> None:
    best = 0
    for seed in range(20):
        scores = random_scores(1, 6, 3, seed=seed)
        narrow = ctc_beam_search(scores, torch.tensor([6]), loss=PLAIN, beam_size=4)[0]
        assert len(narrow) == 4
        expected = every_labelling(PLAIN.probabilities(scores[0]), 0)
        assert all(value <= expected[labels] + 1e-5 for labels, value in narrow)
        best += narrow[0].labels == max(expected, key=expected.__getitem__)
    assert best >= 18


def test_beam_and_greedy_differ_where_alignments_add_up() -> None:
    scores, length = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]), torch.tensor([2])
    assert ctc_greedy(scores, length) == [[]]
    labels, value = ctc_beam_search(scores, length, loss=PLAIN)[0][0]
    assert labels == (1,) and math.exp(value) == pytest.approx(0.64)


def test_a_softmax_of_raw_scores_ranks_wrongly() -> None:
    """The link matters: the same scores read as logits give another best labelling."""
    scores, length = torch.tensor([[[0.75, 0.25], [0.75, 0.25]]]), torch.tensor([2])
    assert ctc_beam_search(scores, length, loss=PLAIN)[0][0].labels == ()
    assert ctc_beam_search(scores, length, loss=CrossEntropy())[0][0].labels == (1,)


def test_a_language_model_weighs_each_label_once() -> None:
    table = np.log(np.random.default_rng(0).dirichlet(np.ones(3), size=4))

    def bigrams(prefix: tuple[int, ...]) -> np.ndarray:
        return 0.8 * table[prefix[-1] if prefix else 3] + 0.1

    scores = random_scores(1, 5, 3, seed=3)
    found = ctc_beam_search(scores, torch.tensor([5]), loss=PLAIN, beam_size=1000, language_model=bigrams)[0]
    expected = every_labelling(PLAIN.probabilities(scores[0]), 0, bigrams)
    assert {labels: value for labels, value in found} == pytest.approx(expected, abs=1e-5)
    plain = ctc_beam_search(scores, torch.tensor([5]), loss=PLAIN, beam_size=1000)[0]
    assert [labels for labels, _ in plain] != [labels for labels, _ in found]


def test_a_language_model_may_forbid() -> None:
    scores = random_scores(1, 5, 3)
    forbid_two = np.array([0.0, 0.0, -np.inf])
    found = ctc_beam_search(scores, torch.tensor([5]), loss=PLAIN, beam_size=99, language_model=lambda _: forbid_two)
    assert found[0] and all(2 not in labels for labels, _ in found[0])


def test_no_frames_and_16_bits() -> None:
    scores = random_scores(2, 4, 3).bfloat16()
    found = ctc_beam_search(scores, torch.tensor([0, 4]), loss=PLAIN)
    assert found[0] == [((), 0.0)]
    assert found[1] == ctc_beam_search(scores.float(), torch.tensor([0, 4]), loss=PLAIN)[1]


def test_misfits_are_refused() -> None:
    scores, lengths = random_scores(2, 4, 3), torch.tensor([4, 4])
    for decode in (ctc_greedy, lambda *a, **k: ctc_beam_search(*a, loss=PLAIN, **k)):
        with pytest.raises(ValueError, match=r"\(B, T, C\)"):
            decode(scores[0], lengths)
        with pytest.raises(ValueError, match="logit_lengths"):
            decode(scores, lengths[:1])
        with pytest.raises(ValueError, match=r"\[0, 4\], got \[4, 5\]"):
            decode(scores, torch.tensor([4, 5]))
        with pytest.raises(ValueError, match=r"blank must be in \[0, 3\), got 3"):
            decode(scores, lengths, blank=3)
    with pytest.raises(ValueError, match="beam_size"):
        ctc_beam_search(scores, lengths, loss=PLAIN, beam_size=0)
