"""hf-squareloss compare as one types it: real worker processes, what it says, a signal, and what it refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from foreign_script import PoolHere, write_script
from tiny_text_model import save_tiny_model, write_toy_files

from hf_squareloss.__main__ import main, parse
from hf_squareloss.comparison import read_runs, read_study
from hf_squareloss.comparison._command import study_of
from hf_squareloss.recipes.folder_lock import folder_lock


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data.csv and a model, in which one is."""
    rows = write_toy_files(tmp_path / "files", rows=200)["train"].read_text()
    (tmp_path / "data.csv").write_text(rows.replace("\t", ","))
    save_tiny_model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are made here: a worker takes seconds to start."""
    monkeypatch.setattr("hf_squareloss.comparison._command._pool", lambda args: PoolHere(args.workers))


def test_a_file_and_a_model_are_enough(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = ["--losses", "cross_entropy", "square k=2", "--learning_rates", "1e-2", "--seeds", "0"]
    command = ["compare", "data.csv", "--model", "tiny", *short, "--", "--use_cpu"]
    main(command)
    said = capsys.readouterr().out
    assert "data: 2 runs: 2 losses (cross_entropy, square, k = 2) x 1 seed. By accuracy, highest is best." in said
    assert "1 of 2: data, tiny, cross_entropy, learning rate 0.01, seed 0: accuracy" in said
    assert "The whole will take" in said and "Test" not in said
    folder = data / "outputs/compare-data"
    records = read_runs(folder)
    assert [(record.label, record.status, record.parameters) for record in records] == [
        ("cross_entropy", "finished", {}),
        ("square, k = 2", "finished", {"k": 2}),
    ]
    assert [epoch.epoch for epoch in records[0].epochs] == [1.0, 2.0, 3.0]
    parts = {path.stem: len(path.read_text().splitlines()) for path in (folder / "data/data").iterdir()}
    assert parts == {"train": 161, "validation": 20, "test": 19}
    assert records[1].overhead_seconds is not None and records[1].peak_memory_mb is not None
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("runs/*")}
    main(command)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("runs/*")} == before
    assert "The whole" not in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="it sends a signal")
def test_ctrl_c_saves_a_checkpoint_and_the_same_command_goes_on(
    data: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = ["--losses", "square", "--learning_rates", "1e-3", "--seeds", "0", "--output_dir", "out"]
    command = ["compare", "data.csv", "--model", "tiny", *one, "--", "--use_cpu", "--num_train_epochs", "30"]

    def interrupt() -> None:
        end = time.monotonic() + 120
        while not list(data.glob("out/work/[!r]*/epochs.json")) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    (thread := threading.Thread(target=interrupt)).start()
    with pytest.raises(SystemExit, match="130"):
        main(command)
    thread.join()
    assert "0 of 1 runs are done, in out. The same command goes on." in capsys.readouterr().out
    (checkpoint,) = data.glob("out/work/*/checkpoint-*")
    step = int(checkpoint.name.split("-")[1])
    assert 0 < step < 30 * 21 and read_runs(data / "out") == []
    (log,) = data.glob("out/logs/*.txt")
    assert f"Stopped by SIGTERM at step {step}" in log.read_text()
    monkeypatch.setattr("hf_squareloss.comparison._command._pool", lambda args: PoolHere())
    main(command)
    (record,) = read_runs(data / "out")
    assert [epoch.epoch for epoch in record.epochs] == list(range(1, 31))
    assert not checkpoint.exists()


@pytest.mark.usefixtures("in_this_process")
def test_a_study_file_says_it_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = write_script(tmp_path)
    (tmp_path / "toy.yaml").write_text(
        f"tasks: {{toy: {{script: {script.name}, best: 1.0e-4}}}}\n"
        "losses: {cross_entropy: , square: {k: [1, auto], M: [1, 4]}}\n"
        "learning_rates: [1e-4, 1e-3]\nseeds: [0, 1, 2]\ntuning_seeds: [0]\n"
    )
    study = read_study(tmp_path / "toy.yaml")
    assert study.title == "toy" and study.tasks["toy"].script == str(script)
    main(["compare", str(tmp_path / "toy.yaml"), "--output_dir", str(tmp_path / "out"), "--workers", "2"])
    said = capsys.readouterr().out
    assert "toy: 20 runs: 5 losses (cross_entropy, square, k = 1, M = 1, " in said
    assert "2 learning rates x 1 seed, then 2 more seeds" in said and "with 2 workers" in said
    assert len(read_runs(tmp_path / "out")) == 20


@pytest.mark.usefixtures("in_this_process")
def test_a_script_gets_its_options_as_they_are_spelt(tmp_path: Path) -> None:
    script = write_script(tmp_path)
    option = 'parser.add_argument("--warm-up", type=float, required=True)\nargs = parser.parse_args()'
    script.write_text(script.read_text().replace("args = parser.parse_args()", option))
    command = ["compare", "--script", str(script), "--losses", "square", "--learning_rates", "1e-3", "--seeds", "0"]
    main([*command, "--output_dir", str(tmp_path / "out"), "--", "--warm-up=-1e-3"])
    (record,) = read_runs(tmp_path / "out")
    assert (record.status, record.settings["warm_up"]) == ("finished", -1e-3)


@pytest.mark.usefixtures("in_this_process")
def test_a_metric_of_ones_own_has_the_side_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script, out = write_script(tmp_path), tmp_path / "out"
    script.write_text(script.read_text().replace("eval_nll", "eval_my_cost"))  # 0.2 at the rate 1e-3, 0.3 at 1e-4
    own = ["--metric", "my_cost", "--greater_is_better", "false", "--losses", "cross_entropy", "--tuning_seeds", "0"]
    main(["compare", "--script", str(script), *own, "--learning_rates", "1e-3", "1e-4", "--output_dir", str(out)])
    said = capsys.readouterr().out
    assert "By my_cost, lowest is best." in said and "my_cost 0.2000" in said and "my_cost 0.3000" in said
    records = read_runs(out)
    assert {(record.metric, record.greater_is_better) for record in records} == {("my_cost", False)}
    assert {record.learning_rate for record in records if record.seed > 0} == {1e-3}


@pytest.mark.usefixtures("in_this_process")
def test_a_failed_run_is_the_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "--script", str(write_script(tmp_path)), "--output_dir", str(tmp_path / "out")]
    with pytest.raises(SystemExit, match="1"):
        main([*command, "--losses", "square", "--learning_rates", "1e-3", "--", "--fail", "1"])
    said = capsys.readouterr().out
    assert "RuntimeError: no such thing" in said and "1 of 3 runs are missing" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--losses squre", "no loss is called 'squre'"),
        ("--losses|square kk=2", "no parameter 'kk'"),
        ("--seeds 0 0", "a value is given twice"),
        ("--metric my_cost", "metric 'my_cost' is not known: say by greater_is_better"),
        ("--workers 0", "workers must be 1 or more"),
        ("--gpus_per_run 1", "gpus_per_run would be ignored"),
        ("--script no_such.py", "there is no script 'no_such.py'"),
        ("no_such.yaml", "no_such.yaml cannot be read"),
        ("no_such.csv", "no_such.csv does not exist"),
        ("pictures", "data must end in .csv"),
        ("a/data.csv b/data.csv", "two tasks are called 'data'"),
        ("--script run_glue.py", "give data"),
        ("data.csv -- --train_file a.csv", "train_file would be ignored: data are given"),
        ("data.csv --model a -- --model-name-or-path b", "model_name_or_path would be ignored: --model is given"),
        ("-- --seed 3", "arguments gives seed: that is the study's own"),
        ("-- --learning-rate 3", "arguments gives learning_rate: that is the study's own"),
        ("-- 3", "'3' belongs to no option"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    data: Path, capsys: pytest.CaptureFixture[str], options: str, says: str
) -> None:
    for folder in "ab":
        (data / folder).mkdir()
        (data / folder / "data.csv").write_text((data / "data.csv").read_text())
    words = options.split("|") if "|" in options else options.split()
    own = [] if words[0] in ("--script",) or words[0][0] != "-" else ["--script", str(write_script(data))]
    with pytest.raises(SystemExit, match="2"):
        main(["compare", *own, *words])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error: " in line]
    assert line.startswith("hf-squareloss: error: ") and says in line
    assert not list(data.glob("outputs/*/runs"))


@pytest.mark.usefixtures("in_this_process")
def test_data_of_ones_own_parts_are_not_split(data: Path) -> None:
    script = write_script(data)
    script.write_text(script.read_text().replace("args = parser.parse_args()", "args, _ = parser.parse_known_args()"))
    command = ["compare", "files/train.tsv", "--script", str(script), "--losses", "square", "--output_dir", "out"]
    files = ["--validation_file", "files/validation.tsv", "--test_file", "files/test.tsv"]
    main([*command, "--learning_rates", "1e-3", "--seeds", "0", "--", *files])
    assert not (data / "out/data").exists()
    (file,) = (data / "out/runs").iterdir()
    assert {"train_file", "validation_file", "test_file"} <= json.loads(file.read_text())["settings"].keys()


def test_help_is_fast_and_names_the_commands() -> None:
    code = "import sys\nfrom hf_squareloss.__main__ import main\n"
    code += "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    code += "assert not {'torch', 'transformers', 'datasets'} & set(sys.modules), 'slow'"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(command in said for command in ("compare", "train", "evaluate", "demo"))


def test_train_and_evaluate_are_the_example_scripts(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [word for split in ("train", "validation") for word in (f"--{split}_file", f"files/{split}.tsv")]
    quiet = ["--use_cpu", "--disable_tqdm", "True", "--report_to", "none", "--output_dir", "out"]
    main(["train", "glue", *files, "--model_name_or_path", "tiny", "--max_steps", "2", "--save_strategy", "no", *quiet])
    trained = json.loads((data / "out/eval_results.json").read_text())
    (data / "out/eval_results.json").unlink()
    main(["evaluate", "glue", *files, "--model_name_or_path", "out", *quiet])
    again = json.loads((data / "out/eval_results.json").read_text())
    assert again["eval_accuracy"] == trained["eval_accuracy"]
    (data / "out/eval_results.json").unlink()
    options = {"train_file": "files/train.tsv", "validation_file": "files/validation.tsv", "do_train": True}
    options |= {"model_name_or_path": "out", "output_dir": "again", "use_cpu": True, "report_to": "none"}
    (data / "options.json").write_text(json.dumps(options))
    main(["evaluate", "glue", "options.json"])  # of the training
    again = json.loads((data / "again/eval_results.json").read_text())
    assert again["eval_accuracy"] == trained["eval_accuracy"] and not (data / "again/train_results.json").exists()
    args, _ = parse(["demo", "ner", "--loss", "square"])
    assert (args.command, args.task, args.options) == ("demo", "ner", ["--loss", "square"])
    with pytest.raises(SystemExit):
        main(["train", "no_such_task"])
    assert "invalid choice: 'no_such_task'" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
def test_the_report_names_the_command_without_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["compare", "--script", str(write_script(tmp_path)), "--losses", "cross_entropy", "square k=2"]
    main([*command, "--learning_rates", "1e-3", "--output_dir", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "cross_entropy" in said and "advantage" in said and f"More is in {tmp_path / 'out/report.html'}" in said
    results = json.loads((tmp_path / "out/results.json").read_text())
    shown = "hf-squareloss compare --script my_train.py --losses cross_entropy 'square k=2'"
    assert results["settings"]["command"].startswith(shown) and str(tmp_path) not in json.dumps(results)
    assert str(tmp_path) not in (study := (tmp_path / "out/study.json").read_text()) and '"my_train.py"' in study
    before = (tmp_path / "out/report.html").read_text()
    (tmp_path / "out/report.html").unlink()
    main(["report", str(tmp_path / "out")])
    assert (tmp_path / "out/report.html").read_text() == before
    with pytest.raises(SystemExit, match="2"):
        main(["report", str(tmp_path / "none")])
    assert f"{tmp_path / 'none'}" in (said := capsys.readouterr().err) and "give the folder of a study" in said


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("a/data.tsv.gz --title T", "data"),
        ("mrpc/train.csv", "mrpc"),
        ("--title T --output_dir o -- --task_name mrpc", "mrpc"),
        ("--output_dir o -- --dataset_name org/sets --dataset_config_name one", "org/sets-one"),
        ("-- --dataset_name /home/me/sets", "sets"),
        ("-- --train_file sets/trec.tsv", "trec"),
        ("-- --train_file=/home/me/trec/train.tsv", "trec"),
        ("-- --train_dir trec/x/../train/", "trec"),
        ("--script my_train.py --output_dir o", "my_train"),
    ],
)
def test_a_task_is_called_after_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hf_squareloss.comparison._splitting.split_file", lambda *_, **__: {})
    write_script(tmp_path)
    args, words = parse(["compare", *line.split()])
    study, folder, _ = study_of(args, words)
    assert list(study.tasks) == [name] and study.title == ("T" if "--title" in line else name)
    assert folder == (
        Path("o") if "--output_dir" in line else Path("outputs") / f"compare-{study.title}".replace("/", "-")
    )


@pytest.mark.usefixtures("in_this_process")
def test_a_title_and_another_name_of_the_folder_make_no_run_again(tmp_path: Path) -> None:
    command = ["compare", "--script", str(write_script(tmp_path)), "--losses", "square", "--learning_rates", "1e-3"]
    main([*command, "--output_dir", str(tmp_path / "first")])
    before = {path.name for path in (tmp_path / "first/runs").iterdir()}
    (tmp_path / "first").rename(tmp_path / "second")
    main([*command, "--output_dir", str(tmp_path / "second"), "--title", "better"])
    assert {path.name for path in (tmp_path / "second/runs").iterdir()} == before
    assert {record.study for record in read_runs(tmp_path / "second")} == {"better"}


@pytest.mark.usefixtures("in_this_process")
def test_a_command_that_is_refused_changes_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = write_script(data)
    script.write_text(script.read_text().replace("args = parser.parse_args()", "args, _ = parser.parse_known_args()"))
    command = ["compare", "data.csv", "--script", str(script), "--losses", "square", "--learning_rates", "1e-3"]
    main([*command, "--seeds", "0", "--output_dir", "out"])
    before = {path: path.read_bytes() for path in (data / "out").rglob("*") if path.is_file()}
    rows = (data / "data.csv").read_text().splitlines()
    (data / "data.csv").write_text("\n".join(rows[:-20]) + "\n")
    for held, says in ((True, "another run is at work"), (False, r"train_file='sha256 \w+' there, now")):
        with folder_lock("out") if held else nullcontext(), pytest.raises(SystemExit, match="2"):
            main([*command, "--seeds", "0", "1", "--output_dir", "out"])
        assert re.search(says, capsys.readouterr().err)
        assert {path: path.read_bytes() for path in (data / "out").rglob("*") if path.is_file()} == before
