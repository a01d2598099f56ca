"""What tells runs apart: content of files, not their names; and settings that changed, by their names."""

from pathlib import Path
from typing import Any

import pytest
from foreign_script import write_script

from hf_squareloss.comparison import make_study
from hf_squareloss.comparison._settings import content_of, settings_of


def settings(task: dict[str, Any], **shared: Any) -> dict[str, Any]:
    study = make_study({"title": "t", "tasks": {"a": task}, "models": {"m": {}}, "arguments": shared}, "here")
    return settings_of(study, "a", "m")


def test_content_counts_and_names_do_not(tmp_path: Path) -> None:
    for name, text in (("a.tsv", "one"), ("b.tsv", "one"), ("c.tsv", "two")):
        (tmp_path / name).write_text(text)
    first, same, other = (settings({"train_file": str(tmp_path / f"{n}.tsv")}) for n in "abc")
    assert first == same != other
    assert str(tmp_path) not in str(first)


def test_a_folder_is_all_its_files_and_their_places(tmp_path: Path) -> None:
    digests = set()
    for name, place in (("a", "x/1"), ("b", "x/1"), ("c", "x/2"), ("d", "y/1")):
        (file := tmp_path / name / place).parent.mkdir(parents=True)
        file.write_text("content")
        digests.add(content_of(tmp_path / name))
    assert len(digests) == 3
    before = content_of(tmp_path / "a")
    (tmp_path / "a/x/1").write_text("changed")
    assert content_of(tmp_path / "a") != before


def test_what_cannot_change_a_result_does_not_count() -> None:
    plain = settings({"num_train_epochs": 2})
    assert plain == settings({}, num_train_epochs="2", use_cpu=True, logging_steps=7, report_to="none", save_steps=3)
    assert plain == settings({}, **{"num-train-epochs": "2", "use-cpu": True})
    assert plain != settings({"num_train_epochs": 3})
    assert plain != settings({"num_train_epochs": 2}, max_eval_samples=7)  # it changes what is measured


def test_a_script_of_ones_own_is_its_content(tmp_path: Path) -> None:
    script = write_script(tmp_path)
    before = settings({"script": str(script)})
    script.write_text(script.read_text() + "# changed\n")
    assert settings({"script": str(script)}) != before and before["script"] == "my_train.py"
    with pytest.raises(ValueError, match="there is no script"):
        settings({"script": "no_such.py"})
