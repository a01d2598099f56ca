"""The card of a compared task: what the Hub reads, with intervals; and pictures that stand alone."""

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from loopback_hub import card_errors
from studies import a_run, made_up_study, runs_of, whole_study

from hf_squareloss.comparison import card_pictures, results_of, study_card, write_card
from hf_squareloss.comparison._statistics import mean_interval


def entries(card: ModelCard) -> dict[str, Any]:
    return {result.metric_name: result for result in card.data.eval_results}  # type: ignore[attr-defined]


def test_means_and_intervals_survive_the_hub_client(tmp_path: Path) -> None:
    values = (0.70, 0.74, 0.78)
    runs = runs_of("square", *values) + runs_of("cross_entropy", 0.6)
    path = write_card(
        tmp_path, results_of(runs, title="MRPC, tiny"), task="text-classification", dataset="nyu-mll/glue"
    )
    card = ModelCard.load(path)
    square, alone = (entries(card)[f"accuracy with {label}"] for label in ("square", "cross_entropy"))
    assert (square.metric_value, square.dataset_split, square.dataset_type) == (0.74, "test", "nyu-mll/glue")
    assert square.metric_args["interval"] == pytest.approx(mean_interval(values), abs=1e-6)
    assert (square.metric_args["confidence"], square.metric_args["seeds"]) == (0.95, 3)
    assert alone.metric_args == {"seeds": 1, "learning_rate": 0.0003}
    card.save(tmp_path / "again.md")
    assert ModelCard.load(tmp_path / "again.md").data.to_dict() == card.data.to_dict()


def test_the_hub_finds_nothing_wrong() -> None:
    for runs in (whole_study(), made_up_study(), [a_run(status="failed", epochs=[], error="e")]):
        card = study_card(results_of(runs, title="a: study # 1"), language="en", license="apache-2.0")
        assert card_errors(card) == [] and "cross-entropy" in card or len(runs) == 1
    assert card_errors("---\nmodel-index: [{results: [{}]}]\n---\n") != []


def test_every_problem_has_a_result_of_its_own() -> None:
    card = ModelCard(study_card(results_of(whole_study(), title="t")))
    found = card.data.to_dict()["model-index"][0]["results"]
    assert len(found) == 8 and all(len(result["metrics"]) == 3 for result in found)


def test_problems_of_a_set_of_the_hub_are_metrics_of_one_result_under_its_own_config() -> None:
    runs = made_up_study({"mrpc": 1.0})
    runs += [run.model_copy(update={"model": "other"}) for run in runs]
    text = study_card(results_of(runs, title="t"), dataset="nyu-mll/glue", dataset_config="mrpc", note="Its own parts.")
    assert card_errors(text) == [] and "# t\n\nFigures of trained models, without any weights. Its own parts.\n" in text
    (result,) = ModelCard(text).data.to_dict()["model-index"][0]["results"]
    assert result["dataset"] == {"type": "nyu-mll/glue", "name": "mrpc", "config": "mrpc", "split": "test"}
    names = {metric["name"] for metric in result["metrics"]}
    assert {"accuracy with square, mrpc, tiny-bert", "accuracy with square, mrpc, other"} < names and len(names) == 6


def test_the_card_shows_its_pictures_and_they_stand_alone(tmp_path: Path) -> None:
    path = write_card(tmp_path, results_of(made_up_study(), title="t"), command="hf-squareloss compare a.csv")
    text = path.read_text(encoding="utf8")
    assert "](reliability.svg)" in text and "```\nhf-squareloss compare a.csv\n```" in text
    root = ET.parse(tmp_path / "reliability.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words[-3:] == ["cross_entropy", "square", "squentropy"]
    several = card_pictures(results_of(whole_study(), title="t"))
    assert len(several) == 7 and all(name.startswith("reliability-") for name in several)


def test_no_picture_where_nothing_was_measured() -> None:
    card = study_card(results_of([a_run()], title="t"))
    assert "reliability" not in card and "## The command" not in card
