"""A study in a file: what it may hold, and where its files are looked for."""

from pathlib import Path

import pytest

from hf_squareloss.__main__ import main
from hf_squareloss.comparison import read_study


def test_what_lies_beside_a_study_file_is_found_where_an_option_names_it(tmp_path: Path) -> None:
    (tmp_path / "mrpc").mkdir()
    (tmp_path / "mrpc/train.tsv").write_text("text\tlabel\n")
    (tmp_path / "study.yaml").write_text(
        "tasks: {mrpc: {train_file: mrpc/train.tsv}, glue: {task_name: mrpc}}\narguments: {config_name: mrpc}\n"
    )
    study = read_study(tmp_path / "study.yaml")
    assert study.tasks["mrpc"].arguments == {"train_file": str(tmp_path / "mrpc/train.tsv")}
    assert study.tasks["glue"].arguments == {"task_name": "mrpc"}
    assert study.arguments == {"config_name": str(tmp_path / "mrpc")}


def test_a_file_beside_the_study_wins_over_one_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.tsv").write_text(f"text\tlabel\n{folder}\ta\n")
    (tmp_path / "here/dev.tsv").write_text("text\tlabel\n")
    (tmp_path / "there/mine.py").write_text("")
    files = "{script: mine.py, train_file: train.tsv, validation_file: dev.tsv, decimal: .}"
    (tmp_path / "there/study.yaml").write_text(f"tasks: {{toy: {files}}}\n")
    monkeypatch.chdir(tmp_path / "here")
    found = read_study(tmp_path / "there/study.yaml").tasks["toy"].arguments
    assert found == {"train_file": str(tmp_path / "there/train.tsv"), "validation_file": "dev.tsv", "decimal": "."}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tasks: {a: {}, a: {}}", "'a' is given twice"),
        ("tasks: {a: {}}\nmodels: [x]", "models: "),
        ("tasks: {a: {}}\nlossses: [square]", "lossses: "),
        ("- a", "it must hold option names"),
        ("tasks: {a: {hub-token: secret}}", "task a gives a token"),
        ("tasks: {a: {}", ""),
    ],
)
def test_a_study_file_with_a_fault_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "study.yaml").write_text(text)
    with pytest.raises(ValueError, match=f"study.yaml.*{says}"):
        read_study(tmp_path / "study.yaml")


def test_options_beside_a_study_file_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text("tasks: {a: {}}")
    with pytest.raises(SystemExit, match="2"):
        main(["compare", str(tmp_path / "study.yaml"), "--seeds", "1", "--", "--use_cpu"])
    assert "--seeds, -- would be ignored" in capsys.readouterr().err
