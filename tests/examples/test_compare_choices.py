"""examples/compare_losses.py with multiple choice, its runs in this process."""

from pathlib import Path
from typing import Any

import pytest
from choice_files import save_tiny_chooser, write_files
from example_scripts import QUIET, load_example

compare_losses, run_choice = load_example("compare_losses"), load_example("run_multiple_choice")


def test_losses_are_compared_on_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(script: str, arguments: list[str], folder: Path) -> None:
        assert script == "run_multiple_choice.py"
        run_choice.main(arguments)

    monkeypatch.setattr(compare_losses, "launch", launch)
    model = ["--model_name_or_path", save_tiny_chooser(tmp_path / "model"), *write_files(tmp_path)]
    own = ["--losses", "square", "cross_entropy", "--learning_rates", "1e-3", "5e-3", "--seeds", "0"]
    own += ["--script", "run_multiple_choice.py", "--output_dir", str(tmp_path / "out"), "--"]
    short = ["--max_steps", "12", "--save_strategy", "no", "--max_train_samples", "64"]
    found: dict[str, Any] = compare_losses.main([*own, *model, *short, *QUIET])
    assert len(found["runs"]) == 4 and set(found["chosen"]) == {"square", "cross_entropy"}
    tested = [run for run in found["runs"] if "test" in run]
    assert len(tested) == 2 and all({"accuracy", "ece", "brier", "nll"} <= run["test"].keys() for run in tested)
    assert all("f1" not in run["test"] for run in tested)  # places of choices are no classes
    assert len({run["validation"]["nll"] for run in found["runs"]}) == 4
