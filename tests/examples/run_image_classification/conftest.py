"""Pictures in folders by class, and runs of examples/run_image_classification.py on them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_scripts import QUIET, load_example
from picture_files import LEARN, MODEL, write_pictures

run_image = load_example("run_image_classification")


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), {"train": 64, "validation": 24, "test": 24})


@pytest.fixture
def run(folders: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Run the script on the pictures; its last arguments win."""

    def with_defaults(*argv: str, name: str = "out", model: list[str] = MODEL) -> dict[str, float]:
        return run_image.main([*model, *folders, "--output_dir", str(tmp_path / name), *QUIET, *argv])

    return with_defaults


@pytest.fixture(scope="session")
def learnt(folders: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with each loss: train, evaluate, predict."""
    paths = {loss: tmp_path_factory.mktemp(loss) / "bars" for loss in ("square", "cross_entropy")}
    for loss, folder in paths.items():
        run_image.main([*MODEL, *folders, "--output_dir", str(folder), *QUIET, *LEARN, "--loss", loss])
    return paths
