"""The commands in the scripts' own words run as they stand, in a folder with such files."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import choice_files
import pytest
import tag_files
from processes import ACCELERATE, EXAMPLES, environment, run


def typed(script: str) -> list[str]:
    """The command that the script's docstring gives for files of one's own."""
    text = (EXAMPLES / script).read_text().replace("\\\n", " ")
    found = re.findall(rf"^ +accelerate launch (examples/{script} --train_file .*)$", text, re.MULTILINE)
    assert len(found) == 1
    return [ACCELERATE, "launch", *found[0].split()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "examples").symlink_to(EXAMPLES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("script", "files", "save"),
    [
        ("run_ner.py", tag_files.write_files, tag_files.save_tiny_tagger),
        ("run_multiple_choice.py", choice_files.write_files, choice_files.save_tiny_chooser),
    ],
)
def test_files_of_ones_own(
    script: str, files: Callable[[Path], list[str]], save: Callable[[Path], str], folder: Path
) -> None:
    options = files(folder)
    save(folder / "bert-base-cased")
    for file in (Path(option) for option in options if option.startswith(str(folder))):
        if file.stem == "validation":
            shutil.move(file, file.with_stem("dev"))
    run(typed(script), environment(folder / "home"), folder / "log")
    found = json.loads((folder / "outputs" / "mine" / "all_results.json").read_text())
    assert {"train_loss", "eval_loss", "eval_accuracy"} <= found.keys() and (folder / "outputs/mine/README.md").exists()
    assert json.loads((folder / "outputs" / "mine" / "config.json").read_text())["hf_squareloss"]["loss"] == "square"
