"""Pictures of a study: what is drawn where, and nothing for what was not measured."""

import math
import xml.etree.ElementTree as ET

import pytest
from studies import a_run, grid_study, made_up_study, runs_of, whole_study

from hf_squareloss.comparison import (
    Analysis,
    ReliabilityBins,
    RunRecord,
    analyse,
    outlying,
    reliability_picture,
    reliability_points,
    results_of,
)
from hf_squareloss.comparison import _pictures as pictures


def analysed(runs: list[RunRecord]) -> Analysis:
    return analyse(results_of(runs, title="a study"))


def parts(svg: str | None, tag: str, kind: str = "") -> list[ET.Element]:
    """The elements of a picture by tag and class."""
    assert svg is not None
    return [e for e in ET.fromstring(svg).iter(tag) if kind in e.attrib.get("class", "").split() or not kind]


def words(svg: str | None) -> str:
    return "\n".join(e.text or "" for e in parts(svg, "text"))


def test_seeds_are_drawn_in_the_order_of_their_values() -> None:
    analysis = analysed(runs_of("square", 0.5, 0.9, 0.7) + runs_of("cross_entropy", 0.6, 0.6))
    drawn = pictures.seeds(analysis.problems[0].problem, analysis.labels)
    dots = [e for e in parts(drawn, "circle") if "seed" in (e[0].text or "")]
    of_square = {(e[0].text or "").split(":")[0]: float(e.attrib["cx"]) for e in dots[2:]}
    assert len(dots) == 5 and of_square["seed 0"] < of_square["seed 2"] < of_square["seed 1"]
    (low,), means = parts(drawn, "line", "interval"), parts(drawn, "line", "mean")
    assert float(low.attrib["x1"]) < float(means[1].attrib["x1"]) < float(low.attrib["x2"])
    assert [g.attrib["class"] for g in parts(drawn, "g")] == ["s0", "s1"]


def test_a_run_without_a_value_is_said_and_a_far_loss_stands_at_the_edge() -> None:
    runs = runs_of("square", 0.8, math.nan, status="diverged") + runs_of("cross_entropy", 0.79, 0.81)
    analysis = analysed(runs + runs_of("focal", 0.1, 0.12))
    drawn = pictures.seeds(analysis.problems[0].problem, analysis.labels)
    assert "square (1 without a value)" in words(drawn) and "mean 0.1100, off the scale" in words(drawn)
    ticks = [float(e.text or "") for e in parts(drawn, "text", "tick") if (e.text or "")[0] == "0"]
    assert min(ticks) > 0.5
    nothing = analysed([a_run(status="failed", epochs=[], error="killed")])
    assert pictures.seeds(nothing.problems[0].problem, nothing.labels) is None


def test_far_losses() -> None:
    near = {"a": [0.02, 0.03], "b": [0.01, 0.02]}
    assert outlying(near, lower_is_better=True) == set()
    assert outlying(near | {"c": [0.5, 0.6], "d": [0.9, 0.9]}, lower_is_better=True) == {"c", "d"}
    assert outlying({"a": [0.1], "b": [0.9]}, lower_is_better=True) == set()


def test_curves_go_through_the_means() -> None:
    analysis = analysed(made_up_study())
    problem = analysis.problems[0].problem
    drawn = pictures.curves(problem, analysis.labels)
    assert len(parts(drawn, "path", "curve")) == len(parts(drawn, "path", "band")) == 3
    heights = [float(place.split()[1]) for place in parts(drawn, "path", "curve")[0].attrib["d"][1:].split(" L")]
    assert heights == sorted(heights, reverse=True)  # it learns; y grows downwards
    once = analysed(runs_of("square", 0.5, 0.6))
    assert pictures.curves(once.problems[0].problem, once.labels) is None


def test_reliability_weights_bins_by_their_items() -> None:
    first = ReliabilityBins(confidence=[0.2, None, 0.9], accuracy=[0.0, None, 1.0], count=[10, 0, 5])
    second = ReliabilityBins(confidence=[0.4, None, 0.9], accuracy=[1.0, None, 0.0], count=[30, 0, 5])
    assert reliability_points([first, second]) == [pytest.approx((0.35, 0.75)), pytest.approx((0.9, 0.5))]
    assert reliability_points([]) == []


def test_a_reliability_picture() -> None:
    drawn = reliability_picture({"a": [(0.5, 0.25), (1.0, 1.0)], "b": [(0.5, 0.5), (0.75, 0.75)]}, ["a", "b"])
    (diagonal,) = parts(drawn, "line", "diagonal")
    x1, y1, x2, y2 = (float(diagonal.attrib[n]) for n in ("x1", "y1", "x2", "y2"))
    for dot in parts(drawn, "circle")[2:]:  # of b, which is right everywhere
        across = (float(dot.attrib["cx"]) - x1) / (x2 - x1)
        assert float(dot.attrib["cy"]) == pytest.approx(y1 + across * (y2 - y1), abs=0.2)
    too_sure = parts(drawn, "circle")[0]
    assert float(too_sure.attrib["cy"]) > 0 and "accuracy 0.250" in (too_sure[0].text or "")
    speech = analysed(made_up_study({"an4": 1.0}, metric="cer"))
    assert pictures.reliability(speech.problems[0].problem, speech.labels) is None


def test_estimates_have_a_row_for_each_problem_and_one_for_all_tasks() -> None:
    analysis = analysed(whole_study())
    for drawn in (
        pictures.advantages(analysis, "square", analysis.labels),
        pictures.spreads(analysis, "square", analysis.labels),
    ):
        names = [e.text for e in parts(drawn, "text", "name")]
        assert names[-1] == "over all tasks" and not {"one seed", "rte"} & set(names) and len(names) == 6
        assert len(parts(drawn, "circle")) == len(parts(drawn, "line", "interval")) == 6
    one = analysed(made_up_study())
    assert "over all tasks" not in words(pictures.advantages(one, "square", one.labels))
    assert pictures.advantages(analysed(made_up_study(seeds=1)), "square", one.labels) is None


def test_a_grid_of_k_and_M_shades_the_better_cells() -> None:
    analysis = analysed(grid_study())
    (loss, drawn), *others = pictures.grids(analysis.problems[0].problem).items()
    assert loss == "square" and others == []
    cells = parts(drawn, "rect")
    values = [float(e.text or "") for e in parts(drawn, "text", "strong")]
    shades = [float(e.attrib["fill-opacity"]) for e in cells]
    assert len(cells) == 9 and [shade for _, shade in sorted(zip(values, shades, strict=True))] == sorted(shades)
    assert max(shades) > 0.5 and min(shades) < 0.1
    assert [e.text for e in parts(drawn, "text", "tick") if "k =" in (e.text or "")] == ["k = 1", "k = 5", "k = 20"]
    assert pictures.grids(analysed(made_up_study()).problems[0].problem) == {}


def test_a_grid_with_words_and_a_diverged_cell() -> None:
    runs = runs_of("square", 0.5, label="a", parameters={"k": "auto", "M": 4})
    runs += runs_of("square", 0.7, label="b", parameters={"k": 2})
    runs += runs_of("square", math.nan, label="c", parameters={"k": 3, "M": 4}, status="diverged")
    (drawn,) = pictures.grids(analysed(runs).problems[0].problem).values()
    assert len(parts(drawn, "rect")) == 2 and "k = auto" in words(drawn) and "M = default" in words(drawn)
