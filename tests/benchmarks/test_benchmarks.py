"""The benchmarks run and are rendered; what they measure on a test machine means nothing."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from tiny_text_model import save_tiny_model

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RENDERERS = ("pictures", *(path.stem for path in BENCHMARKS.glob("render_*.py")))
NO_BENCHMARKS = (
    "measuring",
    "run_all",
    "language_modeling",
    "many_classes",
    "demos",
    "calibration",
    "recorded_scores",
    "speech_calibration",
    "interval_coverage",
    "study_data",
    "study_claims",
    "study_figures",
    *RENDERERS,
)  # or for hours


@pytest.fixture
def quick(tmp_path: Path) -> list[str]:
    return ["--quick", "--rounds", "1", "--output", str(tmp_path / "results.json")]


@pytest.mark.parametrize("name", ["linear_square_loss", "given_scores", "training_step", "ctc_loss"])
def test_a_benchmark_is_measured_and_rendered(name: str, quick: list[str], tmp_path: Path) -> None:
    results = importlib.import_module(name).main(quick)
    results = results["heads"] if name == "linear_square_loss" else results
    assert json.loads((tmp_path / "results.json").read_text())[name] == json.loads(json.dumps(results))
    assert results["threads"] == 1 and results["environment"]["torch"] == torch.__version__
    maker = {"linear_square_loss": "heads", "training_step": "steps", "ctc_loss": "ctc"}.get(name, name)
    table = getattr(importlib.import_module("render_benchmarks"), maker)(results)
    assert table.count("\n| ") >= 2 and results["environment"]["machine"] in table


def test_text_classification(quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = importlib.import_module("text_classification")
    monkeypatch.setattr(benchmark, "IMPORTS", {"Trainer": "import json", "SquareLossTrainer": "import json"})
    model = save_tiny_model(tmp_path / "model")
    rows = [f"{'word ' * (1 + i % 40)}\t{i % 2}" for i in range(256)]
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    given = ["--train_file", str(tmp_path / "train.tsv"), "--model_name_or_path", str(model)]
    results = benchmark.main([*quick, *given])
    padding = results["padding"]
    assert padding["SquareLossTrainer, defaults of run_glue.py"] < padding["Trainer, cross-entropy"]
    assert padding["SquareLossTrainer, same settings"] == padding["Trainer, cross-entropy"] > 0.2
    assert "samples/s" in importlib.import_module("render_benchmarks").text_classification(results)


def test_stages_of_run_glue(quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two runs in processes of their own; every stage was met, and nothing was timed twice."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    given = ["--model_name_or_path", str(save_tiny_model(tmp_path / "model"))]
    for split in ("train", "validation"):
        rows = [f"word {i} is {'good' if i % 2 else 'bad'}\t{i % 2}" for i in range(80)]
        (tmp_path / f"{split}.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
        given += [f"--{split}_file", str(tmp_path / f"{split}.tsv")]
    results = importlib.import_module("run_glue_stages").main([*quick, *given])
    assert set(results["seconds"]) == {"first run", "again"}
    for seconds in results["seconds"].values():
        assert len(seconds) == 9 and all(value > 0 for value in seconds.values())
    table = importlib.import_module("render_benchmarks").stages(results)
    assert table.count("%)") == 18 and "64 samples" in table


def test_a_failed_run_of_run_glue_is_shown(quick: list[str], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="give a model"):
        importlib.import_module("run_glue_stages").main([*quick, "--train_file", str(tmp_path / "train.tsv")])


def test_the_clock_counts_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = importlib.import_module("run_glue_stages")
    ticks = iter([0.0, 2.0, 5.0, 9.0])  # outer begins, inner begins, inner ends, outer ends
    monkeypatch.setattr(benchmark, "time", lambda: next(ticks))
    clock = benchmark.Clock({})
    inner = clock.timing("inner", lambda: None)
    clock.timing("outer", inner)()
    assert clock.seconds == {"inner": 3.0, "outer": 6.0}


def test_growth_and_choice(quick: list[str], tmp_path: Path) -> None:
    importlib.import_module("linear_square_loss").main([*quick, "--parts", "growth", "choice"])
    results, render = json.loads((tmp_path / "results.json").read_text()), importlib.import_module("render_benchmarks")
    assert set(results) == {"linear_square_loss_growth", "linear_square_loss_choice"}
    for row in results["linear_square_loss_choice"]["rows"]:
        row["seconds"] = {"gram": 1.0, "scores": 1.0}
    results["linear_square_loss_choice"]["rows"][0] |= {"chosen": "gram", "seconds": {"gram": 1.0041, "scores": 1.0}}
    said = render.growth_sentences(results)
    assert "against classes" in said and "float32" in said and "at most 1.01 times" in said
    assert [render.at_commit(c) for c in (None, "0123456789", "0123456789-dirty")] == [
        "",
        ", commit 0123456",
        ", commit 0123456-dirty",
    ]


def test_the_largest_head_is_a_part_of_its_own(quick: list[str], tmp_path: Path) -> None:
    """Its rows stand in the table after the others of their type, and neither part touches the other's results."""
    benchmark, render = importlib.import_module("linear_square_loss"), importlib.import_module("render_benchmarks")
    heads = benchmark.main([*quick, "--parts", "heads"])["heads"]
    largest = benchmark.main([*quick, "--parts", "largest"])["largest"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["linear_square_loss"] == json.loads(json.dumps(heads))
    lines = render.heads(render.with_largest(results)).splitlines()
    assert len(lines) == len(render.heads(heads).splitlines()) + len(largest["rows"])
    assert [line.split(" | ")[:2] for line in lines[2:5]] == [
        ["| 512, 1,000, 256", "float32"],
        ["| 2,048, 1,000, 256", "float32"],
        ["| 512, 1,000, 256", "float32"],
    ]
    assert render.with_largest({"linear_square_loss": heads}) == heads
    results["linear_square_loss_largest"]["threads"] = 2
    with pytest.raises(ValueError, match="two machines"):
        render.with_largest(results)


def test_contenders_agree() -> None:
    """All of cross-entropy's forms have one value; the square loss has that of its scores."""
    benchmark = importlib.import_module("linear_square_loss")
    head = benchmark.Head(64, 50, 8)
    ours = benchmark.square_by_gram(head.hidden, head.weight, head.labels)
    torch.testing.assert_close(ours, benchmark.square_on_scores(head.hidden, head.weight, head.labels))
    gradients = {}
    for name, step in benchmark.contenders(head).items():
        step()
        gradients[name] = head.weight.grad.clone()
    entropies = [gradient for name, gradient in gradients.items() if "cross_entropy" in name]
    assert entropies
    for gradient in entropies:
        torch.testing.assert_close(gradient, entropies[0])
    torch.testing.assert_close(gradients["linear_square_loss"], gradients["square on scores"])


def test_peak_memory() -> None:
    measuring = importlib.import_module("measuring")
    assert measuring.peak_bytes(lambda: torch.ones(1000, 256).square()) in range(2 * 1000 * 256 * 4, 2 * 1000 * 256 * 5)


def test_one_file_holds_all(tmp_path: Path) -> None:
    measuring = importlib.import_module("measuring")
    args = measuring.parsed(measuring.parser("", rounds=1), ["--output", str(tmp_path / "results.json")])
    for name in ("a", "b", "a"):
        measuring.save(args, name, value=name * 2)
    there = json.loads((tmp_path / "results.json").read_text())
    assert {name: part["value"] for name, part in there.items()} == {"a": "aa", "b": "bb"}


def test_a_killed_run_goes_on(quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it is published before it is whole."""
    benchmark = importlib.import_module("linear_square_loss")
    measured, calls = benchmark.measured, []

    def killed(*args: object) -> dict[str, object]:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measured(*args)

    monkeypatch.setattr(benchmark, "measured", killed)
    heads = [*quick, "--parts", "heads"]
    with pytest.raises(KeyboardInterrupt):
        benchmark.main(heads)
    assert not (tmp_path / "results.json").exists()
    left = json.loads((tmp_path / "results.linear_square_loss.unfinished.json").read_text())
    with pytest.raises(SystemExit, match="measured otherwise"):
        benchmark.main([*heads, "--resume", "--rounds", "2"])
    resumed = benchmark.main([*heads, "--resume"])["heads"]
    assert [row["tokens"] for row in resumed["rows"]][:2] == [512, 2048] and len(calls) == 1 + len(resumed["rows"])
    assert resumed["rows"][0] == left["rows"][0]
    assert not (tmp_path / "results.linear_square_loss.unfinished.json").exists()


@pytest.mark.parametrize("option", [["--quick"], ["--rounds", "4"]])
def test_quick_figures_are_not_published(option: list[str]) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module("given_scores").main(option)


def test_run_all_runs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in NO_BENCHMARKS]
    called: list[tuple[str, list[str]]] = []
    for name in names:
        monkeypatch.setattr(importlib.import_module(name), "main", lambda argv, name=name: called.append((name, argv)))
    importlib.import_module("run_all").main(["--threads", "2", "--train_file", "a.tsv", "--validation_file=b.tsv"])
    data = {"text_classification": ["--train_file=a.tsv"]}
    data["run_glue_stages"] = ["--train_file=a.tsv", "--validation_file=b.tsv"]
    expected = [(name, ["--threads", "2", *data.get(name, [])]) for name in names]
    expected.append(("linear_square_loss", ["--threads", "2", "--parts", "largest"]))
    assert sorted(called) == sorted(expected)
    assert "run_all" in sys.modules
