"""examples/run_glue_no_trainer.py in this process: its loss and parameters."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_scripts import load_example
from tiny_text_model import save_tiny_model, write_toy_files

from hf_squareloss import Loss, SquareLoss, load_loss

script = load_example("run_glue_no_trainer")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Loss]:
    """Train on sixteen rows with these options; the loss in the model that was saved."""
    files = write_toy_files(tmp_path)
    model = save_tiny_model(tmp_path / "model")

    def trained(*options: str) -> Loss:
        given = ["--model_name_or_path", str(model), "--output_dir", str(tmp_path / "out"), "--num_train_epochs", "1"]
        given += ["--train_file", str(files["train"]), "--validation_file", str(files["validation"])]
        metrics = script.main([*given, "--max_train_samples", "16", "--max_eval_samples", "8", *options])
        assert 0 <= metrics["accuracy"] <= 1
        return load_loss(tmp_path / "out")

    return trained


def test_the_loss_and_its_parameters(run: Callable[..., Loss]) -> None:
    loss = run("--loss_k", "2", "--loss_parameters", "M=3", "ignore_index=-1", "--label_smoothing", "0.1")
    assert loss == SquareLoss(k=2.0, M=3.0, ignore_index=-1, label_smoothing=0.1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--loss_k", "2", "--loss_parameters", "k=3"], "'k' is given twice"),
        (["--loss_k", "two"], "k must be a positive number"),
        (["--loss", "cross_entropy", "--loss_parameters", "labl_smoothing=0.1"], "did you mean 'label_smoothing'"),
    ],
)
def test_wrong_parameters_are_refused(options: list[str], says: str, run: Callable[..., Loss]) -> None:
    with pytest.raises(ValueError, match=says):
        run(*options)
