"""hf_squareloss.integrations.speechbrain against SpeechBrain's own losses and searchers, and against plain loops."""

import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import speechbrain as sb
import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.decoders import S2SRNNBeamSearcher
from speechbrain.nnet.losses import ctc_loss as their_ctc_loss
from speechbrain.nnet.losses import mse_loss, nll_loss
from speechbrain.utils.metric_stats import MetricStats
from torch import Tensor

import hf_squareloss
from hf_squareloss import CrossEntropy, Loss, SquareLoss, Squentropy
from hf_squareloss.integrations.speechbrain import LogProbabilities, ctc_loss, sequence_loss

B, T, C, U = 3, 10, 5, 4
LENGTHS = [None, torch.tensor([1.0, 0.7, 0.5])]
LOSSES: list[Loss] = [CrossEntropy(), SquareLoss(k=3.0, M=2.0), Squentropy(), SquareLoss(label_smoothing=0.2)]
every_length = pytest.mark.parametrize("length", LENGTHS, ids=["whole", "ragged"])
every_reduction = pytest.mark.parametrize("reduction", ["mean", "batchmean", "batch"])


def scores_and_targets(frames: int = T) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(B, frames, C, generator=generator, dtype=torch.float64) * 2
    return scores.requires_grad_(), torch.randint(C, (B, T), generator=generator)


def same(value: Tensor, expected: Tensor, scores: Tensor) -> None:
    """Equal in value and, whatever comes after, in gradient."""
    torch.testing.assert_close(value, expected)
    gradients = [torch.autograd.grad(x.square().sum(), scores, retain_graph=True)[0] for x in (value, expected)]
    torch.testing.assert_close(*gradients)


# ---- sequences -------------------------------------------------------------------------------------------------------
@every_length
@every_reduction
@pytest.mark.parametrize("frames", [T, T + 2, T - 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_nll_loss(length: Tensor | None, reduction: Any, frames: int, smoothing: float) -> None:
    scores, targets = scores_and_targets(frames)
    options: dict[str, Any] = {"length": length, "label_smoothing": smoothing, "reduction": reduction}
    expected = nll_loss(scores.log_softmax(-1), targets, **options)
    same(sequence_loss(scores, targets, **options, loss="cross_entropy"), expected, scores)


@every_length
@every_reduction
@pytest.mark.parametrize("frames", [T, T + 2, T - 3])
def test_plain_square_loss_is_mse_loss_on_one_hot(length: Tensor | None, reduction: Any, frames: int) -> None:
    scores, targets = scores_and_targets(frames)
    one_hot = torch.nn.functional.one_hot(targets, C).double()
    expected = mse_loss(scores, one_hot, length, reduction=reduction)
    expected = expected / C if reduction == "batchmean" else expected  # it divides a sum over classes by B alone
    same(sequence_loss(scores, targets, length, reduction=reduction, loss="square", k=1.0, M=1.0), expected, scores)


@every_length
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_every_reduction_by_a_loop_over_positions(length: Tensor | None, loss: Loss) -> None:
    scores, targets = scores_and_targets()
    counts = [T, T, T] if length is None else [10, 7, 5]
    values = [[loss(scores[b, t], targets[b, t]) for t in range(counts[b])] for b in range(B)]
    sums = torch.stack([torch.stack(v).sum() for v in values])
    expected = {
        "sum": sums.sum(),
        "batchmean": sums.sum() / B,
        "mean": sums.sum() / sum(counts),
        "batch": sums / torch.tensor(counts),
    }
    for reduction, value in expected.items():
        same(sequence_loss(scores, targets, length, reduction=reduction, loss=loss), value, scores)


def test_upstream_does_not_sum() -> None:
    """Why our "sum" has no SpeechBrain oracle. Should this fail, compare with theirs."""
    scores, targets = scores_and_targets()
    assert nll_loss(scores.log_softmax(-1), targets, reduction="sum").shape == (B, T)


def test_positions_beyond_the_length_count_nowhere() -> None:
    scores, targets = scores_and_targets()
    targets[1, 7:] = 99
    sequence_loss(scores, targets, LENGTHS[1]).backward()
    assert scores.grad is not None
    assert not scores.grad[1, 7:].any() and scores.grad[1, :7].all() and scores.grad[0].all()


@every_reduction
def test_utterances_without_time(reduction: Any) -> None:
    scores, targets = scores_and_targets()
    scores, targets = scores[:, 0], targets[:, 0]
    expected = nll_loss(scores.log_softmax(-1), targets, reduction=reduction)
    torch.testing.assert_close(sequence_loss(scores, targets, reduction=reduction, loss="cross_entropy"), expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"allowed_len_diff": 1}, "allowed_len_diff"),
        ({"length": torch.tensor([10.0, 7.0, 5.0])}, "relative"),
        ({"length": torch.tensor([1.0, -0.1, 0.5])}, "relative"),
        ({"length": torch.tensor([1.0, 0.5])}, "shape"),
        ({"reduction": "average"}, "reduction"),
        ({"loss": SquareLoss(label_smoothing=0.1), "label_smoothing": 0.1}, "twice"),
        ({"loss": "squares"}, "square"),
        ({"loss": "cross_entropy", "k": 2.0}, "parameter"),
    ],
)
def test_sequence_loss_refuses(changes: dict[str, Any], message: str) -> None:
    scores, targets = scores_and_targets(T + 2)
    assert sequence_loss(scores, targets, length=LENGTHS[1]).isfinite()
    with pytest.raises(ValueError, match=message):
        sequence_loss(scores, targets, **{"length": LENGTHS[1], **changes})


def test_length_without_time_is_refused() -> None:
    with pytest.raises(ValueError, match="length"):
        sequence_loss(torch.zeros(B, C), torch.zeros(B, dtype=torch.long), torch.ones(B))


# ---- CTC -------------------------------------------------------------------------------------------------------------
def ctc_batch() -> dict[str, Any]:
    """Three utterances; the last has fewer frames than its labels need."""
    scores, _ = scores_and_targets()
    targets = torch.tensor([[1, 1, 2, 3], [4, 2, 0, 0], [3, 3, 1, 2]])
    lengths = {"input_lens": torch.tensor([1.0, 0.7, 0.4]), "target_lens": torch.tensor([1.0, 0.5, 1.0])}
    return {"predictions": scores, "targets": targets, **lengths, "blank_index": 0}


@pytest.mark.parametrize("reduction", ["mean", "batchmean", "batch", "sum"])
def test_ctc_with_cross_entropy_is_their_ctc_loss(reduction: Any) -> None:
    batch = ctc_batch()
    scores = batch.pop("predictions")
    expected = their_ctc_loss(scores.log_softmax(-1), **batch, reduction=reduction)
    same(ctc_loss(scores, **batch, reduction=reduction, loss="cross_entropy"), expected, scores)


@pytest.mark.parametrize("loss", [SquareLoss(k=3.0, M=2.0), Squentropy()], ids=lambda loss: loss.name)
def test_ctc_with_other_losses_is_our_ctc_loss(loss: Loss) -> None:
    batch = ctc_batch()
    scores = batch["predictions"]
    values = []
    for b, (frames, labels) in enumerate([(10, 4), (7, 2), (4, 4)]):
        own = {"labels": batch["targets"][b : b + 1, :labels], "logit_lengths": torch.tensor([frames])}
        values.append(hf_squareloss.ctc_loss(scores[b : b + 1], **own, loss=loss, tau=0.5, zero_infinity=True))
    values = torch.cat(values)
    numbers = torch.tensor([4.0, 2.0, 4.0])
    expected = {
        "sum": values.sum(),
        "batchmean": values.sum() / B,
        "batch": values / numbers,
        "mean": (values / numbers).mean(),
    }
    for reduction, value in expected.items():
        same(ctc_loss(**batch, reduction=reduction, loss=loss, ctc_tau=0.5), value, scores)
    assert values[2] == 0  # too short: no alignment


def test_ctc_of_an_empty_transcript_is_finite() -> None:
    batch = ctc_batch() | {"target_lens": torch.tensor([1.0, 0.5, 0.0])}
    values = ctc_loss(**batch, reduction="batch")
    assert values.isfinite().all() and values[2] > 0
    assert ctc_loss(**batch, reduction="mean").isfinite()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_lens": torch.tensor([10, 7, 4])}, "relative"),
        ({"target_lens": torch.tensor([1.0, 0.5])}, "shape"),
        ({"blank_index": 2}, "blank"),
        ({"reduction": "none"}, "reduction"),
    ],
)
def test_ctc_loss_refuses(changes: dict[str, Any], message: str) -> None:
    assert ctc_loss(**ctc_batch()).isfinite()
    with pytest.raises(ValueError, match=message):
        ctc_loss(**ctc_batch() | changes)


# ---- in SpeechBrain's places -----------------------------------------------------------------------------------------
YAML = """
seq_cost: !name:hf_squareloss.integrations.speechbrain.sequence_loss
    loss: square
    k: 3.0
    M: 2.0
    label_smoothing: 0.1
ctc_cost: !name:hf_squareloss.integrations.speechbrain.ctc_loss
    loss: square
    k: 3.0
    M: 2.0
    ctc_tau: 0.5
    blank_index: 0
seq_stats: !name:speechbrain.utils.metric_stats.MetricStats
    metric: !ref <seq_cost>
linear: !new:speechbrain.nnet.linear.Linear
    input_size: 6
    n_neurons: 5
log_probabilities: !new:hf_squareloss.integrations.speechbrain.LogProbabilities
    linear: !ref <linear>
    loss: square
    k: 3.0
    M: 2.0
"""


def test_from_yaml_alone() -> None:
    hparams = load_hyperpyyaml(YAML)
    scores, targets = scores_and_targets()
    expected = SquareLoss(k=3.0, M=2.0, label_smoothing=0.1).mean(scores, targets)
    torch.testing.assert_close(hparams["seq_cost"](scores, targets), expected)
    batch = ctc_batch()
    expected = ctc_loss(**batch, loss=SquareLoss(k=3.0, M=2.0, ctc_tau=0.5))
    del batch["blank_index"]
    torch.testing.assert_close(hparams["ctc_cost"](**batch), expected)
    assert hparams["log_probabilities"].linear is hparams["linear"]
    assert hparams["log_probabilities"].loss == SquareLoss(k=3.0, M=2.0)


def test_metric_stats() -> None:
    stats: MetricStats = load_hyperpyyaml(YAML)["seq_stats"]()
    scores, targets = scores_and_targets()
    stats.append(["a", "b", "c"], scores, targets, LENGTHS[1], reduction="batch")
    expected = sequence_loss(scores, targets, LENGTHS[1], 0.1, reduction="batch", k=3.0, M=2.0)
    assert stats.summarize("average") == pytest.approx(expected.mean().item())


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_log_probabilities_are_those_of_the_loss(loss: Loss) -> None:
    linear = sb.nnet.linear.Linear(input_size=6, n_neurons=C)
    states = torch.randn(B, T, 6, generator=torch.Generator().manual_seed(1)) * 3
    values = LogProbabilities(linear, loss)(states)
    torch.testing.assert_close(values, loss.probabilities(linear(states)).log())
    torch.testing.assert_close(values.log_softmax(-1), values)  # what a searcher makes of them
    if loss.name == "cross_entropy":
        torch.testing.assert_close(values, linear(states).log_softmax(-1))


def test_beam_search_finds_the_most_probable_sequence_under_the_loss() -> None:
    """None of up to four tokens is more probable; with the bare head in the searcher it finds another one."""
    torch.manual_seed(18)  # the most probable sequence has several tokens
    tokens, end, begin, states = 4, 0, 1, torch.randn(1, 8, 6)
    embedding = torch.nn.Embedding(tokens, 8)
    decoder = sb.nnet.RNN.AttentionalRNNDecoder("gru", "content", 8, 8, 1, enc_dim=6, input_size=8)
    linear = sb.nnet.linear.Linear(input_size=8, n_neurons=tokens)
    torch.nn.init.normal_(linear.w.weight)
    torch.nn.init.constant_(linear.w.bias, 0.25)
    loss = SquareLoss(k=4.0, M=1.0)
    head = LogProbabilities(linear, loss)

    def log_probability(sequence: tuple[int, ...]) -> float:
        inputs = embedding(torch.tensor([[begin, *sequence]]))
        decoded, _ = decoder(inputs, states, torch.ones(1))
        values = loss.probabilities(linear(decoded)).log()[0]
        return sum(values[t, token].item() for t, token in enumerate((*sequence, end)))

    def search(module: torch.nn.Module) -> tuple[int, ...]:
        searcher = S2SRNNBeamSearcher(
            embedding=embedding,
            decoder=decoder,
            linear=module,
            bos_index=begin,
            eos_index=end,
            min_decode_ratio=0.0,
            max_decode_ratio=1.0,
            beam_size=30,
            using_eos_threshold=False,
            length_normalization=False,
        )
        with torch.no_grad():
            return tuple(searcher(states, torch.ones(1))[0][0])

    with torch.no_grad():
        best = max(log_probability(s) for n in range(5) for s in product(range(1, tokens), repeat=n))
        assert log_probability(search(head)) >= best - 1e-4
        assert log_probability(search(linear)) < best - 0.1


def test_nothing_else_of_the_package_needs_speechbrain() -> None:
    package = Path(hf_squareloss.__file__).parent
    imports = [p for p in package.rglob("*.py") if "import speechbrain" in p.read_text()]
    assert imports == []
    code = "import sys, hf_squareloss.integrations.speechbrain; sys.exit('speechbrain' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
