"""examples/compare_losses.py on a toy task, its runs in this process: a fair choice, a complete record, no rework."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from example_scripts import load_example
from tiny_text_model import save_tiny_model, write_toy_files

from hf_squareloss import __version__

compare_losses, run_glue = load_example("compare_losses"), load_example("run_glue")
launch_process = compare_losses.launch
LOSSES, RATES, SEEDS = ("cross_entropy", "square"), (1e-3, 1e-2), (0, 1)
Compare = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def launched() -> list[list[str]]:
    return []


@pytest.fixture(scope="module")
def compare(tmp_path_factory: pytest.TempPathFactory, launched: list[list[str]]) -> Any:
    """Compare two losses at two learning rates with two seeds; keywords replace options."""
    folder = tmp_path_factory.mktemp("comparison")
    model = save_tiny_model(folder / "model")
    files = write_toy_files(folder / "toy")

    def launch(script: str, arguments: list[str], folder: Path) -> None:
        assert script == "run_glue.py"
        launched.append(arguments)
        run_glue.main(arguments)

    def run(*shared: str, name: str = "out", **changes: str) -> dict[str, Any]:
        options = {
            "losses": " ".join(LOSSES),
            "learning_rates": " ".join(map(str, RATES)),
            "seeds": " ".join(map(str, SEEDS)),
        }
        own = [text for key, value in {**options, **changes}.items() for text in (f"--{key}", *value.split())]
        given = [text for split, file in files.items() for text in (f"--{split}_file", str(file))]
        short = ["--max_steps", "2", "--save_strategy", "no", "--use_cpu", "--disable_tqdm", "True"]
        return compare_losses.main(
            [
                *own,
                "--output_dir",
                str(folder / name),
                "--",
                "--model_name_or_path",
                str(model),
                *given,
                *short,
                *shared,
            ]
        )

    run.folder = folder  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_losses, "launch", launch)
        yield run


@pytest.fixture(scope="module")
def results(compare: Compare) -> dict[str, Any]:
    return compare()


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.glob("*-seed*/**/*") if path.is_file()}


def test_the_record_is_complete(compare: Any, results: dict[str, Any]) -> None:
    assert results == json.loads((compare.folder / "out" / "results.json").read_text())
    ran = {(r["loss"], r["learning_rate"], r["seed"]) for r in results["runs"]}
    first = {(loss, rate, SEEDS[0]) for loss in LOSSES for rate in RATES}
    rest = {(loss, results["chosen"][loss], seed) for loss in LOSSES for seed in SEEDS}
    assert ran == first | rest
    assert len(results["runs"]) == len(ran) == 6
    for entry in results["runs"]:
        assert set(entry["validation"]) == {"loss", "accuracy", "f1", "ece", "brier", "nll"}
        assert entry["seconds"] > 0
    assert results["environment"]["hf_squareloss"] == __version__
    assert results["environment"].keys() >= {"machine", "threads", "python", "torch", "transformers"}
    assert results["learning_rates"] == list(RATES)


def test_the_numbers_are_those_of_the_runs(compare: Any, results: dict[str, Any]) -> None:
    for entry in results["runs"]:
        folder = compare.folder / "out" / f"{entry['loss']}-lr{entry['learning_rate']:g}-seed{entry['seed']}"
        found = json.loads((folder / "all_results.json").read_text())
        for part, prefix in (("validation", "eval"), ("test", "test")):
            for metric, value in entry.get(part, {}).items():
                assert found[f"{prefix}_{metric}"] == value
        assert json.loads((folder / "config.json").read_text())["hf_squareloss"]["loss"] == entry["loss"]


def test_the_test_part_is_for_the_chosen_runs(compare: Any, results: dict[str, Any]) -> None:
    for entry in results["runs"]:
        chosen = entry["learning_rate"] == results["chosen"][entry["loss"]]
        folder = compare.folder / "out" / f"{entry['loss']}-lr{entry['learning_rate']:g}-seed{entry['seed']}"
        assert ("test" in entry) == (folder / "test_results.json").exists() == chosen
        assert (folder / "README.md").read_text().count("| accuracy |") == 1  # the evaluation is still in the card


def test_no_folder_of_this_machine_is_in_the_record(compare: Any, results: dict[str, Any]) -> None:
    text = (compare.folder / "out" / "results.json").read_text()
    assert str(compare.folder) not in text
    assert str(Path.home()) not in text
    assert {"train.tsv", "model", "--max_steps"} <= set(results["arguments"])


def test_arguments_without_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    assert compare_losses.public(f"{tmp_path}/data") == "data"
    assert compare_losses.public("/not/there/cache") == "cache"
    assert compare_losses.public("../" + tmp_path.name + "/data") == "data"
    assert compare_losses.public(f"--train_file={tmp_path}/train.tsv") == "--train_file=train.tsv"
    for unchanged in ("google/bert_uncased", "--do_train", "--loss_k=2", "3e-5"):
        assert compare_losses.public(unchanged) == unchanged


def test_again_launches_nothing(compare: Any, results: dict[str, Any], launched: list[list[str]]) -> None:
    before, count = snapshot(compare.folder / "out"), len(launched)
    assert count == 6 + 4 and before
    assert compare() == results
    assert len(launched) == count
    assert snapshot(compare.folder / "out") == before
    (compare.folder / "out" / "square-lr0.01-seed0" / "eval_results.json").unlink()  # as if killed
    assert compare()["chosen"] == results["chosen"]
    assert len(launched) == count + 1
    assert snapshot(compare.folder / "out") != before


def test_other_arguments_are_refused(compare: Any, results: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="choose another --output_dir"):
        compare("--label_smoothing_factor", "0.1")


def test_other_files_of_the_same_name_are_refused_or_run_again(
    compare: Any, results: dict[str, Any], launched: list[list[str]]
) -> None:
    train, record = compare.folder / "toy" / "train.tsv", compare.folder / "out" / "results.json"
    content = train.read_text()
    try:
        train.write_text("".join(content.splitlines(keepends=True)[:-2]))
        with pytest.raises(ValueError, match=r"runs with the files .*train\.tsv"):
            compare()
        (kept := record.with_suffix(".kept")).write_bytes(record.read_bytes())
        record.unlink()  # the folders' names alone say nothing
        before = len(launched)
        with pytest.raises(ValueError, match="already holds a run with training data="):
            compare()
        assert len(launched) == before + 1
    finally:
        train.write_text(content)
    record.write_bytes(kept.read_bytes())
    assert compare()["chosen"] == results["chosen"]


def test_torn_results_are_made_again(compare: Any, results: dict[str, Any]) -> None:
    for name in ("eval_results.json", "train_results.json", "test_results.json"):
        (torn := compare.folder / "out" / f"square-lr{results['chosen']['square']:g}-seed0" / name).write_text("{")
        again = compare()
        assert again["chosen"] == results["chosen"] and json.loads(torn.read_text())


def test_an_unknown_loss_is_refused_before_a_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="squre"):
        compare_losses.main(["--losses", "cross_entropy", "squre", "--output_dir", str(tmp_path / "out"), "--", "-x"])
    assert not (tmp_path / "out").exists()


def test_an_unknown_metric_is_refused(compare: Any, results: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no metric 'acuracy': there are .*accuracy"):
        compare(metric="acuracy")


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 2.0), ("ece", 1.0), ("nll", 1.0), ("pearson", 2.0)])
def test_the_learning_rate_is_the_best_on_the_validation_part(metric: str, best: float) -> None:
    runs = [{"learning_rate": rate, "validation": {metric: rate / 10}} for rate in (1.0, 2.0)]
    assert compare_losses.choose(runs, metric) == compare_losses.choose(runs[::-1], metric) == best


def test_the_choice_is_the_argmax(results: dict[str, Any]) -> None:
    for loss in LOSSES:
        scores = {
            r["learning_rate"]: r["validation"]["accuracy"]
            for r in results["runs"]
            if r["loss"] == loss and r["seed"] == SEEDS[0]
        }
        assert scores[results["chosen"][loss]] == max(scores.values())


def test_the_table_shows_both_parts(
    results: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    results = json.loads(json.dumps(results))
    results["runs"].sort(key=lambda r: "test" in r)  # a run that was not chosen comes first
    compare_losses.show(results)
    shown = capsys.readouterr().out
    for word in (", validation", ", test", "accuracy", "ece", "seconds"):
        assert word in shown


def test_the_table_fits_80_columns_with_every_spread(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    metrics = dict.fromkeys(("accuracy", "f1", "matthews_correlation", "ece", "nll"), 0.5)
    losses = ("cross_entropy", "square", "squentropy", "focal", "brier")
    runs = [
        {
            "loss": loss,
            "learning_rate": 2e-5,
            "seed": seed,
            "seconds": 1234.5,
            "validation": metrics | {"f1": seed / (7 + n)},
        }
        for n, loss in enumerate(losses)
        for seed in (0, 1, 2)
    ]
    compare_losses.show({"title": "a title", "metric": "f1", "chosen": dict.fromkeys(losses, 2e-5), "runs": runs})
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80 and "…" not in shown
    assert all(loss in shown for loss in losses) and "learning rate" in shown
    assert shown.count("0.1429 ± 0.1429") == 1 and shown.count("0.5000 ± 0.0000") == 4 * len(losses)
    # Of the differences 0, -1/56, -2/56 to the first loss: their mean, and 4.3027 times its standard error.
    assert shown.count("difference, 95 %") == 2
    assert f"{-1 / 56 - 4.3027 / 56 / 3**0.5:+.4f} {-1 / 56 + 4.3027 / 56 / 3**0.5:+.4f}" in shown


def test_the_progress_bar_ends_with_the_last_test(compare: Any, capsys: pytest.CaptureFixture[str]) -> None:
    compare(name="progress", learning_rates="1e-3", seeds="0", losses="square")
    assert "100%" in (said := capsys.readouterr().err) and "2/2" in said and "1/2" in said


def test_without_arguments_for_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare_losses.main(["--output_dir", str(tmp_path)])
    assert "after --" in capsys.readouterr().err


def test_a_failed_run_names_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "fails.py").write_text("raise SystemExit('no such thing')")
    monkeypatch.setattr(compare_losses, "EXAMPLES", tmp_path)
    with pytest.raises(SystemExit, match=r"fails\.py failed \(1\): see .*log\.txt"):
        launch_process("fails.py", [], tmp_path / "run")
    assert "no such thing" in (tmp_path / "run" / "log.txt").read_text()
