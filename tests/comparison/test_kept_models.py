"""--keep_models: the best model so far of each loss, and what is said where there is none."""

from pathlib import Path

import pytest
from foreign_script import PoolHere, write_script

from hf_squareloss.comparison import Options, Order, RunRecord, Study, carry_out, make_study

SAVES = """
(args.output_dir / "checkpoint-1").mkdir()
(args.output_dir / "weights").write_text(f"{args.loss} {args.seed} {args.learning_rate}")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Its accuracy falls with the seed."""
    path = write_script(tmp_path)
    path.write_text(path.read_text() + SAVES)
    return path


def a_study(script: Path, seeds: list[int]) -> Study:
    given = {"title": "toy", "tasks": {"task": {"script": str(script)}}, "models": {"model": {}}}
    return make_study(
        {**given, "losses": ["cross_entropy", "square"], "learning_rates": [1e-3], "seeds": seeds}, "here"
    )


def kept(folder: Path) -> set[str]:
    assert not list(folder.glob("models/*/checkpoint-*")) and not list(folder.glob("work/*"))
    return {path.read_text() for path in folder.glob("models/*/weights")}


class Watched(PoolHere):
    """One model of each loss, and no checkpoint, are there when a run begins."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.seen, self.folder = [], folder

    def submit(self, order: Order) -> None:
        self.seen.append(kept(self.folder))
        super().submit(order)


def run(study: Study, folder: Path, *, keep_models: bool = True) -> tuple[list[RunRecord], Watched]:
    pool = Watched(folder)
    return carry_out(study, Options(folder, keep_models=keep_models), pool), pool


def test_only_the_best_so_far_is_there_at_any_time(script: Path, tmp_path: Path) -> None:
    _, pool = run(a_study(script, [2, 0, 1]), tmp_path / "out")
    second, both = {"cross_entropy 2 0.001"}, {"cross_entropy 2 0.001", "square 2 0.001"}
    better = {"cross_entropy 0 0.001", "square 2 0.001"}
    best = {"cross_entropy 0 0.001", "square 0 0.001"}
    assert pool.seen == [set(), second, both, better, best, best] and kept(tmp_path / "out") == best


def test_a_later_seed_that_is_better_takes_the_place_of_the_former_best(script: Path, tmp_path: Path) -> None:
    run(a_study(script, [2]), tmp_path / "out")
    run(a_study(script, [2, 1]), tmp_path / "out")
    assert kept(tmp_path / "out") == {"cross_entropy 1 0.001", "square 1 0.001"}


def test_a_best_run_without_a_model_is_named(script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records, _ = run(a_study(script, [1]), tmp_path / "out", keep_models=False)
    assert "No model" not in capsys.readouterr().out
    run(a_study(script, [1, 2]), tmp_path / "out")
    said = capsys.readouterr().out
    assert said.count("No model of task, model, ") == 2 and "square, learning rate 0.001, seed 1, which is the" in said
    assert kept(tmp_path / "out") == set() and all(f"runs/{record.identity}.json" in said for record in records)
    for record in records:
        (tmp_path / "out/runs" / f"{record.identity}.json").unlink()
    run(a_study(script, [1, 2]), tmp_path / "out")
    assert kept(tmp_path / "out") == {"cross_entropy 1 0.001", "square 1 0.001"}
    assert "No model" not in capsys.readouterr().out
