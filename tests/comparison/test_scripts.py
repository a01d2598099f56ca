"""Scripts by name or path, and arguments as words and back."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from hf_squareloss.comparison import find_script, recipes
from hf_squareloss.comparison._scripts import as_words, from_words, is_recipe

ROOT = Path(__file__).parents[2]


def test_recipes_are_the_example_scripts_with_a_trainer() -> None:
    assert set(recipes()) == {path.name for path in (ROOT / "examples").glob("run_*.py") if "_no_" not in path.name}
    assert all(is_recipe(path) for path in recipes().values())


def test_a_script_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    assert find_script("run_glue.py").read_bytes() == (ROOT / "examples/run_glue.py").read_bytes()
    (mine := tmp_path / "mine.py").write_text("")
    assert find_script(str(mine)) == mine and not is_recipe(mine)
    with pytest.raises(ValueError, match=r"no script 'run_glu.py'.*run_glue\.py"):
        find_script("run_glu.py")


WORDS = ["--use_cpu", "--lr", "-1", "--names", "a", "b", "--empty="]


def test_words_are_read_and_written() -> None:
    arguments = from_words(WORDS)
    assert arguments == {"use_cpu": True, "lr": "-1", "names": ["a", "b"], "empty": ""}
    assert from_words(as_words(arguments)) == arguments
    assert from_words(["--label-smoothing=0.1"]) == {"label-smoothing": "0.1"}


@pytest.mark.parametrize(
    ("words", "value"),
    [(["--batch-size", "32"], 32.0), (["--batch-size=-1e-3"], -1e-3), (["--batch-size", "-1e-3"], -1e-3)],
)
def test_a_parser_of_argparse_reads_what_was_meant(words: list[str], value: float) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--batch-size", type=float)
    assert parser.parse_args(as_words(from_words(words))).batch_size == value


def test_a_negative_number_of_a_study_file_is_a_value() -> None:
    arguments: dict[str, Any] = {"x": -1e-5, "many": [-1, 2]}
    assert as_words(arguments) == ["--x=-1e-05", "--many", "-1", "2"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a"], "belongs to no option"),
        (["--a", "1", "--a=2"], "given twice"),
        (["--a-b", "1", "--a_b=2"], "--a_b is given twice"),
    ],
)
def test_words_without_an_option_are_refused(words: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_words(words)
