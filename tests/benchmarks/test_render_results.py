"""Tables, pictures and cards: up to date, for whichever losses the results hold, and fit to print."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from studies import made_up_study

from hf_squareloss.comparison import Results, read_results, results_of, study_card
from hf_squareloss.comparison._results import converted

ROOT = Path(__file__).parents[2]
PAGES = (
    "getting_started",
    "results",
    "losses",
    "performance",
    "large_vocabularies",
    "models",
    "probabilities",
    "statistics",
)
SOURCES = (
    "results.json",
    "language_modeling.json",
    "large_vocabulary.json",
    "many_classes.json",
    "demos.json",
    "calibration.json",
    "speech_calibration.json",
    "interval_coverage.json",
    "models.tsv",
)
render: Any = importlib.import_module("render_results")
benchmarks: Any = importlib.import_module("render_benchmarks")
pictures: Any = importlib.import_module("pictures")


def comparison(values: dict[str, list[float]], metric: str = "cer", title: str = "a task") -> Results:
    """Results with one learning rate, values by loss and seed, as older versions wrote them."""
    environment = {"machine": "m", "threads": 1, "torch": "2", "transformers": "5"}
    runs = [
        {"loss": loss, "learning_rate": 0.1, "seed": seed, "seconds": 1.0, "validation": {metric: value}}
        for loss, of_loss in values.items()
        for seed, value in enumerate(of_loss)
    ]
    chosen = dict.fromkeys(values, 0.1)
    named = {"title": title, "metric": metric, "script": "run_glue.py", "arguments": ["--train_file", "t.tsv"]}
    old = {**named, "learning_rates": [0.1], "environment": environment, "chosen": chosen, "runs": runs}
    return Results.model_validate(converted(old))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf8"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures instead of files."""
    figures: list[Figure] = []
    monkeypatch.setattr(pictures, "_save", lambda figure, path, description: figures.append(figure))
    return figures


def test_what_is_published_is_up_to_date() -> None:
    with pytest.raises(SystemExit) as stop:
        render.main(["--check"])
    assert stop.value.code == 0


def test_stale_figures_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = ("README.md", *(f"docs/{name}.md" for name in PAGES))
    for name in (*pages, *(f"benchmarks/{name}" for name in SOURCES)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf8"), encoding="utf8")
    readme = (
        (tmp_path / "README.md").read_text(encoding="utf8").replace("<!-- overview -->\n", "<!-- overview -->\nold\n")
    )
    (tmp_path / "README.md").write_text(readme, encoding="utf8")
    monkeypatch.setattr(render, "ROOT", tmp_path)
    monkeypatch.setattr(render, "CARDS", tmp_path / "model_cards")
    monkeypatch.setattr(render, "BENCHMARKS", tmp_path / "benchmarks")
    stale = "README.md, docs/results.md, docs/losses.md, docs/pictures/growth.svg"
    with pytest.raises(SystemExit, match=f"{stale}: run make docs"):
        render.main(["--check"])  # no comparison is left
    render.main([])
    assert "No comparison has been published yet" in (tmp_path / "README.md").read_text()
    assert "No task of the study has all of its runs" in (tmp_path / "docs/results.md").read_text()
    assert not (tmp_path / "docs/pictures/comparisons.svg").exists()
    with pytest.raises(SystemExit) as stop:
        render.main(["--check"])
    assert stop.value.code == 0
    (tmp_path / "docs/pictures/growth.svg").write_text("<svg/>")
    with pytest.raises(SystemExit, match=r"out of date: docs/pictures/growth.svg"):
        render.main(["--check"])
    with pytest.raises(SystemExit, match="no marks <!-- overview -->"):
        render.between_marks("text", "overview", "content", "README.md")


def test_one_loss_alone_is_no_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = comparison({"cross_entropy": [0.3, 0.2], "square": [0.2, 0.1]}, title="of two")
    alone = comparison({"cross_entropy": [0.3, 0.2]}, title="of one")
    assert render.is_comparison(both) and not render.is_comparison(alone)
    page = render.sections([both], [alone])
    assert page.index("## of two") < page.index("no comparison") < page.index("### of one")
    assert "no comparison" in study_card(alone) and "no comparison" not in study_card(both)


def test_a_card_says_whether_its_figures_are_of_the_study() -> None:
    complete, _ = render.read_studies()
    earlier = [path.parent for path in (ROOT / "model_cards").glob("*/results.json")]
    assert complete and len(earlier) > 10
    for folder in (*complete, *earlier):
        name, of_study = folder.name, folder in complete
        card = (folder / "README.md").read_text(encoding="utf8")
        beside = render.BESIDE.get(name)
        assert beside is None or (beside in card and "(earlier)" not in card)
        assert (render.IN_STUDY in card, render.EARLIER in card) == (of_study, not of_study and beside is None)
        own = f"\nhf-squareloss compare model_cards/{name}/study.yaml --output_dir model_cards/{name}\n"
        assert (own in card) == of_study


def test_a_study_with_a_command_of_its_own() -> None:
    study = results_of(made_up_study(), title="t", settings={"command": "hf-squareloss compare a.csv"})
    assert render.command(study) == "hf-squareloss compare a.csv"
    mixed = [*made_up_study(), *made_up_study({"b": 1.0}, environment={"machine": "another", "torch": "2.14"})]
    study = results_of(mixed, title="t")  # two machines, and nobody wrote the command down
    assert render.command(study) is None and render.sections([study], []).endswith("so they compare nothing.")


@pytest.mark.parametrize("name", ["ctc_loss", "given_scores"])
def test_benchmarks_have_a_column_for_what_their_rows_hold(name: str) -> None:
    """A loss that joined after a row was measured, and one that went before the next."""
    results = read(ROOT / "benchmarks/results.json")
    for table in ("ratios",) if name == "ctc_loss" else ("seconds", "peak_bytes"):
        results[name]["rows"][-1][table]["a_new_loss"] = 1.5
        del results[name]["rows"][0][table]["squentropy"]
    header, _, first, *_ = benchmarks.tables(results)[f"benchmark {name}"].splitlines()
    assert "a_new_loss" in header and "squentropy" in header
    assert first.count("|") == header.count("|")


def test_far_losses_stand_at_the_edge() -> None:
    near = {"cross_entropy": [0.02, 0.03], "square": [0.01, 0.02]}
    assert pictures.outlying(near, lower_is_better=True) == set()
    both = near | {"squentropy": [0.5, 0.6], "another": [0.9, 0.9]}
    assert pictures.outlying(both, lower_is_better=True) == {"squentropy", "another"}
    assert pictures.outlying(near | {"squentropy": [0.05, 0.06]}, lower_is_better=True) == set()
    assert pictures.outlying({name: [1 - v for v in of] for name, of in both.items()}, lower_is_better=False) == {
        "squentropy",
        "another",
    }
    assert pictures.outlying({"cross_entropy": [0.1], "square": [0.9]}, lower_is_better=True) == set()


def test_the_picture_of_comparisons(drawn: list[Figure], tmp_path: Path) -> None:
    """One far loss does not flatten the rest and is named with its value; the axis says which way is better."""
    speech = comparison({"cross_entropy": [0.02, 0.03], "square": [0.01, 0.02], "squentropy": [0.5, 0.6]})
    texts = comparison({"squentropy": [0.8, 0.9], "cross_entropy": [0.8, 0.85]}, metric="accuracy")
    pictures.draw_comparisons([speech, texts], tmp_path / "picture.svg", "")
    first, second = drawn[0].axes
    assert first.get_xlim()[1] < 0.04 and "0.55, off the scale" in first.texts[-1].get_text()
    assert first.get_xlabel() == "cer (lower is better)" and second.get_xlabel() == "accuracy (higher is better)"
    colors = [{line.get_color() for line in axis.lines} for axis in (first, second)]
    assert colors == [{"C0", "C1"}, {"C0", "C2"}]  # a loss has one colour, wherever it stands


def test_no_labels_overlap(drawn: list[Figure], tmp_path: Path) -> None:
    folders = sorted((ROOT / "model_cards").glob("*/results.json"))
    published = [results for results in map(read_results, folders) if render.is_comparison(results)]
    pictures.draw_comparisons(published, tmp_path / "picture.svg", "")
    growth = read(ROOT / "benchmarks/results.json")["linear_square_loss_growth"]
    pictures.draw_growth(growth, tmp_path / "picture.svg", "")
    for figure in drawn:
        figure.tight_layout()
        assert overlapping(figure) == []
    for label in drawn[1].axes[0].get_xticklabels():
        label.set_fontsize(30)
    assert overlapping(drawn[1]) != []


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    figure.canvas.draw()
    labels = []
    for axis in figure.axes:
        if axis.axison:
            labels += [axis.title, axis.xaxis.label, axis.yaxis.label]
            for side in (axis.xaxis, axis.yaxis):
                low, high = sorted(side.get_view_interval())  # ticks beyond are not drawn
                labels += [tick.label1 for tick in side.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [(label.get_text(), label.get_window_extent()) for label in labels if label.get_text()]
    return [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[i + 1 :] if one.overlaps(other)]


def test_the_pictures_are_written_with_what_they_show(tmp_path: Path) -> None:
    growth = read(ROOT / "benchmarks/results.json")["linear_square_loss_growth"]
    pictures.draw_growth(growth, tmp_path / "growth.svg", "what it shows")
    picture = (tmp_path / "growth.svg").read_text()
    assert "slope" in picture and "what it shows" in picture
    pictures.draw_growth(growth, tmp_path / "again.svg", "what it shows")
    assert (tmp_path / "again.svg").read_text() == picture
