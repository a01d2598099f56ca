"""Melodies, a small model, and runs of examples/run_speech_recognition_ctc.py on them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from ctc_runs import LEARN, LEARNT, WAVEFORM_MODEL, write_melodies, write_model
from example_scripts import QUIET, load_example

run_ctc = load_example("run_speech_recognition_ctc")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_model(tmp_path_factory.mktemp("model"), WAVEFORM_MODEL)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_melodies(tmp_path_factory.mktemp("melodies"), {"train": 128, "validation": 24, "test": 24})


@pytest.fixture
def run(model: str, files: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Run the script on the melodies; its last arguments win."""

    def with_defaults(*argv: str, name: str = "out") -> dict[str, float]:
        return run_ctc.main(["--config_name", model, *files, "--output_dir", str(tmp_path / name), *QUIET, *argv])

    return with_defaults


@pytest.fixture(scope="session")
def learnt(model: str, files: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with each loss: train, evaluate, predict."""
    folders = {loss: tmp_path_factory.mktemp(loss) / "melodies" for loss in LEARNT}
    for loss, folder in folders.items():
        run_ctc.main(["--config_name", model, *files, "--output_dir", str(folder), *QUIET, *LEARN, *LEARNT[loss]])
    return folders
