"""One optimizer step on the same examples has one gradient, however they are split over micro-batches and processes."""

import functools
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from tiny_models import CLASSES, WithoutScores, relative_difference, step_gradient
from torch import Tensor
from transformers import GPT2LMHeadModel, Trainer

from hf_squareloss import CrossEntropy, Loss, SquareLoss, SquareLossTrainer, Squentropy

TOLERANCE = 1e-5
FAMILIES = ("bert", "llama", "bart_seq2seq", "bert_tokens", "gpt2_causal", "bert_masked", "vit", "wav2vec2_ctc")
WEIGHTS = tuple(1.0 + 3.0 * c for c in range(CLASSES))
CASES: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(),
    "square": SquareLoss(k=2.0, M=3.0),
    "squentropy": Squentropy(),
    "weighted": CrossEntropy(class_weights=WEIGHTS, label_smoothing=0.1),
    "weighted_square": SquareLoss(class_weights=WEIGHTS, label_smoothing=0.1),
}
PLAIN = ("cross_entropy", "square", "squentropy")
RUNS = [(family, case) for family in FAMILIES for case in CASES if case in PLAIN or family == "bert_tokens"]


def case_gradient(family: str, case: str, folder: Any, **sizes: int) -> Tensor | None:
    """None for the cases that are not tried on this family."""
    if (family, case) not in RUNS:
        return None
    language_model = family.endswith(("_causal", "_masked", "_seq2seq"))
    trainer = WithoutScores if case == "square" and language_model else SquareLossTrainer
    with mock.patch("hf_squareloss.losses._square.gram_pays", return_value=True):  # also for sizes so small
        return step_gradient(family, folder, loss=CASES[case], trainer=trainer, **sizes)


class TwiceInOneProcess(GPT2LMHeadModel):
    """Calls its output layer twice, in training in the second process: that one alone cannot do without scores."""

    def forward(self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any) -> Any:
        outputs = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        if self.training and torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
            self.lm_head(torch.zeros(1, 1, self.config.n_embd))
        return outputs


def twice_in_one_process(model: Any, *args: Any, **kwargs: Any) -> SquareLossTrainer:
    model.__class__ = TwiceInOneProcess
    model.register_buffer("buffer", torch.zeros(1))  # which every forward in several processes sends around
    return SquareLossTrainer(model, *args, **kwargs)


@functools.cache
def whole(family: str, case: str, folder: Path, count: int = 8) -> Tensor:
    """The reference: one process, one batch."""
    gradient = case_gradient(family, case, folder, batch=count, count=count)
    assert gradient is not None and gradient.norm() > 0
    return gradient


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def two_processes(folder: Path) -> dict[Any, Tensor]:
    """All cases on two processes, in one launch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    script = [str(Path(__file__).with_name("two_processes.py")), str(folder), str(folder / "gradients.pt")]
    run = subprocess.run(
        launch + script, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 0, run.stderr
    written = torch.load(folder / "gradients.pt")
    assert written["world_size"] == 2
    return written["gradients"]


@pytest.mark.parametrize(("family", "case"), RUNS)
def test_accumulation(family: str, case: str, folder: Path) -> None:
    accumulated = case_gradient(family, case, folder, batch=2, accumulate=4)
    assert relative_difference(accumulated, whole(family, case, folder)) < TOLERANCE


@pytest.mark.parametrize(("family", "case"), RUNS)
def test_ragged_last_window(family: str, case: str, folder: Path) -> None:
    ragged = case_gradient(family, case, folder, batch=4, accumulate=2, count=6)
    assert relative_difference(ragged, whole(family, case, folder, count=6)) < TOLERANCE


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("family", "case"), RUNS)
def test_two_processes(family: str, case: str, accumulate: int, folder: Path, two_processes: dict[Any, Tensor]) -> None:
    assert relative_difference(two_processes[family, case, accumulate], whole(family, case, folder)) < TOLERANCE


def test_a_batch_that_needs_scores_in_one_process(folder: Path, two_processes: dict[Any, Tensor]) -> None:
    assert relative_difference(two_processes["twice"], whole("gpt2_causal", "square", folder)) < TOLERANCE


def test_stock_trainer_fails_the_same_tests(folder: Path, two_processes: dict[Any, Tensor]) -> None:
    one = step_gradient("bert", folder, batch=8, trainer=Trainer)
    four = step_gradient("bert", folder, batch=2, accumulate=4, trainer=Trainer)
    assert (four.norm() / one.norm()).item() == pytest.approx(4, rel=1e-3)
    assert (two_processes["stock"].norm() / one.norm()).item() == pytest.approx(2, rel=1e-3)


def test_stock_trainer_fails_on_ctc(folder: Path) -> None:
    class StockMean(Trainer):
        """The stock Trainer with the CTC reduction that most families have."""

        def __init__(self, model: Any, *args: Any, **kwargs: Any) -> None:
            model.config.ctc_loss_reduction = "mean"
            super().__init__(model, *args, **kwargs)

    one, four = (step_gradient("wav2vec2_ctc", folder, batch=b, accumulate=8 // b, trainer=StockMean) for b in (8, 2))
    assert (four.norm() / one.norm()).item() == pytest.approx(4, rel=1e-2)


def test_a_mean_of_means_would_fail(folder: Path) -> None:
    """The token counts differ enough among micro-batches for the wrong mean to be far off."""

    class MeanOfMeans(Trainer):
        loss_is_scaled_for_ga = False

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            return model(**inputs).loss

    one, four = (
        step_gradient("bert_tokens", folder, batch=batch, accumulate=8 // batch, trainer=MeanOfMeans)
        for batch in (8, 2)
    )
    assert relative_difference(one, whole("bert_tokens", "cross_entropy", folder)) < TOLERANCE
    assert relative_difference(four, one) > 0.01
