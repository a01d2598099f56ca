"""benchmarks/calibration.py and recorded_scores.py: scores that a run leaves, candidates, constants of other tasks."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_scripts import QUIET, predictions
from picture_files import CLASSES, MODEL, SHORT, write_pictures

from hf_squareloss import Loss, SquareLoss, SquareLossTrainer, make_loss

calibration: Any = importlib.import_module("calibration")
recorded_scores: Any = importlib.import_module("recorded_scores")
render: Any = importlib.import_module("render_calibration")
Part = tuple[np.ndarray, np.ndarray]


# ---- scores ----------------------------------------------------------------------------------------------------------
def test_a_run_leaves_its_scores(tmp_path: Path) -> None:
    folders = write_pictures(tmp_path / "pictures", {"train": 32, "validation": 16, "test": 16})
    given = [*folders, *MODEL, *SHORT, *QUIET, "--loss", "square", "--calibrate", "False"]
    given += ["--output_dir", str(tmp_path / "task/run")]
    before = (SquareLossTrainer.evaluation_loop, SquareLossTrainer.evaluate)
    recorded_scores.main(["run_image_classification.py", *given])
    assert (SquareLossTrainer.evaluation_loop, SquareLossTrainer.evaluate) == before
    run = calibration.read_run(tmp_path / "task/run")
    assert (run["task"], run["run"], run["loss"].name) == ("task", "run", "square")
    assert {name: part[0].shape for name, part in run["parts"].items()} == {
        "train": (32, 2),
        "validation": (16, 2),
        "test": (16, 2),
    }
    scores, labels = run["parts"]["test"]
    assert [CLASSES[c] for c in scores.argmax(-1)] == predictions(tmp_path / "task/run")
    assert np.bincount(labels).tolist() == [8, 8]


# ---- measures and candidates -----------------------------------------------------------------------------------------
def test_measures() -> None:
    sure, labels = np.eye(2)[[0, 1, 1]], np.array([0, 1, 0])
    found = calibration.measures(sure, labels)
    assert found["ece"] == pytest.approx(1 / 3) and found["brier"] == pytest.approx(2 / 3)
    assert found["nll"] == pytest.approx(-np.log(calibration.FLOOR) / 3)
    even = calibration.measures(np.full((30, 2), 0.5), np.arange(30) % 2)
    assert even == pytest.approx({"ece": 0.0, "brier": 0.5, "nll": np.log(2)})


@pytest.mark.parametrize(("k", "M"), [(1.0, 1.0), (5.0, 4.0)])
def test_the_continued_link(k: float, M: float) -> None:
    p = np.linspace(0, 1, 11)
    assert calibration.continued(k * M * p / (1 + (k - 1) * p), k, M) == pytest.approx(p)
    for edge in (0.0, M):  # one slope on both sides
        below, at, above = calibration.continued(np.array([edge - 1e-6, edge, edge + 1e-6]), k, M)
        assert above - at == pytest.approx(at - below, rel=1e-3)


def test_the_projection_is_the_nearest_point() -> None:
    rng = np.random.default_rng(0)
    q = rng.normal(size=(50, 2)) * 2
    first = np.clip((1 + q[:, 0] - q[:, 1]) / 2, 0, 1)
    assert calibration.projected(q) == pytest.approx(np.stack([first, 1 - first], -1))
    q, others = rng.normal(size=(20, 5)), rng.dirichlet(np.ones(5), 500)
    nearest = calibration.projected(q)
    assert nearest.min() >= 0 and nearest.sum(-1) == pytest.approx(1)
    distances = np.square(q[:, None] - others).sum(-1).min(-1)
    assert (np.square(q - nearest).sum(-1) <= distances).all()


def made(rows: int, scale: float, shift: Any = 0.0, seed: int = 0, classes: int = 4) -> Part:
    """Scores whose labels are drawn from softmax(scale * scores + shift)."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(rows, classes))
    return scores, (calibration.softmax(scale * scores + shift).cumsum(-1) < rng.random((rows, 1))).sum(-1)


def test_what_is_fitted() -> None:
    part = made(4000, 3.0, shift := np.array([2.0, 0.0, 0.0, -2.0]))
    plain = made(4000, 3.0)
    assert calibration.fit_temperature(plain) == pytest.approx(3.0, rel=0.1)
    assert calibration.fit_temperature((plain[0] * 10, plain[1]), 10.0) == pytest.approx(0.3, rel=0.1)
    a, b = calibration.fit_vector(part, 1.0)
    assert a == pytest.approx([3.0] * 4, rel=0.15) and b - b.mean() == pytest.approx(shift, abs=0.3)
    fresh = made(4000, 3.0, shift, seed=1)
    by_name = {
        "T": calibration.softmax(calibration.fit_temperature(part) * fresh[0]),
        "vector": calibration.softmax(a * fresh[0] + b),
        "isotonic": calibration.isotonic(part, fresh[0]),
    }
    nll = {name: calibration.measures(p, fresh[1])["nll"] for name, p in by_name.items()}
    assert nll["vector"] < nll["isotonic"] < nll["T"]  # the shift is what T cannot make


@pytest.mark.parametrize(("k", "classes"), [(1.0, 2), (1.0, 6), (6.25, 50)])
def test_the_slope_is_that_of_the_link(k: float, classes: int) -> None:
    loss, scores = SquareLoss(k=k, M=2.0), np.zeros((1, classes))
    scores += k * 2.0 / (classes + k - 1)  # of equal probabilities
    scores[0, 0] += 1e-4
    run = {"loss": loss, "parts": {"test": (scores, None)}}
    T = calibration.slope(run) / 2.0
    assert calibration.softmax(T * scores) == pytest.approx(calibration.link(loss, scores), abs=1e-8)


def test_the_share_of_the_uniform_distribution() -> None:
    labels = np.arange(1000) % 4
    sure = np.eye(4)[np.where(np.arange(1000) < 200, (labels + 1) % 4, labels)]  # a fifth wrong
    assert calibration.fit_share(sure, labels) == pytest.approx(0.2 * 4 / 3, abs=1e-3)


# ---- whole runs ------------------------------------------------------------------------------------------------------
def leave(folder: Path, loss: Loss, scale: float, seed: int = 0, rows: int = 200) -> None:
    """The scores of a run whose right T is `scale`."""
    (folder / "scores").mkdir(parents=True)
    for i, part in enumerate(("train", "validation", "test")):
        scores, labels = made(rows, scale, seed=10 * seed + i)
        saved = json.dumps(loss.to_dict())
        np.savez(folder / "scores" / f"{part}.npz", scores=scores.astype(np.float32), labels=labels, loss=saved)


def table(tmp_path: Path) -> dict[str, Any]:
    folders = [str(path) for path in sorted(tmp_path.glob("task*/*"))]
    calibration.main([*folders, "--output", str(tmp_path / "out.json")])
    return json.loads((tmp_path / "out.json").read_text())


def test_constants_come_from_the_other_tasks(tmp_path: Path) -> None:
    square = SquareLoss(k=1.0, M=2.0)
    leave(tmp_path / "task-a/square", square, 2.0)
    leave(tmp_path / "task-b/square", square, 8.0, seed=1)
    leave(tmp_path / "task-b/cross_entropy", make_loss("cross_entropy"), 1.0, seed=2)
    found = {(run["task"], run["name"]): run for run in table(tmp_path)["runs"]}
    fixed = {key: run["constants"]["fixed"]["T M"] for key, run in found.items() if "constants" in run}
    own = {key: run["T M"] for key, run in found.items()}
    assert fixed["task-a", "square"] == pytest.approx(own["task-b", "square"], rel=1e-3)
    assert fixed["task-b", "square"] == pytest.approx(own["task-a", "square"], rel=1e-3)
    assert own["task-a", "square"] == pytest.approx(4.0, rel=0.3)
    assert {"link", "T", "T, uniform", "vector", "isotonic"} == found["task-b", "cross_entropy"]["candidates"].keys()
    rules = {"projection", "slope", "sure", "fixed", "power", "residuals", "training", "both"}
    assert rules <= found["task-a", "square"]["candidates"].keys()
    for run in found.values():
        assert run["candidates"]["T"]["nll"] < 1.5 and run["other_class"]["T"] == 0
    page = render.calibration_section(json.loads((tmp_path / "out.json").read_text()))
    assert "mean over 2 tasks and 2 runs" in page
    mean_nll = np.mean([found[task, "square"]["candidates"]["T"]["nll"] for task in ("task-a", "task-b")])
    assert "| softmax(T f) | validation rows |" in page and f" {mean_nll:.3f} | 0.0% |" in page
    values = [found["task-b", "cross_entropy"]["candidates"]["link"][name] for name in ("ece", "brier", "nll")]
    assert " / ".join(f"{value:.3f}" for value in values) in page


def test_the_checkpoint_and_T_of_the_same_rows(tmp_path: Path) -> None:
    loss = SquareLoss(k=1.0, M=1.0)
    leave(tmp_path / "task/run", loss, 2.0)
    for step, scale in ((10, 0.5), (20, 4.0)):
        leave(tmp_path / f"task/run/checkpoint-{step}", loss, scale, seed=step)
    (found,) = table(tmp_path)["checkpoints"]
    assert found["of"] == 2 and found["task"] == "task"
    better = made(200, 4.0, seed=202)  # the test part of the second one, which every half chooses
    T = calibration.fit_temperature(better)
    least = calibration.measures(calibration.softmax(T * better[0]), better[1])["nll"]
    for name in ("same", "other"):
        assert least < found[name]["nll"] < least + 0.1
    text = render.optimism([found])
    assert f"{found['same']['nll']:.3f} on the test part" in text and "1 runs with 2 checkpoints" in text


def test_scores_of_a_calibrated_model_are_refused(tmp_path: Path) -> None:
    calibrated = make_loss("square", k=1.0, M=1.0, calibration={"T": 2.0})
    leave(tmp_path / "task/square", calibrated, 2.0)
    with pytest.raises(SystemExit, match="--calibrate False"):
        table(tmp_path)


def test_a_folder_without_scores_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="recorded_scores"):
        calibration.main([str(tmp_path), "--output", str(tmp_path / "out.json")])
