"""Carrying a study out: which runs are made, which are not, and what becomes of those that fail."""

import json
import os
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from foreign_script import PoolHere, write_script

from hf_squareloss.comparison import (
    Options,
    Order,
    Outcome,
    RunRecord,
    Stopped,
    Study,
    carry_out,
    make_study,
    read_runs,
)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return write_script(tmp_path)


def a_study(script: Path, *, arguments: dict[str, Any] | None = None, **changed: Any) -> Study:
    given = {"title": "toy", "tasks": {"task": {"script": str(script)}}, "models": {"model": {}}}
    given |= {"losses": ["cross_entropy", "square"], "learning_rates": [1e-4, 1e-3], "arguments": arguments or {}}
    return make_study({**given, **changed}, "here")


def run(study: Study, folder: Path, pool: Any = None, **options: Any) -> list[RunRecord]:
    return carry_out(study, Options(folder), pool or PoolHere(2), **options)


def names(records: list[RunRecord]) -> list[tuple[str, float, int]]:
    return [(record.label, record.learning_rate, record.seed) for record in records]


def test_the_runs_are_those_of_the_protocol(script: Path, tmp_path: Path) -> None:
    study, pool = a_study(script), PoolHere(2)
    records = run(study, tmp_path / "out", pool)
    tuned = [(loss, rate, seed) for loss in ("cross_entropy", "square") for rate in (1e-4, 1e-3) for seed in (0, 1)]
    rest = [("cross_entropy", 1e-3, 2), ("square", 1e-3, 2)]
    assert sorted(names(records)) == sorted(tuned + rest) and len(records) == study.size
    assert {record.identity for record in read_runs(tmp_path / "out")} == {order.key for order in pool.made}
    for record in records:
        quality = {"cross_entropy": 0.8, "square": 0.85}[record.loss] - 0.01 * record.seed
        quality -= 0.1 * (record.learning_rate != 1e-3)
        (epoch,) = record.epochs
        assert epoch.validation["accuracy"] == pytest.approx(quality)
        assert epoch.test == {"accuracy": pytest.approx(quality - 0.05)}
        assert (record.seconds, record.status, record.metric) == (2.0, "finished", "accuracy")
        assert record.settings["script"] == "my_train.py" and record.environment["python"]
    assert list((tmp_path / "out/work").iterdir()) == list((tmp_path / "out/logs").iterdir()) == []


def test_no_run_is_made_twice_and_another_machine_goes_on(script: Path, tmp_path: Path) -> None:
    study, first = a_study(script), tmp_path / "first"
    records = run(study, first)
    assert run(study, first, again := PoolHere()) == records and again.made == []
    lost = sorted((first / "runs").iterdir())[3]
    (elsewhere := tmp_path / "second/runs").mkdir(parents=True)
    for file in (first / "runs").iterdir():
        if file != lost:
            (elsewhere / file.name).write_bytes(file.read_bytes())
    run(study, tmp_path / "second", pool := PoolHere())
    assert [order.key for order in pool.made] == [lost.stem]
    assert (elsewhere / lost.name).exists()


def test_a_study_grows_along_its_axes(script: Path, tmp_path: Path) -> None:
    run(a_study(script), tmp_path / "out")
    larger = a_study(script, seeds=[0, 1, 2, 3], losses=["cross_entropy", "square", {"square": {"k": [2]}}])
    records = run(larger, tmp_path / "out", pool := PoolHere())
    assert len(records) == larger.size and len(pool.made) == larger.size - a_study(script).size
    assert {order.arguments[3] for order in pool.made if "k=2" in order.arguments} == {"k=2"}


def test_changed_settings_are_refused_by_name_and_the_old_runs_stay(script: Path, tmp_path: Path) -> None:
    run(a_study(script, arguments={"best": 1e-4}), tmp_path / "out")
    before = read_runs(tmp_path / "out")
    for arguments in ({"best": 1e-3}, {}):
        pool = PoolHere()
        with pytest.raises(ValueError, match=r"best=0.0001 there, now (0.001|None)\. Choose another --output_dir"):
            run(a_study(script, arguments=arguments), tmp_path / "out", pool)
        assert pool.made == []
    with pytest.raises(ValueError, match="metric='accuracy' there, now 'nll'"):
        run(a_study(script, arguments={"best": 1e-4}, metric="nll"), tmp_path / "out")
    with pytest.raises(ValueError, match="had greater_is_better=True there, now False"):
        run(a_study(script, arguments={"best": 1e-4}, greater_is_better=False), tmp_path / "out")
    assert read_runs(tmp_path / "out") == before
    other = {"tasks": {"other": {"script": str(script)}}}  # another problem in the same folder
    assert len(run(a_study(script, **other), tmp_path / "out")) == 10


def test_a_failed_run_does_not_stop_the_others(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, pool = a_study(script, arguments={"fail": 1}), PoolHere()
    records = run(study, tmp_path / "out", pool)
    assert {record.seed for record in records} == {0, 2}
    assert len(pool.made) == study.size  # none is tried again: the script would fail again
    failed = [record for record in read_runs(tmp_path / "out") if record.status == "failed"]
    assert len(failed) == 4 and all("RuntimeError: no such thing" in (record.error or "") for record in failed)
    said = capsys.readouterr().out
    assert said.count("Failed: task, model") == 4 and "RuntimeError: no such thing" in said
    again = run(study, tmp_path / "out", pool := PoolHere())
    assert len(pool.made) == 4 and names(again) == names(records)  # another time they are tried again


def test_failed_runs_do_not_bar_the_folder_when_the_fault_is_mended(script: Path, tmp_path: Path) -> None:
    run(a_study(script, arguments={"fail": 1}, learning_rates=[1e-3], seeds=[1]), tmp_path / "out")
    assert [record.status for record in read_runs(tmp_path / "out")] == ["failed", "failed"]
    script.write_text(script.read_text().replace("no such thing", "another thing"))
    assert run(a_study(script, arguments={"fail": 1}, learning_rates=[1e-3], seeds=[1]), tmp_path / "out") == []
    mended = a_study(script, arguments={"fail": 7}, learning_rates=[1e-3], seeds=[1])
    records = run(mended, tmp_path / "out")
    assert len(records) == 2 and read_runs(tmp_path / "out") == records
    assert list((tmp_path / "out/work").iterdir()) == list((tmp_path / "out/logs").iterdir()) == []
    with pytest.raises(ValueError, match="fail=7 there, now 8"):
        run(a_study(script, arguments={"fail": 8}, learning_rates=[1e-3], seeds=[1]), tmp_path / "out")


@pytest.mark.parametrize("written", [{"M": 4, "k": 2}, {"k": 2.0, "M": 4.0}])
def test_a_loss_that_was_written_differently_and_a_new_title_keep_the_runs(
    script: Path, tmp_path: Path, written: dict[str, Any]
) -> None:
    study = a_study(script, losses=["cross_entropy", {"square": {"k": 2, "M": 4}}])
    records = run(study, tmp_path / "out")
    for file in (tmp_path / "out/runs").glob("*square*"):  # as older versions wrote them
        file.write_text(file.read_text().replace("square, k = 2, M = 4", "square, M = 4.0, k = 2"))
    again = a_study(script, losses=["cross_entropy", {"square": written}], title="new")
    found = run(again, tmp_path / "out", pool := PoolHere())
    assert pool.made == [] and names(found) == names(records)
    assert {record.label for record in read_runs(tmp_path / "out")} == {"cross_entropy", "square, k = 2, M = 4"}
    assert {record.study for record in read_runs(tmp_path / "out")} == {"new"}


class Deadly(PoolHere):
    """Workers die in the first `deaths` runs."""

    def __init__(self, deaths: int) -> None:
        super().__init__()
        self.deaths = deaths

    def wait(self, seconds: float) -> list[Outcome]:
        found = super().wait(seconds)
        if found and self.deaths > 0:
            self.deaths -= 1
            return [replace(found[0], code=None, epochs=[], last_lines="said\nthe worker died (SIGKILL)")]
        return found


@pytest.mark.parametrize(("deaths", "failed"), [(1, 0), (2, 1)])
def test_a_run_whose_worker_died_is_tried_once_more(script: Path, tmp_path: Path, deaths: int, failed: int) -> None:
    study, pool = a_study(script), Deadly(deaths)
    records = run(study, tmp_path / "out", pool)
    assert len(records) == study.size - failed
    assert pool.made[0].key == pool.made[1].key and len(pool.made) == study.size + 1
    errors = [record.error for record in read_runs(tmp_path / "out") if record.status == "failed"]
    assert errors == ["said\nthe worker died (SIGKILL)"] * failed


def test_metrics_that_are_not_finite_are_a_run_that_diverged(script: Path, tmp_path: Path) -> None:
    records = run(a_study(script, arguments={"nan": 2}), tmp_path / "out")
    assert {record.status for record in records if record.seed == 2} == {"diverged"}
    (file,) = (tmp_path / "out/runs").glob("*square*seed2*")
    assert json.loads(file.read_text())["epochs"][0]["validation"]["accuracy"] is None
    assert run(a_study(script, arguments={"nan": 2}), tmp_path / "out", pool := PoolHere()) == records
    assert pool.made == []


def test_a_metric_that_nothing_measures_is_refused_after_the_first_run(script: Path, tmp_path: Path) -> None:
    pool = PoolHere(2)
    with pytest.raises(ValueError, match="no metric 'acc' on validation: there are accuracy, nll"):
        run(a_study(script, metric="acc"), tmp_path / "out", pool)
    assert len(pool.made) == 1 and pool.stopped == 0


def test_a_script_that_writes_nothing_is_refused(tmp_path: Path) -> None:
    (silent := tmp_path / "silent.py").write_text("pass")
    with pytest.raises(ValueError, match=r"none: it must write all_results\.json with eval_NAME"):
        run(a_study(silent), tmp_path / "out")


class Edited(PoolHere):
    """The script is edited behind the start of the third run, or behind its end."""

    def __init__(self, script: Path, *, late: bool) -> None:
        super().__init__()
        self.script, self.late = script, late

    def wait(self, seconds: float) -> list[Outcome]:
        text = self.script.read_text()
        if len(self.made) == 2 and not self.late:
            self.script.write_text(text + "# edited\n")
        found = super().wait(seconds)
        if len(self.made) == 3 and self.late:
            self.script.write_text(text + "# edited\n")
        return found


@pytest.mark.parametrize("late", [False, True])
def test_content_that_is_edited_meanwhile_ends_the_study(script: Path, tmp_path: Path, late: bool) -> None:
    before, pool = script.read_text(), Edited(script, late=late)
    with pytest.raises(ValueError, match="task with model: content of the script changed while the study was at work"):
        run(a_study(script), tmp_path / "out", pool)
    assert len(pool.made) == 3 and len(read_runs(tmp_path / "out")) == 2 and pool.stopped == 0
    assert list((tmp_path / "out/work").iterdir()) == []
    script.write_text(before)
    assert len(run(a_study(script), tmp_path / "out")) == 10


def test_content_that_is_edited_between_two_runs_ends_the_study(script: Path, tmp_path: Path) -> None:
    class Later(PoolHere):
        def submit(self, order: Order) -> None:
            super().submit(order)
            if len(self.made) == 1:  # one has ended, this one has begun, and the next will find another script
                script.write_text(script.read_text() + "# edited\n")

    pool = Later(2)
    with pytest.raises(ValueError, match="content of the script changed"):
        run(a_study(script), tmp_path / "out", pool)
    assert len(read_runs(tmp_path / "out")) == 1 and len(pool.made) == 2


def test_an_error_names_no_folder_of_this_machine(script: Path, tmp_path: Path) -> None:
    run(a_study(script, arguments={"fail": 1}, learning_rates=[1e-3], seeds=[1]), tmp_path / "out")
    for record in read_runs(tmp_path / "out"):
        assert 'File "my_train.py", line' in (record.error or "") and str(tmp_path) not in record.model_dump_json()


class Signalled(PoolHere):
    """A signal comes while the third run is under way."""

    def wait(self, seconds: float) -> list[Outcome]:
        if len(self.made) == 2:
            for _ in range(2):  # as timeout does, which signals the group too
                os.kill(os.getpid(), signal.SIGINT)
            return []
        return super().wait(seconds)


def test_a_signal_ends_a_study_in_order(script: Path, tmp_path: Path) -> None:
    before, pool = signal.getsignal(signal.SIGINT), Signalled()
    with pytest.raises(Stopped, match=r"2 of 10 runs are done.*The same command goes on") as stopped:
        run(a_study(script), tmp_path / "out", pool)
    assert stopped.value.number == signal.SIGINT and signal.getsignal(signal.SIGINT) is before
    assert len(read_runs(tmp_path / "out")) == 2 and pool.stopped is not None
    assert len(run(a_study(script), tmp_path / "out", rest := PoolHere())) == 10 and len(rest.made) == 8


def test_no_run_begins_when_the_time_is_over(script: Path, tmp_path: Path) -> None:
    assert run(a_study(script), tmp_path / "out", pool := PoolHere(), seconds=0.0) == [] and pool.made == []


def test_one_study_at_a_time_in_a_folder(script: Path, tmp_path: Path) -> None:
    class Second(PoolHere):
        def submit(self, order: Order) -> None:
            with pytest.raises(ValueError, match="another run is at work"):
                run(a_study(script), tmp_path / "out")
            super().submit(order)

    assert len(run(a_study(script), tmp_path / "out", Second())) == 10


def test_a_folder_of_another_version_is_refused(script: Path, tmp_path: Path) -> None:
    run(a_study(script), tmp_path / "out")
    file = sorted((tmp_path / "out/runs").iterdir())[0]
    file.write_text(file.read_text().replace('"format": 1', '"format": 2'))
    pool = PoolHere()
    with pytest.raises(ValueError, match=f"{file.name} has format 2, and this version"):
        run(a_study(script), tmp_path / "out", pool)
    assert pool.made == []


def test_label_noise_is_a_problem_of_its_own(script: Path, tmp_path: Path) -> None:
    records = run(a_study(script, label_noise=[0.0, 0.4], learning_rates=[1e-3]), tmp_path / "out")
    assert {(record.label_noise, record.seed) for record in records} == {(n, s) for n in (0.0, 0.4) for s in (0, 1, 2)}
    noisy = next(record for record in records if record.label_noise and record.loss == "square" and record.seed == 0)
    assert noisy.epochs[0].validation["accuracy"] == pytest.approx(0.81)


def test_the_screen_says_what_is_done(script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(a_study(script), tmp_path / "out", PoolHere(2))
    said = capsys.readouterr().out
    assert "1 of 10: task, model, cross_entropy, learning rate 0.0001, seed 0: accuracy 0.7000, 2 s" in said
    assert "10 of 10" in said and said.count("The whole will take") == 1 and "with 2 workers" in said


def test_a_terminal_shows_progress_and_the_best_of_each_loss(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("TTY_COMPATIBLE", "1"), ("TERM", "xterm"), ("COLUMNS", "120"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    run(a_study(script), tmp_path / "out", PoolHere(2))
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    assert "10/10" in said and "best on validation" in said
    last = said[said.rindex("best on validation") :]
    assert "accuracy 0.8500" in last and "learning rate 0.001, seed 0" in last
