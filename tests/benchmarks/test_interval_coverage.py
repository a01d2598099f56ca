"""The simulation of intervals runs, and what is published of it is what docs/statistics.md says."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
coverage: Any = importlib.import_module("interval_coverage")
rendering: Any = importlib.import_module("render_statistics")


def test_a_short_run_has_a_row_for_every_case(tmp_path: Path) -> None:
    output = tmp_path / "coverage.json"
    results = coverage.main(["--rounds", "2", "--output", str(output)])
    assert json.loads(output.read_text()) == results
    assert len(results["one_task"]) == 12 and len(results["over_tasks"]) == 10
    places = rendering.statistics(results)
    assert places["coverage of one task"].count("\n") == 13 and "`learning_rate`" in places["fields of a run"]


def test_the_published_figures_say_what_the_page_says() -> None:
    """Student's interval misses one in twenty, BCa three times as often at five seeds."""
    published = json.loads((ROOT / "benchmarks/interval_coverage.json").read_text(encoding="utf8"))
    assert published["rounds"] >= 1000
    normal = {row["seeds"]: row for row in published["one_task"] if row["drawn"] == "normal"}
    assert all(abs(row["student"] - 0.05) < 0.02 for row in normal.values())
    assert normal[5]["bca"] > 2.5 * normal[5]["student"]
    pooled = published["over_tasks"]
    assert all(abs(row["student"] - 0.05) < 0.025 for row in pooled)
    few = [row for row in pooled if row["tasks"] <= 3 and row["deviation_of_tasks"]]
    assert all(row["two_stage"] > 0.08 for row in few)


def test_a_seed_of_one_interval_cannot_be_counted() -> None:
    with pytest.raises(AssertionError):
        coverage.missed(None)
    assert coverage.missed((0.1, 0.2)) and not coverage.missed((-0.1, 0.2))
