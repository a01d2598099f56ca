"""The study's tables with a row for each task."""

import importlib
from statistics import fmean
from typing import Any

from studies import made_up_study

from hf_squareloss.comparison import RunRecord, analyse, results_of

tasks: Any = importlib.import_module("render_tasks")
PAPER = "square, k = paper, M = paper"


def with_another_best_epoch(run: RunRecord) -> RunRecord:
    """Its epochs in the opposite order."""
    content = run.model_dump()
    order = [epoch["epoch"] for epoch in content["epochs"]]
    content["epochs"] = [{**e, "epoch": n} for n, e in zip(order, content["epochs"][::-1], strict=True)]
    return RunRecord.model_validate(content)


def test_what_the_overview_leaves_out_stands_in_a_table_of_its_own() -> None:
    runs = made_up_study({"mrpc": 3.0}, losses={"cross_entropy": {}, "square": {}, PAPER: {"k": "paper", "M": "paper"}})
    runs = [with_another_best_epoch(run) if run.label == "square" else run for run in runs]
    (found,) = analyse(results_of(runs, title="t")).problems
    (row,) = [line for line in tasks.details_table([found]).splitlines() if line.startswith("| mrpc |")]
    cells = [cell.strip().replace("\N{MINUS SIGN}", "-") for cell in row.split("|")[1:-1]]
    of_label = {c.label: c for c in found.problem.contenders}
    mean = {label: fmean(c.values("test").values()) for label, c in of_label.items()}
    assert cells[1] == f"{mean[PAPER]:.3f}"
    assert cells[2].startswith(f"{mean['square'] - mean['cross_entropy']:+.3f} [")
    epochs = of_label["square"].values_at_epochs_of(of_label["cross_entropy"], "test")
    assert cells[3].startswith(f"{fmean(epochs.values()) - mean['cross_entropy']:+.3f} [") and cells[3] != cells[2]
    brier = [fmean(of_label[label].values("test", "brier").values()) for label in ("cross_entropy", "square")]
    assert cells[4] == " / ".join(f"{value:.3f}" for value in brier) and cells[5] == ""  # no T was fitted
    assert tasks.details_table([]) == ""
