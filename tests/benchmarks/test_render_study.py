"""The study's section: verdicts from intervals, figures by domain, and no task that is not complete."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from studies import a_run, made_up_study, runs_of

from hf_squareloss.comparison import Results, RunRecord, analyse, merged_results, results_of, write_run

claims: Any = importlib.import_module("study_claims")
study: Any = importlib.import_module("render_study")
render: Any = importlib.import_module("render_results")
pictures: Any = importlib.import_module("pictures")
LOSSES = {"cross_entropy": {}, "square": {}, "square, k = paper, M = paper": {"k": "paper", "M": "paper"}}


def of_script(runs: list[RunRecord], script: str) -> list[RunRecord]:
    return [run.model_copy(update={"settings": {**run.settings, "script": script}}) for run in runs]


def a_study(task: str, advantage: float, script: str = "run_glue.py", **options: Any) -> Results:
    runs = made_up_study({task: advantage}, losses=LOSSES, **options)
    return results_of(of_script(runs, script), title=task)


@pytest.fixture(scope="module")
def whole() -> list[Results]:
    """Six texts and one set of sounds where the square loss is better, five sets of images where it is not."""
    texts = [a_study(f"text {n}", 3.0 + 0.1 * n) for n in range(5)] + [a_study("mrpc", 3.0)]
    images = [a_study(f"images {n}", -3.0 - 0.1 * n, "run_image_classification.py") for n in range(5)]
    noisy = made_up_study({"text 0": 4.0}, losses=LOSSES, noise=0.2)
    texts[0] = results_of([*texts[0].runs, *of_script(noisy, "run_glue.py")], title="text 0")
    return [*texts, a_study("sounds", 3.0, "run_audio_classification.py"), *images]


@pytest.mark.parametrize(
    ("interval", "above", "border", "verdict"),
    [
        ((0.1, 0.2), True, 0.0, "supported"),
        ((-0.2, -0.1), True, 0.0, "not supported"),
        ((-0.1, 0.1), True, 0.0, "undecided"),
        ((-0.2, -0.1), False, 0.0, "supported"),
        ((0.1, 0.2), False, 0.0, "not supported"),
        ((0.5, 0.9), False, 1.0, "supported"),
        ((0.9, 1.1), False, 1.0, "undecided"),
        (None, True, 0.0, "undecided"),
    ],
)
def test_a_verdict_follows_from_the_interval(
    interval: tuple[float, float] | None, above: bool, border: float, verdict: str
) -> None:
    assert claims.Evidence("x", 0.0, interval, above, border).verdict == verdict


def test_claims_are_judged_on_their_own_domains(whole: list[Results]) -> None:
    judged = dict(claims.claims(analyse(merged_results(whole, "the study"))))
    verdicts = {claim: [evidence.verdict for evidence in of_claim] for claim, of_claim in judged.items()}
    assert verdicts["Better than cross-entropy in text and speech"] == ["supported"]
    assert verdicts["Cross-entropy ahead in vision"] == ["supported"]
    assert verdicts["The same after as many epochs as cross-entropy needed"] == ["supported", "supported"]
    (over_paper,) = judged["auto is a good k and M: better than the paper's where they differ"]
    assert over_paper.interval is not None
    nothing = dict(claims.claims(analyse(whole[0])))  # one task has no interval over tasks
    assert {e.verdict for of_claim in nothing.values() for e in of_claim} == {"undecided"}


def test_the_mean_in_points_is_that_of_the_differences(whole: list[Results]) -> None:
    problems = [p for p in analyse(merged_results(whole[1:3], "two")).problems]
    means = []
    for found in problems:
        values = {c.label: c.values("test") for c in found.problem.contenders}
        differences = [values["square"][seed] - values["cross_entropy"][seed] for seed in range(5)]
        means.append(sum(differences) / 5)
    assert claims.points(problems, "square").mean == pytest.approx(sum(means) / 2)


def test_the_section_has_every_task_and_the_paper_beside_it(whole: list[Results]) -> None:
    text = study.study_section(whole, [("Slow one", 3, 36)])
    assert "Under way, and in no figure yet: Slow one (3 of 36 runs)." in text
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if "| `square` |" in line]
    rows = [cells[1:4:2] for cells in lines if cells[1] != "task"]
    assert rows == [["speech", "1"], ["text", "6"], ["vision", "5"], ["all", "12"]]
    assert all(f"| {results.title} |" in text for results in whole)
    assert "0.838 / 0.821 | BERT, accuracy" in text  # of the paper, beside mrpc
    noise = text[text.index("### Label noise") :]
    assert [line.split("|")[2].strip() for line in noise.splitlines()[4:]] == ["0 %", "20 %"]
    assert "Label noise" not in study.study_section(whole[1:])


def test_the_verdict_is_three_sentences_with_their_intervals(whole: list[Results]) -> None:
    text = study.study_verdict(whole[:7])
    assert "the square loss is better than cross-entropy" in text and "better on 7, worse on 0" in text
    assert "worse than cross-entropy" in study.study_verdict(whole[7:])
    assert "cannot be told apart" in study.study_verdict(whole[6:8])
    assert "too few runs" in study.study_verdict([results_of([a_run()], title="t")])


def test_a_study_that_is_under_way_counts_in_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "title: A task\ntasks: {task: {train_file: t.csv}}\nmodels: {m: {}}\nlosses: [cross_entropy, square]\n"
    text += "learning_rates: [0.001]\nseeds: [0, 1]\n"
    root = Path(__file__).parents[2]
    for name in ("README.md", "docs", "benchmarks"):
        (tmp_path / name).symlink_to(root / name)
    folder = tmp_path / "model_cards/study-task"
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(text)
    runs = [*runs_of("cross_entropy", 0.7, 0.8), *runs_of("square", 0.8, 0.85)]
    for run in runs[:3]:
        write_run(folder, run)
    monkeypatch.setattr(render, "CARDS", tmp_path / "model_cards")
    complete, under_way = render.read_studies()
    assert complete == {} and under_way == [("a study", 3, 4)]
    write_run(folder, runs[3])
    complete, under_way = render.read_studies()
    assert list(complete) == [folder] and under_way == []


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    figures: list[Figure] = []
    monkeypatch.setattr(pictures, "_save", lambda figure, path, description: figures.append(figure))
    return figures


def test_the_picture_has_every_task_with_its_interval(
    whole: list[Results], drawn: list[Figure], tmp_path: Path
) -> None:
    pictures.draw_advantages(whole, tmp_path / "picture.svg", "")
    (axis,) = drawn[0].axes
    assert [label.get_text() for label in axis.get_yticklabels()][:2] == ["text 0, tiny-bert", "text 1, tiny-bert"]
    assert len(axis.get_yticks()) == 12 and len(axis.collections) == 12  # one interval for each


def test_the_grid_shows_the_best_of_the_learning_rates_against_cross_entropy(
    drawn: list[Figure], tmp_path: Path
) -> None:
    runs = runs_of("cross_entropy", 0.7)
    for k, M, value in ((1, 1, 0.6), (1, 4, 0.7), (2, 1, 0.75), (2, 4, 0.72)):
        given = {"label": f"square, k = {k}, M = {M}", "parameters": {"k": k, "M": M}}
        runs += runs_of("square", value, **given) + runs_of("square", value - 0.1, learning_rate=1.0, **given)
    results = results_of(runs, title="a grid")
    assert pictures.grid_values(results) == {None: 0.7, (1, 1): 0.6, (1, 4): 0.7, (2, 1): 0.75, (2, 4): 0.72}
    pictures.draw_grids([("task", 8, results)], tmp_path / "picture.svg", "")
    (axis,) = drawn[0].axes
    assert [text.get_text() for text in axis.texts] == ["0.600", "0.700", "0.750", "0.720"]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["1\n", "2\nC/4"]
