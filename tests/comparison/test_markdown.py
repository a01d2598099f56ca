"""Tables of a study in Markdown: whole, and nothing in a name breaks them."""

import re

import pytest
from studies import a_run, grid_study, made_up_study, whole_study

from hf_squareloss.comparison import RunRecord, overview_markdown, results_of, study_markdown


def tables(page: str) -> list[list[str]]:
    """The lines of each table of a page."""
    return [block.splitlines() for block in page.split("\n\n") if block.startswith("|")]


@pytest.fixture(scope="module")
def page() -> str:
    return study_markdown(results_of(whole_study(), title="a study", settings={"command": "a | b"}))


def test_every_row_has_as_many_cells_as_its_header(page: str) -> None:
    assert len(tables(page)) > 40
    for table in tables(page):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1, table[0]


def test_the_verdict_comes_first_and_every_run_last(page: str) -> None:
    assert page.startswith("**square and cross_entropy cannot be told apart over the tasks")
    assert [line for line in page.splitlines() if line.startswith("## ")][0] == "## Over all tasks"
    every_run = tables(page)[-1]
    assert len(every_run) - 2 == len(whole_study())
    assert sum("diverged" in line for line in every_run) == 2
    assert any("failed: &lt;b&gt;not bold&lt;/b&gt;" in line for line in every_run)


def test_figures_of_one_task() -> None:
    epochs = [{"epoch": 1, "validation": {"accuracy": v}, "test": {"accuracy": v}} for v in (0.5, 0.7)]
    runs = [a_run(loss=loss, seed=s, epochs=[epochs[s]]) for s in (0, 1) for loss in ("cross_entropy", "square")]
    lines = study_markdown(results_of(runs, title="mrpc"), brief=True).splitlines()
    assert "| cross_entropy | 0.0003 | 2 | 0.6000 ± 0.1414 | 1 | – | – | – | – | – |" in lines
    assert "| square | 0.0003 | 2 | 0.6000 ± 0.1414 | 1 | +0.0000 | – | 1.00 | – | tie |" in lines
    assert not any(line.startswith("#") for line in lines)


def test_calibration_has_a_row_for_each_measure_and_counts_less_as_better() -> None:
    def runs(loss: str, *errors: float) -> list[RunRecord]:
        measured = [{"accuracy": 0.5, "ece": error, "calibrated_nll": 1.0} for error in errors]
        epochs = [[{"epoch": 1, "validation": each, "test": each}] for each in measured]
        return [a_run(loss=loss, seed=seed, epochs=each) for seed, each in enumerate(epochs)]

    both = runs("square", 0.1, 0.2, 0.1) + runs("cross_entropy", 0.3, 0.2, 0.2)
    lines = study_markdown(results_of(both, title="t")).splitlines()
    (square,) = (line for line in lines if line.startswith("| square | ece ↓ |"))
    assert square.startswith("| square | ece ↓ | 0.1333 ± 0.0577 | +0.1000 | −0.1484 to +0.3484 |")  # 4.303 / sqrt(3)
    assert "| cross_entropy | ece ↓ | 0.2333 ± 0.0577 | – | – | – |" in lines
    assert any(line.startswith("| square | calibrated_nll ↓ | 1.0000 ± 0.0000 | +0.0000 |") for line in lines)
    assert not any("brier" in line for line in lines)


def test_a_name_cannot_break_the_page() -> None:
    name = "a|b `c` <script>[d](e)\n# f"
    runs = [a_run(task=name, label=name), a_run(task=name, loss="cross_entropy")]
    page = study_markdown(results_of(runs, title=name))
    assert "<script>" not in page and "\n# f" not in page and "[d](e)" not in page
    for table in tables(page):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_the_overview_of_several_studies() -> None:
    one, grid = results_of(made_up_study(), title="a"), results_of(grid_study(), title="b")
    header, _, *rows = overview_markdown([one, grid]).splitlines()
    assert len(rows) == 2 and "advantage of `square`" in header and "k = 1" not in header
    assert "`cross_entropy` | `square` | `squentropy`" in header
    assert rows[0].startswith("| mrpc | accuracy ↑ |")
    untested = overview_markdown([results_of([a_run(status="failed", epochs=[], error="e")], title="c")])
    assert len(untested.splitlines()) == 3
