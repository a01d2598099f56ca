"""A small model, files of the toy task, and runs of examples/run_glue.py on them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_scripts import QUIET, load_example
from glue_runs import LEARN, file_options
from tiny_text_model import save_tiny_model, write_toy_files

from hf_squareloss.losses import LOSSES

run_glue = load_example("run_glue")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return file_options(write_toy_files(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def run(model: str, files: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Run the script on the toy task; its last arguments win."""

    def with_defaults(*argv: str, name: str = "out") -> dict[str, float]:
        return run_glue.main(
            ["--model_name_or_path", model, *files, "--output_dir", str(tmp_path / name), *QUIET, *argv]
        )

    return with_defaults


@pytest.fixture(scope="session")
def learnt(model: str, files: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with each loss: train, evaluate, predict."""
    folders = {loss: tmp_path_factory.mktemp(loss) / "toy-task" for loss in LOSSES}
    for loss, folder in folders.items():
        run_glue.main(
            [
                *["--model_name_or_path", model, *files, "--output_dir", str(folder), *QUIET, *LEARN],
                *["--loss", loss, "--do_train", "--do_eval", "--do_predict"],
            ]
        )
    return folders
