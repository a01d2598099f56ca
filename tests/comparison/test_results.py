"""results.json: of a folder, of a file, of older versions, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from studies import a_run, made_up_study

from hf_squareloss.comparison import analyse, merged_results, read_results, results_of, write_results, write_run
from hf_squareloss.comparison._results import write_study

CARDS = sorted((Path(__file__).parents[2] / "model_cards").glob("*/results.json"))
OLD: dict[str, Any] = {
    "title": "MRPC, tiny",
    "learning_rates": [0.1, 0.2],
    "arguments": ["--model_name_or_path=tiny", "--num_train_epochs", "4"],
    "environment": {"torch": "2"},
    "chosen": {"cross_entropy": 0.1},
    "runs": [
        {
            "loss": "cross_entropy",
            "learning_rate": 0.1,
            "seed": 0,
            "seconds": 5.0,
            "validation": {"accuracy": 0.8},
            "test": {"accuracy": 0.7},
        }
    ],
}


def written(folder: Path, content: Any) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps(content))
    return path


def test_the_runs_of_a_folder_and_of_its_file_are_the_same(tmp_path: Path) -> None:
    runs = made_up_study()
    for run in runs:
        write_run(tmp_path, run)
    whole = read_results(tmp_path)
    assert whole.title == "A made-up study" and whole.metric == "accuracy" and len(whole.runs) == len(runs)
    elsewhere = write_results(tmp_path / "copy" / "results.json", whole)
    assert read_results(elsewhere) == whole == read_results(elsewhere.parent)


def test_the_title_of_a_folder_is_that_of_its_last_command(tmp_path: Path) -> None:
    for run in made_up_study():
        write_run(tmp_path, run)
    write_study(tmp_path, "hf-squareloss compare study.yaml", {"title": "Another title"})
    found = read_results(tmp_path)
    assert found.title == "Another title" and found.settings["command"] == "hf-squareloss compare study.yaml"


def test_settings_are_what_the_runs_agree_on() -> None:
    runs = [a_run(settings={"a": 1, "b": 2}), a_run(settings={"a": 1, "b": 3, "c": None}, seed=1)]
    assert results_of(runs, title="t").settings == {"a": 1}
    assert results_of(runs, title="t", settings={"d": 4}).settings == {"d": 4}


def test_an_old_file_is_converted(tmp_path: Path) -> None:
    found = read_results(written(tmp_path, OLD))
    (run,) = found.runs
    assert (run.task, run.model, run.label, run.seconds) == ("MRPC, tiny", "tiny", "cross_entropy", 5.0)
    assert run.epochs[0].epoch == 4.0 and run.epochs[0].test == {"accuracy": 0.7}
    assert found.settings["learning_rates"] == [0.1, 0.2] and found.environment == {"torch": "2"}


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.parent.name)
def test_published_files_choose_the_same_learning_rates_as_ever(path: Path) -> None:
    (problem,) = analyse(read_results(path)).problems
    content = json.loads(path.read_text(encoding="utf8"))
    chosen = {c.label: c.learning_rate for c in problem.problem.contenders}
    assert chosen == content.get("chosen", chosen)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"format": 7, "runs": []}, "format 7"),
        ({"title": "no runs and no format"}, "format None"),
        ([1, 2], "format None"),
        ({"format": 1, "title": "t", "metric": "m", "runs": []}, "runs"),
        ({"chosen": {}, "runs": []}, "no 'title'"),
        (OLD | {"runs": [OLD["runs"][0] | {"seed": "x"}]}, r"runs\.0\.seed"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, content: Any, named: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ValueError, match=named) as refused:
        read_results(path)
    assert str(path) in str(refused.value)


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no runs yet"):
        read_results(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_results(tmp_path / "nowhere.json")
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(ValueError, match=r"results\.json is no JSON"):
        read_results(tmp_path)


def test_of_two_copies_of_a_run_the_one_that_ended_counts() -> None:
    ended = a_run()
    failed = a_run(status="failed", epochs=[], error="out of memory")
    for studies in ([ended, failed], [failed, ended]):
        merged = merged_results([results_of([run], title="t") for run in studies], "both")
        assert merged.runs == [ended] and merged.title == "both"
