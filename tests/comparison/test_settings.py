"""What tells runs apart: content of files, not their names; and settings that changed, by their names."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from foreign_script import write_script
from transformers import TrainingArguments

import hf_squareloss.recipes
from hf_squareloss.comparison import make_study, recipes
from hf_squareloss.comparison._settings import PLACES, content_of, settings_of


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


def test_hidden_entries_of_a_folder_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/rows.tsv").write_text("content")
    before = content_of(tmp_path / "data")
    for place in (".git/HEAD", ".cache/huggingface/download/rows.tsv.metadata", ".DS_Store"):
        (file := tmp_path / "data" / place).parent.mkdir(parents=True, exist_ok=True)
        file.write_text("other")
    assert content_of(tmp_path / "data") == before


def test_a_cache_does_not_count_whatever_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    for script in ("run_glue.py", str(write_script(tmp_path))):
        assert "cache_dir" not in settings({"script": script, "cache_dir": str(tmp_path / "cache")})


def test_a_value_is_a_file_only_where_the_option_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = settings({"task_name": "mrpc"}, text_column="text", model_name_or_path="bert")
    for name in ("mrpc", "text", "bert"):
        (tmp_path / name).mkdir()
    after = settings({"task_name": "mrpc"}, text_column="text", model_name_or_path="bert")
    assert before["task_name"] == after["task_name"] == "mrpc" and after["text_column"] == "text"
    assert before["model_name_or_path"] == "bert" and after["model_name_or_path"].startswith("sha256 ")
    foreign = {"script": str(write_script(tmp_path)), "corpus": "mrpc"}  # of such a script it may be any option
    assert settings(foreign)["corpus"].startswith("sha256 ")


def test_places_are_options_of_our_scripts() -> None:
    sources = [*recipes().values(), *Path(hf_squareloss.recipes.__path__[0]).glob("*.py")]
    text = "".join(path.read_text(encoding="utf8") for path in sources)
    of_the_trainer = {field.name for field in fields(TrainingArguments)}
    assert {name for name in PLACES if f"    {name}: str" not in text} <= of_the_trainer | {"generation_config"}


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
