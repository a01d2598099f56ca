"""One run in this process: its log, its exit status, and what is read from its folder."""

import json
import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from foreign_script import execute_here, write_script

from hf_squareloss.comparison import Order, Outcome
from hf_squareloss.comparison._execution import error_in, last_lines, read_outputs


def run(folder: Path, script: str, *arguments: str, **environment: str) -> Outcome:
    (path := folder / "script.py").write_text(script)
    log = str(folder / "logs/log.txt")
    return execute_here(Order("key", str(path), list(arguments), str(folder / "out"), log, environment))


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(3)", 3, ""),
        ("sys.exit('no such file')", 1, "no such file"),
        ("raise ValueError('wrong')", 1, "ValueError: wrong"),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt"),
        ("import no_such_module", 1, "No module named"),
    ],
)
def test_however_a_script_ends_there_is_an_outcome(tmp_path: Path, line: str, code: int, says: str) -> None:
    outcome = run(tmp_path, f"import sys\nprint('begun')\n{line}\n")
    assert outcome.code == code and says in outcome.last_lines and "begun" in outcome.last_lines
    assert outcome.epochs == [] and outcome.seconds is not None and outcome.environment["python"]


def test_all_output_goes_into_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import os, subprocess, sys\nprint('ours')\nos.write(2, b'library\\n')\nsubprocess.run(['echo', 'child'])\n"
    run(tmp_path, code)
    run(tmp_path, "print('again')")
    assert (tmp_path / "logs/log.txt").read_text().split() == ["ours", "library", "child", "again"]
    assert capfd.readouterr() == ("", "")


def test_a_script_finds_its_arguments_neighbours_and_variables(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("name = 'there'")
    code = "import os, sys, neighbour\nprint(__name__, sys.argv[1:], neighbour.name, os.environ['OURS'])"
    before = list(sys.argv), list(sys.path), dict(os.environ)
    assert run(tmp_path, code, "--a", "1", OURS="yes").last_lines == "__main__ ['--a', '1'] there yes"
    assert (list(sys.argv), list(sys.path), dict(os.environ)) == before


def test_no_handler_of_a_signal_stays(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(tmp_path, "import signal\nsignal.signal(signal.SIGTERM, lambda *_: None)")
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_script_has_other_neighbours(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "neighbour.py").write_text(f"name = {name!r}")
        assert run(tmp_path / name, "import neighbour\nprint(neighbour.name)").last_lines == name
    assert "neighbour" not in sys.modules


def test_a_run_that_another_process_began_is_continued(tmp_path: Path) -> None:
    assert [run(tmp_path, "print(1)").continued for _ in range(2)] == [False, True]


def test_memory_is_that_of_the_run(tmp_path: Path) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("this system does not say")
    small, large, again = (run(tmp_path, f"b = bytearray({n}); b[::4096] = b[::4096]") for n in (1, 2**28, 1))
    assert large.peak_memory_mb - small.peak_memory_mb == pytest.approx(256, abs=30)  # type: ignore[operator]
    assert again.peak_memory_mb == pytest.approx(small.peak_memory_mb, abs=30)


def test_the_metrics_of_a_script_that_is_not_ours(tmp_path: Path) -> None:
    script, out = write_script(tmp_path), tmp_path / "out"
    arguments = ["--loss", "square", "--learning_rate", "1e-3", "--seed", "1", "--output_dir", str(out)]
    outcome = execute_here(Order("key", str(script), arguments, str(out), str(tmp_path / "log.txt")))
    assert outcome.epochs == [
        {
            "epoch": 3.0,
            "seconds": 0,
            "validation": {"accuracy": 0.84, "nll": pytest.approx(0.16)},
            "test": {"accuracy": pytest.approx(0.79)},
        }
    ]
    assert outcome.training_seconds == 2.0 and outcome.code == 0 and not outcome.diverged


def test_the_curve_of_any_trainer(tmp_path: Path) -> None:
    history: list[Any] = [
        {"loss": 1.0, "epoch": 0.5, "step": 5},
        {"eval_accuracy": 0.5, "eval_loss": 0.7, "eval_runtime": 1.0, "eval_samples_per_second": 9.0, "epoch": 1.0},
        {"eval_test_accuracy": 0.4, "eval_test_runtime": 2.0, "epoch": 1.0},
        {"eval_accuracy": math.nan, "eval_loss": 0.6, "eval_runtime": 1.0, "epoch": 2.0},
        {"eval_test_accuracy": 0.3, "eval_test_runtime": 2.0, "epoch": 2.0},
        {"train_runtime": 50.0, "epoch": 2.0},
    ]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    (tmp_path / "all_results.json").write_text(json.dumps({"train_runtime": 50.0, "test_accuracy": 0.9}))
    entries, seconds = read_outputs(tmp_path)
    assert [entry["epoch"] for entry in entries] == [1.0, 2.0] and seconds == 50 - 6
    assert entries[0]["validation"] == {"accuracy": 0.5, "loss": 0.7} and entries[0]["test"] == {"accuracy": 0.4}
    assert math.isnan(entries[1]["validation"]["accuracy"]) and entries[1]["test"] == {"accuracy": 0.3}


# As scripts of transformers end. EVALUATED: what is measured at every epoch.
TRAINER = """
import sys
import torch
from transformers import Trainer, TrainingArguments

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
    def forward(self, x, labels):
        scores = self.layer(x)
        return torch.nn.functional.cross_entropy(scores, labels), scores

rows = [{"x": torch.tensor([float(i % 2), 1.0]), "labels": i % 2} for i in range(8)]
validation, test = rows[:4], rows[:6]
counted = lambda prediction: {"rows": len(prediction.label_ids)}
args = TrainingArguments(sys.argv[1], eval_strategy="epoch", save_strategy="no", use_cpu=True, report_to=[], seed=1)
parts = EVALUATED
trainer = Trainer(Model(), args, train_dataset=rows, eval_dataset=parts, compute_metrics=counted)
trainer.save_metrics("train", trainer.train().metrics)
trainer.save_state()
trainer.save_metrics("eval", trainer.evaluate())
if parts is validation:
    trainer.save_metrics("test", trainer.predict(test, metric_key_prefix="test").metrics)
"""


@pytest.mark.parametrize(
    ("evaluated", "epochs"), [("validation", [3.0]), ("dict(validation=validation, test=test)", [1.0, 2.0, 3.0])]
)
def test_every_entry_of_a_trainer_has_both_parts(tmp_path: Path, evaluated: str, epochs: list[float]) -> None:
    outcome = run(tmp_path, TRAINER.replace("EVALUATED", evaluated), str(tmp_path / "out"))
    assert outcome.code == 0, outcome.last_lines
    assert [entry["epoch"] for entry in outcome.epochs] == epochs
    for entry in outcome.epochs:
        assert {part: entry[part]["rows"] for part in ("validation", "test")} == {"validation": 4, "test": 6}
        assert entry["validation"].keys() == entry["test"].keys() == {"loss", "rows"}
    final = json.loads((tmp_path / "out/all_results.json").read_text())
    assert outcome.training_seconds is not None and 0 < outcome.training_seconds < final["train_runtime"]


@pytest.mark.parametrize(
    ("final", "validation"),
    [({"eval_accuracy": 0.6}, 0.6), ({}, 0.5)],  # the best model, loaded at the end, or the last one
)
def test_the_only_test_value_stands_beside_the_last_validation_value(
    tmp_path: Path, final: dict[str, float], validation: float
) -> None:
    history = [{"eval_accuracy": v, "eval_runtime": 1.0, "epoch": e} for e, v in ((1.0, 0.6), (2.0, 0.5))]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    (tmp_path / "all_results.json").write_text(json.dumps({"test_accuracy": 0.4, "epoch": 2.0, **final}))
    entries, _ = read_outputs(tmp_path)
    parts = {"validation": {"accuracy": validation}, "test": {"accuracy": 0.4}}
    assert entries == [{"epoch": 2.0, "seconds": 2.0, **parts}]


def test_without_a_test_value_the_curve_stays(tmp_path: Path) -> None:
    history = [{"eval_accuracy": v, "eval_runtime": 1.0, "epoch": e} for e, v in ((1.0, 0.6), (2.0, 0.5))]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    (tmp_path / "all_results.json").write_text(json.dumps({"eval_accuracy": 0.6, "epoch": 2.0}))
    entries, _ = read_outputs(tmp_path)
    assert [entry["validation"]["accuracy"] for entry in entries] == [0.6, 0.5]


def test_torn_files_are_no_metrics(tmp_path: Path) -> None:
    for name in ("all_results.json", "trainer_state.json", "epochs.json"):
        (tmp_path / name).write_text('{"eval_accuracy": 0.')
    assert read_outputs(tmp_path) == ([], None)


def test_the_error_is_found_behind_where_it_came_from() -> None:
    assert error_in("Traceback:\n  File\n    raise\nOSError: no model\nCheck your connection") == (
        "OSError: no model Check your connection"
    )
    assert error_in("10 %\nrun_glue.py: error: no column") == "run_glue.py: error: no column"
    assert error_in("one\ntwo") == "two" and error_in("") == "it ended without a word"


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    (log := tmp_path / "log.txt").write_text("\n".join(f"line {i}\n" for i in range(100)))
    assert last_lines(log, 2) == "line 98\nline 99" and last_lines(tmp_path / "none") == ""
