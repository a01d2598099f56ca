"""benchmarks/language_modeling.py: methods, schedules, a run that goes on, and the table."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from hf_squareloss import CrossEntropy, SquareLoss

benchmark: Any = importlib.import_module("language_modeling")
render: Any = importlib.import_module("render_language")


def test_phases_of_a_method() -> None:
    assert benchmark.phases("cross_entropy", 100) == (False, [(0.0, "cross_entropy")])
    both = benchmark.phases("prior+square:k=2,M=3@0,cross_entropy@0.75", 100)
    assert both == (True, [(0.0, "square:k=2,M=3"), (0.75, "cross_entropy")])
    for wrong in ("square@0.5", "square@0,square@0", "square:k=2@0,cross_entropy@1", "no_such_loss", "square:j=2", ""):
        with pytest.raises(ValueError):
            benchmark.phases(wrong, 100)


@pytest.mark.parametrize(("progress", "k"), [(0.0, 10.0), (0.5, 100.0), (1.0, 1000.0)])
def test_a_parameter_grows_geometrically(progress: float, k: float) -> None:
    loss = benchmark.loss_at("square:k=10..1000,M=4", progress, 20_000)
    assert (loss.k, loss.M) == (pytest.approx(k), 4.0)


@pytest.mark.parametrize("loss", [CrossEntropy(), SquareLoss(k=20.0, M=10.0)])
def test_the_prior_is_what_its_scores_mean(loss: Any) -> None:
    tokens = torch.tensor([[0, 0, 0, 1, 1, 2]])
    p = loss.probabilities(benchmark.prior_scores(loss, tokens, 4))
    assert torch.allclose(p, torch.tensor([4.0, 3.0, 2.0, 1.0]) / 10, atol=1e-6)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    for name, count in (("train", 60), ("validation", 20)):
        (tmp_path / f"{name}.txt").write_text("\n".join(f"a b c d{i % 3} e" for i in range(count)))
    files = [f"--{name}_file={tmp_path / name}.txt" for name in ("train", "validation")]
    sizes = ["--hidden_size=8", "--layers=1", "--block_size=8", "--batch_size=4", "--learning_rates", "1e-2", "3e-2"]
    return [*files, *sizes, "--data=toy", f"--output={tmp_path / 'out.json'}"]


def test_runs_are_kept_and_go_on(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    methods = ["--methods", "cross_entropy", "prior+square:k=2,M=2@0,cross_entropy@0.5"]
    benchmark.main([*arguments, "--steps=6", *methods])
    found = json.loads((tmp_path / "out.json").read_text())
    assert [run["steps"] for run in found["runs"]] == [6] * 4
    assert [run["last_loss"]["loss"] for run in found["runs"]] == ["cross_entropy"] * 4
    accuracies = [run[part]["accuracy"] for run in found["runs"] for part in ("validation", "test")]
    assert all(0 <= accuracy <= 1 for accuracy in accuracies) and len(set(accuracies)) > 1
    monkeypatch.setattr(benchmark, "train", lambda *given: pytest.fail("it was run already"))
    benchmark.main([*arguments, "--steps=6", *methods])
    with pytest.raises(SystemExit, match="block_size"):
        benchmark.main([*arguments, "--steps=6", "--block_size=4"])
    monkeypatch.undo()
    benchmark.main([*arguments, "--steps=6", "--equal_time", "--methods", "square"])
    table = render.language_section(json.loads((tmp_path / "out.json").read_text()))
    assert "**Equal steps: 6**" in table and "**Equal time: that of 6 steps of cross-entropy**" in table
    assert "(`square`) of the time of one with cross-entropy" in table
    assert table.count("| `cross_entropy` |") == 1 and "vocabulary 10" in table


def test_the_same_run_again_is_the_same(arguments: list[str], tmp_path: Path) -> None:
    for name in ("one", "two"):
        benchmark.main([*arguments, f"--output={tmp_path / name}.json", "--steps=3", "--methods", "square:k=2..4,M=2"])
    one, two = (json.loads((tmp_path / f"{name}.json").read_text())["runs"] for name in ("one", "two"))
    assert [run["test"] for run in one] == [run["test"] for run in two]


def test_a_temperature_is_the_best_of_softmax(arguments: list[str]) -> None:
    args = benchmark.parse([*arguments, "--steps=1"])
    tokens = torch.randint(0, 10, (30, 8), generator=torch.Generator().manual_seed(0))
    tokens[:, 1::2] = tokens[:, ::2]  # every second word is the one before
    learner = benchmark.Learner(tokens, 10, args, None)
    for _ in range(30):
        learner.step(tokens, SquareLoss(k=1.0, M=1.0), 3e-2)
    T = learner.temperature(tokens)
    found = benchmark.evaluate(learner, SquareLoss(k=1.0, M=1.0), T, tokens)
    others = [benchmark.evaluate(learner, SquareLoss(), T * factor, tokens)["calibrated"] for factor in (0.5, 1.0, 2.0)]
    assert min(others) == others[1] == found["calibrated"] < 10
    scores, words = learner.scores(tokens)
    assert found["accuracy"] == pytest.approx(float((scores.argmax(-1) == words).float().mean()))


def test_the_learning_rate_is_chosen_elsewhere_and_every_seed_of_it_is_shown() -> None:
    def run(method: str, rate: float, chosen_by: float, reported: float, seed: int = 0) -> dict[str, Any]:
        key = {"method": method, "learning_rate": rate, "seed": seed, "steps": 10}
        parts = {
            "validation": {"accuracy": chosen_by},
            "test": {"accuracy": reported, "perplexity": 100.0, "calibrated": 90.0},
        }
        return {"key": key, "steps": 10, "seconds": 1.0, **parts}

    names = ("vocabulary", "block_size", "batch_size", "hidden_size", "layers", "training_tokens")
    runs = [run("square", 1e-3, 0.3, 0.1), run("square", 2e-3, 0.2, 0.5), run("square", 1e-3, 0.3, 0.9, seed=1)]
    results = {
        "settings": {"data": "toy", **dict.fromkeys(names, 8)},
        "environment": dict.fromkeys(("machine", "torch", "transformers", "commit"), "a"),
        "threads": 1,
        "runs": [*runs, run("cross_entropy", 1e-3, 0.3, 0.2)],
    }
    rows = [line for line in render.language_section(results).splitlines() if line.startswith("| `")]
    assert rows == [
        "| `square` | 0.001 | 2 | 2 | 10 | 0.500 | 100 | 90 |",
        "| `cross_entropy` | 0.001 | 1 | 1 | 10 | 0.200 | 100 | 90 |",
    ]
    assert "next-word accuracy" in render.language_section(results)
    results["settings"]["units"] = "subwords"
    assert "next-subword accuracy" in render.language_section(results)


def test_equal_time_is_counted_in_steps(arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 8 units, steps of the square loss cost a quarter each; those with a bias half."""
    times = {"cross_entropy": 4.0, "square": 1.0, "prior+square": 2.0}
    asked: list[list[str]] = []

    def seconds(contenders: dict[str, Any], *given: Any, **options: Any) -> dict[str, float]:
        asked.append(list(contenders))
        for step in contenders.values():
            step()
        return {name: times[name] for name in contenders}

    monkeypatch.setattr(benchmark, "seconds", seconds)
    given = [*arguments, "--learning_rates", "1e-2", "--steps=8", "--equal_time", "--methods"]
    methods = ["square:k=2,M=2", "cross_entropy", "square:k=2,M=2@0,cross_entropy@0.5", "prior+square:k=2,M=2"]
    benchmark.main([*given, *methods[:2]])
    benchmark.main([*given, *methods])
    assert asked == [["cross_entropy", "square"], ["cross_entropy", "prior+square"]]
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["step_ratios"] == {"cross_entropy": 1.0, "square": 0.25, "prior+square": 0.5}
    assert [run["steps"] for run in found["runs"]] == [32, 8, 16 + 4, 16]
