"""Notes in folders by class, a small model, and runs of examples/run_audio_classification.py on them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ctc_runs import WAVEFORM_MODEL, write_model
from example_scripts import QUIET, load_example
from note_files import LEARN, write_notes

run_audio = load_example("run_audio_classification")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model"), WAVEFORM_MODEL | {"classifier_proj_size": 16})


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_notes(tmp_path_factory.mktemp("notes"), {"train": 96, "validation": 24, "test": 24})


@pytest.fixture
def run(model: str, folders: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Run the script on the notes; its last arguments win."""

    def with_defaults(
        *argv: str, name: str = "out", model: list[str] | None = None, data: list[str] | None = None
    ) -> dict[str, float]:
        given = [*(["--config_name", default] if model is None else model), *(folders if data is None else data)]
        return run_audio.main([*given, "--output_dir", str(tmp_path / name), *QUIET, *argv])

    default = model
    return with_defaults


@pytest.fixture(scope="session")
def learnt(model: str, folders: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with each loss: train, evaluate, predict."""
    paths = {loss: tmp_path_factory.mktemp(loss) / "notes" for loss in ("square", "cross_entropy")}
    for loss, folder in paths.items():
        run_audio.main(["--config_name", model, *folders, "--output_dir", str(folder), *QUIET, *LEARN, "--loss", loss])
    return paths
