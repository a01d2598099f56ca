"""Scripts by name or path, and arguments as words and back."""

from pathlib import Path

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
    assert from_words(["--label-smoothing=0.1"]) == {"label_smoothing": "0.1"}


@pytest.mark.parametrize(("words", "says"), [(["a"], "belongs to no option"), (["--a", "1", "--a=2"], "given twice")])
def test_words_without_an_option_are_refused(words: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        from_words(words)
