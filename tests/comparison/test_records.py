"""Run files: what is written is read back, and what does not fit is refused by name."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from studies import a_run

from hf_squareloss.comparison import SCHEMA, Results, RunRecord, read_runs, run_name, write_run


def changed_file(folder: Path, **changed: Any) -> Path:
    """A run's file with other content than any run has."""
    path = write_run(folder, a_run())
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    bins = {"confidence": [0.4, None], "accuracy": [0.5, None], "count": [7, 0]}
    run = a_run(parameters={"k": 2.0, "M": "auto"}, reliability={"test": bins}, environment={"torch": "2"})
    path = write_run(tmp_path, run)
    assert path == tmp_path / "runs" / f"{run.identity}.json"
    assert read_runs(tmp_path) == [run]
    assert [file.name for file in path.parent.iterdir()] == [path.name]  # nothing unfinished is left


def test_numbers_that_json_does_not_have_become_null(tmp_path: Path) -> None:
    epochs = [{"epoch": 1, "validation": {"accuracy": math.nan, "nll": math.inf}, "test": {"accuracy": 0.5}}]
    run = a_run(epochs=epochs, status="diverged", error="nan", seconds=-math.inf)
    assert run.epochs[0].validation == {"accuracy": None, "nll": None} and run.seconds is None
    assert "NaN" not in write_run(tmp_path, run).read_text()
    assert read_runs(tmp_path) == [run]


def test_runs_come_in_the_order_of_problem_label_rate_and_seed(tmp_path: Path) -> None:
    assert read_runs(tmp_path) == []
    for seed in (10, 2):
        for loss in ("square", "cross_entropy"):
            write_run(tmp_path, a_run(loss=loss, seed=seed))
    assert [(r.loss, r.seed) for r in read_runs(tmp_path)] == [
        ("cross_entropy", 2),
        ("cross_entropy", 10),
        ("square", 2),
        ("square", 10),
    ]


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_runs(tmp_path / "nowhere")


def test_the_name_follows_from_the_settings_and_from_nothing_else() -> None:
    run = a_run()
    for same in ({"study": "b"}, {"label": "c"}, {"environment": {"d": 1}}, {"seconds": 3.0}, {"label_noise": 0}):
        assert a_run(**same).identity == run.identity
    others = [
        {"task": "rte"},
        {"model": "bert"},
        {"loss": "squentropy"},
        {"parameters": {"k": 2}},
        {"learning_rate": 1e-4},
        {"seed": 1},
        {"label_noise": 0.2},
        {"settings": {"epochs": 3}},
    ]
    assert len({a_run(**other).identity for other in others} | {run.identity}) == len(others) + 1
    assert a_run(parameters={"k": 2}).identity == a_run(parameters={"k": 2.0}).identity
    assert a_run(parameters={"k": True}).identity != a_run(parameters={"k": 1}).identity


def test_the_name_is_a_file_name() -> None:
    name = run_name(
        task="../a b/ü",
        model="org/model" * 30,
        loss="l",
        parameters={},
        learning_rate=1,
        seed=-1,
        label_noise=0,
        settings={},
    )
    assert name.startswith("a-b-org-model") and len(name) < 160 and not set(name) & set("/\\ :")


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"format": 2}, "format 2.*format 1"),
        ({"seed": "first"}, "seed"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"status": "done"}, "status"),
        ({"acuracy": 1}, "acuracy"),
        ({"epochs": []}, "at least one epoch"),
        ({"metric": "f1"}, "metric 'f1'"),
        ({"epochs": [{"epoch": e, "validation": {"accuracy": 0.5}} for e in (2, 1)]}, "epochs must grow"),
        ({"epochs": [{"epoch": 1, "validation": {"accuracy": "high"}}]}, "epochs.0.validation.accuracy"),
        ({"reliability": {"test": {"confidence": [1], "accuracy": [], "count": [1]}}}, "one value per bin"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    path = changed_file(tmp_path, **changed)
    with pytest.raises(ValueError, match=named) as refused:
        read_runs(tmp_path)
    assert str(path) in str(refused.value)


def test_a_file_that_is_cut_off_is_refused_by_name(tmp_path: Path) -> None:
    path = write_run(tmp_path, a_run())
    path.write_text(path.read_text()[:100])
    with pytest.raises(ValueError, match=f"{path.name}.*no JSON.*remove it"):
        read_runs(tmp_path)


def test_one_run_in_two_files_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path, a_run())
    path.with_name("copy.json").write_text(path.read_text())
    with pytest.raises(ValueError, match="copy.json.*same run"):
        read_runs(tmp_path)


def test_a_record_cannot_be_changed_and_has_no_other_fields() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        a_run().seed = 2
    with pytest.raises(ValidationError, match="colour"):
        a_run(colour="red")


def test_the_schema_names_every_field_of_a_run() -> None:
    assert set(SCHEMA["properties"]) == {"format", "title", "metric", "settings", "environment", "runs"}
    described = SCHEMA["$defs"]["RunRecord"]
    assert set(described["properties"]) == set(RunRecord.model_fields)
    assert described["additionalProperties"] is False and "seed" in described["required"]
    whole = Results(title="a study", metric="accuracy", runs=[a_run()])
    assert Results.model_validate_json(whole.model_dump_json()) == whole


def test_a_failed_run_may_have_measured_something_else() -> None:
    """It is a record of a failure, and ends no study."""
    epochs = [{"epoch": 1, "validation": {"other": 0.5}, "test": None}]
    with pytest.raises(ValidationError, match="no epoch has the metric"):
        a_run(epochs=epochs)
    assert a_run(epochs=epochs, status="failed", error="it broke").status == "failed"
