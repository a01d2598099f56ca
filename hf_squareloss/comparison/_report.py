"""The page of a study: one HTML file with everything in it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from hf_squareloss.comparison import _pictures, _tables
from hf_squareloss.comparison._analysis import Analysis, ProblemAnalysis, analyse
from hf_squareloss.comparison._markdown import analysis_markdown, problem_note
from hf_squareloss.comparison._records import RUNS, Results
from hf_squareloss.comparison._results import FILE, merged_results, read_results, write_results
from hf_squareloss.comparison._svg import SERIES
from hf_squareloss.comparison._words import verdict, warnings
from hf_squareloss.recipes.run_files import write_text


def report(
    study: str | Path,
    *others: str | Path,
    output_dir: str | Path | None = None,
    title: str | None = None,
    baseline: str | None = None,
) -> Path:
    """Write report.html into a study's folder, and beside it report.md and, from run files, results.json.

    The page needs nothing else: no network, no script, pictures as SVG. The same runs make the same page. Several
    studies become one page, with figures over all of their tasks.

    Args:
        study: the study's folder, or a results.json.
        others: more of them, for one page of all.
        output_dir: where the page is written; beside the study by default.
        title: the name on the page; the study's by default.
        baseline: label of the loss that others are compared to; cross-entropy by default.

    Returns:
        The path of report.html.

    Raises:
        FileNotFoundError: there is no such folder or file.
        ValueError: no runs, files that do not fit, a baseline that no run has, or several studies and no output_dir.
    """
    paths = [Path(each) for each in (study, *others)]
    if len(paths) > 1 and output_dir is None:
        raise ValueError("give output_dir: the page of several studies belongs into none of them")
    found = [read_results(path) for path in paths]
    names = " and ".join(dict.fromkeys(results.title for results in found))
    results = found[0] if len(found) == 1 else merged_results(found, names)
    results = results.model_copy(update={"title": title}) if title else results
    folder = Path(output_dir) if output_dir else paths[0] if paths[0].is_dir() else paths[0].parent
    analysis = analyse(results, baseline)
    page = report_page(results, analysis)
    if len(paths) > 1 or (paths[0] / RUNS).is_dir():
        write_results(folder / FILE, results)
    write_text(folder / "report.md", f"# {results.title}\n\n{analysis_markdown(results, analysis)}")
    return write_text(folder / "report.html", page)


def report_page(results: Results, analysis: Analysis) -> str:
    """The page as HTML."""
    from jinja2 import Environment, StrictUndefined

    import hf_squareloss

    settings = {**results.settings, **results.environment}
    environment = Environment(autoescape=True, trim_blocks=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(_resource("report.html.jinja")).render(
        title=results.title,
        style=style_sheet(),
        baseline=analysis.baseline,
        main=analysis.main,
        verdict=verdict(analysis),
        outcome=_outcome(analysis),
        warnings=warnings(analysis),
        overview=_tables.overview(analysis),
        over_tasks=_tables.over_tasks(analysis),
        ratios=_tables.ratios_over_tasks(analysis),
        calibration=_tables.calibration_over_tasks(analysis),
        advantages=_pictures.advantages(analysis, analysis.main, analysis.labels) if analysis.main else None,
        spreads=_pictures.spreads(analysis, analysis.main, analysis.labels) if analysis.main else None,
        problems=[_problem(analysis, found) for found in analysis.problems],
        command=settings.pop("command", None),
        settings=_tables.settings(settings),
        settings_of_problems=_tables.settings_of_problems(analysis, results),
        runs=_tables.every_run(results.runs),
        version=hf_squareloss.__version__,
    )


def _problem(analysis: Analysis, found: ProblemAnalysis) -> dict[str, Any]:
    problem, order = found.problem, analysis.labels
    return {
        "name": found.name,
        "note": problem_note(analysis, found),
        "legend": [(c.label, min(order.index(c.label), SERIES - 1)) for c in problem.contenders],
        "limited": f" (the first {_pictures.CURVES} losses)" if len(problem.contenders) > _pictures.CURVES else "",
        "seeds": _pictures.seeds(problem, order),
        "curves": _pictures.curves(problem, order),
        "reliability": _pictures.reliability(problem, order),
        "grids": _pictures.grids(problem),
        "tables": [(title, table) for title, make in _tables.OF_PROBLEM if (table := make(found)) is not None],
    }


def _outcome(analysis: Analysis) -> str:
    """What the verdict says: win, loss or nothing of both."""
    if analysis.main is None or analysis.main not in analysis.pooled:
        return "tie"
    if len(analysis.tasks) > 1:
        pooled = analysis.pooled[analysis.main].advantage
        interval = pooled.interval if pooled else None
        return "tie" if interval is None else "win" if interval[0] > 0 else "loss" if interval[1] < 0 else "tie"
    found = next(c for p in analysis.problems for c in p.comparisons if c.contender.label == analysis.main)
    return found.outcome or "tie"


def style_sheet() -> str:
    """The colours and fonts of the page and of its pictures."""
    return _resource("report.css")


def _resource(name: str) -> str:
    return files("hf_squareloss.comparison").joinpath(name).read_text(encoding="utf8")
