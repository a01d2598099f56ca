"""examples/run_glue.py keeps the checkpoint whose errors are fewest, whichever metric says so."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_scripts import require_best_is_lowest

BEST = [
    *["--learning_rate", "2e-3", "--max_steps", "9", "--eval_strategy", "steps", "--eval_steps", "3"],
    *["--save_strategy", "steps", "--save_steps", "3", "--load_best_model_at_end", "True"],
]


@pytest.mark.parametrize("metric", ["nll", "brier", "ece"])
def test_the_best_of_classes(metric: str, run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    found = run(*BEST, "--metric_for_best_model", metric)
    require_best_is_lowest(tmp_path / "out", metric)
    assert found[f"eval_{metric}"] > 0


def test_the_best_of_real_values(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    rows = [f"{'good film' if i % 2 else 'dull film'}\t{i % 2 + i / 50}" for i in range(24)]
    (tmp_path / "values.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    files = [
        text for split in ("train", "validation", "test") for text in (f"--{split}_file", str(tmp_path / "values.tsv"))
    ]
    run(*files, *BEST, "--metric_for_best_model", "eval_mse", "--ignore_mismatched_sizes", "True")
    require_best_is_lowest(tmp_path / "out", "mse")
