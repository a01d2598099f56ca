"""One optimizer step on the same examples has one gradient, however they are split over micro-batches and processes."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import other_trainers
import pytest
import torch
from scaling_cases import RUNS, case_gradient, whole
from tiny_models import relative_difference, step_gradient
from torch import Tensor
from trainer_runs import calibration
from transformers import Trainer

from hf_squareloss import SquareLossTrainer

TOLERANCE = 1e-5
HELPERS = Path(__file__).parents[1] / "helpers"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def written(folder: Path) -> dict[str, Any]:
    """All cases on two processes, in one launch."""
    for num_labels in (1, 3):
        other_trainers.cross_encoder(num_labels, folder / f"encoder{num_labels}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
    script = [str(HELPERS / "two_processes.py"), str(folder), str(folder / "gradients.pt")]
    run = subprocess.run(
        launch + script, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240
    )
    assert run.returncode == 0, run.stderr
    written = torch.load(folder / "gradients.pt")
    assert written["world_size"] == 2
    return written


@pytest.fixture(scope="module")
def two_processes(written: dict[str, Any]) -> dict[Any, Tensor]:
    return written["gradients"]


@pytest.mark.parametrize(("family", "case"), RUNS)
def test_accumulation(family: str, case: str, folder: Path) -> None:
    accumulated = case_gradient(family, case, folder, batch=2, accumulate=4)
    assert relative_difference(accumulated, whole(family, case, folder)) < TOLERANCE  # type: ignore[arg-type]


@pytest.mark.parametrize(("family", "case"), RUNS)
def test_ragged_last_window(family: str, case: str, folder: Path) -> None:
    ragged = case_gradient(family, case, folder, batch=4, accumulate=2, count=6)
    assert relative_difference(ragged, whole(family, case, folder, count=6)) < TOLERANCE  # type: ignore[arg-type]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(("family", "case"), RUNS)
def test_two_processes(family: str, case: str, accumulate: int, folder: Path, two_processes: dict[Any, Tensor]) -> None:
    assert relative_difference(two_processes[family, case, accumulate], whole(family, case, folder)) < TOLERANCE


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated")  # trl 1.16 with transformers 5.24
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("case", other_trainers.CASES)
def test_two_processes_of_other_trainers(
    case: str, accumulate: int, folder: Path, two_processes: dict[Any, Tensor]
) -> None:
    expected = other_trainers.gradient(case, folder, batch=8)
    assert relative_difference(two_processes[case, accumulate], expected) < TOLERANCE


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


@pytest.mark.parametrize("family", ["bert", "bert_tokens", "wav2vec2_ctc"])
def test_two_processes_calibrate_alike(family: str, folder: Path, written: dict[str, Any]) -> None:
    """Both find the same number, that of one process: no row that fills up the last batch counts twice."""
    first, second = (numbers[family] for numbers in written["calibrations"])
    assert first == second
    T, items = calibration(family, folder)
    assert first[1] == items and first[0] == pytest.approx(T, rel=1e-3)


def test_an_old_signature_of_compute_loss_scales_as_well(folder: Path) -> None:
    class Old(SquareLossTrainer):
        """Hands on neither the count nor anything else that is new."""

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:  # type: ignore[override]
            return super().compute_loss(model, inputs, return_outputs)

    one, four = (step_gradient("bert", folder, batch=b, accumulate=8 // b, trainer=Old) for b in (8, 2))
    assert relative_difference(one, step_gradient("bert", folder, batch=8)) < TOLERANCE
    assert relative_difference(four, one) < TOLERANCE
