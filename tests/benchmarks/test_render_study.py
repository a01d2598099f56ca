"""The study's section: verdicts from intervals, figures by domain, and no task that is not complete."""

import importlib
import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from scipy.stats import t
from studies import RATES, a_run, made_up_study, runs_of

from hf_squareloss.comparison import Results, RunRecord, make_study, results_of, write_run

claims: Any = importlib.import_module("study_claims")
figures: Any = importlib.import_module("study_figures")
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
    texts = [a_study(f"text {n}", 3.0 + 0.1 * n) for n in range(5)] + [a_study("mrpc", 3.0, model="minilm-l3")]
    images = [a_study(f"images {n}", -3.0 - 0.1 * n, "run_image_classification.py") for n in range(5)]
    noisy = made_up_study({"text 0": 4.0}, losses=LOSSES, noise=0.2)
    texts[0] = results_of([*texts[0].runs, *of_script(noisy, "run_glue.py")], title="text 0")
    return [*texts, a_study("sounds", 3.0, "run_audio_classification.py"), *images]


@pytest.mark.parametrize(
    ("value", "interval", "options", "verdict"),
    [
        (0.15, (0.1, 0.2), {}, "supported"),
        (0.15, (0.1, 0.2), {"agrees": 0.01}, "supported"),
        (0.15, (0.1, 0.2), {"agrees": -0.01}, "undecided"),
        (-0.15, (-0.2, -0.1), {}, "not supported"),
        (0.0, (-0.1, 0.1), {}, "undecided"),
        (-0.15, (-0.2, -0.1), {"above": False}, "supported"),
        (0.15, (0.1, 0.2), {"above": False}, "not supported"),
        (0.7, (0.5, 0.9), {"above": False, "border": 1.0}, "supported"),
        (1.0, (0.9, 1.1), {"above": False, "border": 1.0}, "undecided"),
        (-0.1, (-0.4, 0.2), {"border": -0.5}, "supported"),
        (0.5, None, {}, "one source, no interval"),
        (None, None, {}, "no figure yet"),
    ],
)
def test_a_verdict_follows_from_the_interval(
    value: float | None, interval: tuple[float, float] | None, options: dict[str, Any], verdict: str
) -> None:
    assert claims.Evidence("x", value, interval, **options).verdict == verdict


def test_votes_to_decide_are_the_fewest_whose_interval_leaves_out_the_border() -> None:
    """Votes of deviation 1 about a mean: their own intervals say how many are enough."""

    def evidence(mean: float, votes: int, **options: Any) -> Any:
        half = float(t.ppf(0.975, votes - 1)) / math.sqrt(votes)
        bounds = mean - half, mean + half
        if options.get("border") == 1.0:
            mean, bounds = math.exp(mean), (math.exp(bounds[0]), math.exp(bounds[1]))
        return claims.Evidence("x", mean, bounds, votes, **options)

    for options in ({}, {"border": 1.0, "above": False}):
        needed = evidence(-0.4, 9, **options).votes_to_decide
        assert needed == 27
        assert evidence(-0.4, needed - 1, **options).verdict == "undecided"
        assert evidence(-0.4, needed, **options).verdict != "undecided"
    assert evidence(0.4, 27).votes_to_decide is None
    assert evidence(0.001, 9).votes_to_decide == claims.MANY + 1
    assert "more than 1,000" in evidence(0.001, 9).cells
    assert claims.Evidence("x", 0.1, None, 1).votes_to_decide is None
    assert claims.Evidence("x", 0.1, (-0.1, 0.3), votes=1).votes_to_decide is None  # over seeds of one set


def test_claims_are_judged_on_their_own_domains(whole: list[Results]) -> None:
    verdicts = {claim: [each.verdict for each in evidence] for claim, evidence in claims.claims(whole)}
    assert verdicts["As good or better in text and speech"] == ["supported"] * 3
    assert verdicts["Cross-entropy ahead in vision"] == ["supported"]
    assert verdicts["The same after as many epochs as cross-entropy needed"] == ["supported"] * 3
    (alone,) = [evidence for claim, evidence in claims.claims(whole[:1]) if claim == "Depends less on the seed"]
    assert alone[0].verdict == "one source, no interval"


def test_tasks_of_one_source_have_one_vote_and_a_problem_without_all_values_has_none() -> None:
    texts = [a_study(task, advantage) for task, advantage in (("trec", 3.0), ("trec50", 1.0), ("cola", 2.0))]
    problems = figures.plain_problems(figures.whole_analysis(texts))
    found = figures.advantage(problems, "square")
    of_task = {p.problem.task: sum(p.comparisons[0].standardised) / 5 for p in problems}
    assert found.tasks == 2
    assert found.mean == pytest.approx(((of_task["trec"] + of_task["trec50"]) / 2 + of_task["cola"]) / 2)
    runs = texts[2].runs
    lost = next(r for r in runs if r.label == "square" and r.seed == 4)
    epochs = [{"epoch": 1.0, "validation": {"accuracy": None}, "test": {"accuracy": None}}]
    gone = RunRecord.model_validate({**lost.model_dump(), "status": "diverged", "epochs": epochs})
    texts[2] = results_of([gone if run is lost else run for run in runs], title="cola")
    assert figures.advantage(figures.plain_problems(figures.whole_analysis(texts)), "square").tasks == 1


def test_the_mean_in_points_is_that_of_the_differences(whole: list[Results]) -> None:
    problems = figures.plain_problems(figures.whole_analysis(whole[1:3]))
    means = []
    for found in problems:
        values = {c.label: c.values("test") for c in found.problem.contenders}
        differences = [values["square"][seed] - values["cross_entropy"][seed] for seed in range(5)]
        means.append(sum(differences) / 5)
    assert figures.points(problems, "square").mean == pytest.approx(sum(means) / 2)


def test_robustness_is_what_the_advantage_gains_by_wrong_labels() -> None:
    studies = []
    for n in range(3):
        noisy = made_up_study({f"text {n}": 2.0 + n}, losses=LOSSES, noise=0.2)
        studies += [a_study(f"text {n}", 1.0), results_of(of_script(noisy, "run_glue.py"), title=f"text {n}, noise")]
    whole = figures.whole_analysis(studies)
    gains = []
    for n in range(3):
        of_share = {
            p.problem.label_noise: p.comparisons[0].tuned for p in whole.problems if p.problem.task == f"text {n}"
        }
        gains.append(of_share[0.2].mean - of_share[0.0].mean)
    assert figures.robustness(whole, 0.2).mean == pytest.approx(sum(gains) / 3) and sum(gains) > 0
    assert figures.robustness(whole, 0.4) is None
    only_noise = figures.whole_analysis(studies[1::2])
    assert figures.robustness(only_noise, 0.2) is None  # nothing to hold it against
    (found,) = [evidence for claim, evidence in claims.claims(studies) if "wrong training labels" in claim]
    assert [each.figure for each in found] == ["20 % of them wrong: points"]


def test_a_large_vocabulary_is_judged_for_each_time_by_seeds_at_the_rate_that_validation_chooses() -> None:
    def a_run(method: str, seed: int, rate: float, right: float, perplexity: float, **budget: int) -> dict[str, Any]:
        test = {"accuracy": right, "calibrated": perplexity}
        chosen = {"accuracy": rate}  # the larger rate is the better one on validation
        key = {"method": method, "learning_rate": rate, "seed": seed, **budget}
        return {"key": key, "validation": chosen, "test": test}

    runs = [a_run("square", 0, 0.1, 0.9, 1.0, equal_time=20), a_run("square", 0, 0.2, 0.2, 90.0, equal_time=20)]
    runs += [a_run("square", 1, 0.2, 0.3, 110.0, equal_time=20), a_run("square", 0, 0.2, 0.9, 1.0, steps=20)]
    runs += [a_run("cross_entropy", seed, 0.2, 0.1 + 0.05 * seed, 60.0, equal_time=20) for seed in (0, 1)]
    with pytest.raises(ValueError, match="same learning rates"):
        claims.in_equal_time({"runs": runs})
    runs += [a_run("cross_entropy", 0, 0.1, 0.9, 1.0, equal_time=20)]
    runs += [a_run("square@0,cross_entropy@0.7", 0, 0.2, 0.9, 1.0, equal_time=20)]
    studies = [a_study("cola", 3.0)]
    right, perplexity = claims.in_equal_time({"runs": runs})
    assert right.value == pytest.approx(12.5)
    assert perplexity.value == pytest.approx(-50 * (math.log(90 / 60) + math.log(110 / 60)))
    assert "time of 20 steps, 2 seeds of a set that" in right.figure
    assert right.cells[-2] == f"{right.verdict} on this set" and right.interval
    ((_, last),) = [each for each in claims.claims(studies, {"runs": runs}) if "large vocabulary" in each[0]]
    assert [each.figure for each in last] == [right.figure, perplexity.figure]
    ((_, last),) = [each for each in claims.claims(studies) if "large vocabulary" in each[0]]
    assert [each.verdict for each in last] == ["no figure yet"]


def test_a_study_of_wrong_labels_alone_is_in_no_other_table() -> None:
    noisy = made_up_study({"cola": 4.0}, losses=LOSSES, noise=0.2)
    studies = [a_study("cola", 3.0), results_of(of_script(noisy, "run_glue.py"), title="wrong labels")]
    overview = study.study_overview(studies)
    assert "| text | 1 | 1 / 0 / 0 |" in overview and "| all |" not in overview
    assert study.study_overview([studies[1]]) == "No comparison has been published yet."
    assert "wrong labels" not in study.domains_table(studies)
    assert study.study_overview(studies[1:]) == study.study_overview([])


def test_the_calibration_error_of_bins_is_their_mean_gap() -> None:
    bins = {"confidence": [0.5, 0.8, None], "accuracy": [0.6, 0.5, None], "count": [3, 1, 0]}
    run = a_run(reliability={"test": bins})
    assert figures.mass_error(run, "test") == pytest.approx((3 * 0.1 + 0.3) / 4)
    assert figures.mass_error(run, "validation") is None and figures.mass_error(a_run(), "test") is None


def test_the_section_has_every_task_and_the_paper_beside_it(whole: list[Results]) -> None:
    text = study.study_section(whole, [("Slow one", 3, 36)])
    assert "Not complete, and in no figure: Slow one (3 of 36 runs)." in text
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if "| `square` |" in line]
    rows = [cells[1:4:2] for cells in lines if cells[1] != "task"]
    assert rows == [["speech", "1"], ["text", "6"], ["vision", "5"], ["all", "12"]]
    assert all(f"| {results.title} |" in text for results in whole)
    assert text.count("| 0.838 / 0.821 | BERT |") == 1  # of the paper, beside mrpc
    noise = text[text.index("### Label noise") :]
    assert [line.split("|")[2].strip() for line in noise.splitlines()[4:]] == ["0 %", "20 %"]
    assert "Label noise" not in study.study_section(whole[1:])


def test_wrong_labels_stand_beside_the_right_ones_of_the_same_model(whole: list[Results]) -> None:
    others = [run.model_copy(update={"model": "lstm"}) for run in whole[0].runs if run.label_noise == 0]
    text = study.study_section([whole[0], results_of(others, title="another model"), *whole[1:]])
    noise = text[text.index("### Label noise") :]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in noise.splitlines()[4:]]
    assert rows == [["text 0, tiny-bert", "0 %"], ["text 0, tiny-bert", "20 %"]]


def test_a_task_votes_with_the_source_that_it_shares_rows_with(whole: list[Results]) -> None:
    tuned = figures.plain_problems(figures.whole_analysis([a_study("movie", 1.0), a_study("cola", 1.0)]))
    assert [figures.source_of(found) in figures.TUNED for found in tuned] == [True, False]
    rows = dict(claims.claims([a_study(task, 3.0 + n) for n, task in enumerate(("movie", "sst2", "cola", "rte"))]))
    votes = {each.figure: each.votes for each in rows["As good or better in text and speech"]}
    assert votes["better: SD"] == 3 and votes["better, without the sets that `auto` was set on: SD"] == 2


def test_the_verdict_is_three_sentences_with_their_intervals(whole: list[Results]) -> None:
    text = study.study_verdict(whole[:7])
    assert "is better than cross-entropy in 7, worse in 0 and undecided in 0" in text
    assert "it is better in text and speech" in text and "in vision" not in text
    assert text.count("[") == 4 and "interim" not in text
    assert "(interim: 7 of 9 studies are complete)" in study.study_verdict(whole[:7], [("a", 1, 2), ("b", 0, 2)])
    text = study.study_verdict(whole)
    assert "it is better in text and speech" in text and "it is worse in vision" in text
    mixed = [*whole[:2], a_study("c", -3.0), a_study("d", -2.0), a_study("e", -3.0)]
    assert "the two cannot be told apart in text and speech" in study.study_verdict(mixed)
    assert "1 of its 2 parts are complete, too few" in study.study_verdict(whole[:1], [("a", 0, 2)])
    assert "0 of its 0 parts" in study.study_verdict([])


def test_the_verdict_names_calibration_before_and_after(whole: list[Results]) -> None:
    def calibrated(run: RunRecord) -> RunRecord:
        """The better its own probabilities are, the worse are those by T."""
        content = run.model_dump()
        for epoch in content["epochs"]:
            epoch["test"] |= {f"calibrated_{name}": 1 - epoch["test"][name] for name in ("brier", "nll")}
        return RunRecord.model_validate(content)

    assert "with the number T" not in study.study_verdict(whole[:7])
    found = [results_of([calibrated(run) for run in each.runs], title=each.title) for each in whole[:7]]
    (sentence,) = [each for each in study.study_verdict(found).split(". ") if "Before any" in each]
    before, after = sentence.split("; ")
    assert "are better by the Brier score (" in before and " and by the negative log-likelihood (+" in before
    assert "are worse by the Brier score (" in after and " and by the negative log-likelihood (" in after
    rows = {claim: [each.verdict for each in evidence] for claim, evidence in claims.claims(found)}
    verdicts = [verdict for claim, all_of_it in rows.items() if "number T" in claim for verdict in all_of_it]
    assert verdicts == ["not supported", "not supported", "no figure yet"]


def test_a_study_that_is_not_complete_counts_in_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "title: A task\ntasks: {mrpc: {train_file: t.csv}}\nmodels: {tiny-bert: {}}\n"
    text += "losses: [cross_entropy, square]\nlearning_rates: [0.0003]\nseeds: [0, 1]\n"
    folder = tmp_path / "study-task"
    folder.mkdir()
    (folder / "study.yaml").write_text(text)
    monkeypatch.setattr(render, "CARDS", tmp_path)
    assert render.read_studies() == ({}, [("A task", 0, 4)])
    runs = [*runs_of("cross_entropy", 0.7, 0.8), *runs_of("square", 0.8, 0.85)]
    for run in runs[:3]:
        write_run(folder, run)
    assert render.read_studies() == ({}, [("A task", 3, 4)])
    write_run(folder, runs[3])
    complete, rest = render.read_studies()
    assert list(complete) == [folder] and rest == []


def test_what_a_study_still_needs_follows_from_the_rate_that_is_chosen() -> None:
    content = {"title": "t", "tasks": {"mrpc": {"train_file": "t.csv"}}, "models": {"tiny-bert": {}}}
    plan = make_study({**content, "losses": ["square"], "learning_rates": RATES, "seeds": [0, 1, 2]}, "here")
    runs = [run for run in made_up_study(seeds=3) if run.loss == "square"]  # the second rate is the best
    assert render.missing_runs(plan, []) == 7 and render.missing_runs(plan, runs) == 0
    of_rate = {rate: [run for run in runs if run.learning_rate == rate] for rate in RATES}
    assert (
        render.missing_runs(plan, [*of_rate[RATES[0]], *of_rate[RATES[1]]]) == 3
    )  # those of the third, and one of the rate that is chosen
    better = [run.model_copy(update={"learning_rate": 1.0}) for run in of_rate[RATES[1]][:2]]
    longer = plan.model_copy(update={"learning_rates": [*RATES, 1.0]})
    assert render.missing_runs(longer, [*runs, *better]) == 0  # equals: the smaller rate
    fresh = [run for run in runs if run.learning_rate != RATES[1]]
    assert render.missing_runs(longer, [*fresh, *better, *of_rate[RATES[1]][:1]]) == 2


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
