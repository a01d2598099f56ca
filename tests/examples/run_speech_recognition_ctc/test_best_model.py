"""examples/run_speech_recognition_ctc.py keeps the checkpoint with the lowest error rate."""

from collections.abc import Callable
from pathlib import Path

from example_scripts import require_best_is_lowest


def test_the_best_has_the_fewest_errors(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    run(
        *["--learning_rate", "1e-2", "--num_train_epochs", "3", "--eval_strategy", "epoch", "--save_strategy", "epoch"],
        *["--load_best_model_at_end", "True", "--metric_for_best_model", "cer"],
    )
    require_best_is_lowest(tmp_path / "out", "cer")
