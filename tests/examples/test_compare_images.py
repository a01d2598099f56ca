"""examples/compare_losses.py with a script for images, its runs in this process."""

from pathlib import Path
from typing import Any

import pytest
from example_scripts import QUIET, load_example
from picture_files import MODEL, SHORT, write_pictures

compare_losses, run_image = load_example("compare_losses"), load_example("run_image_classification")


def test_models_from_scratch_are_compared_on_the_test_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(script: str, arguments: list[str], folder: Path) -> None:
        assert script == "run_image_classification.py"
        run_image.main(arguments)

    monkeypatch.setattr(compare_losses, "launch", launch)
    folders = write_pictures(tmp_path / "pictures", {"train": 32, "validation": 16, "test": 16})
    own = ["--losses", "square", "cross_entropy", "--learning_rates", "1e-2", "--seeds", "0"]
    own += ["--script", "run_image_classification.py", "--output_dir", str(tmp_path / "out"), "--"]
    found: dict[str, Any] = compare_losses.main([*own, *MODEL, *folders, *SHORT, *QUIET])
    assert [run["loss"] for run in found["runs"]] == ["square", "cross_entropy"]
    for run in found["runs"]:
        assert {"accuracy", "f1", "ece", "brier", "nll"} <= run["test"].keys() & run["validation"].keys()
    assert len(found["files"]) == 3  # the content of the three folders
