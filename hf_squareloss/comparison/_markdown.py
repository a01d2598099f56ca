"""An analysis in Markdown: for README files, documentation and the cards of a study."""

from __future__ import annotations

from collections.abc import Sequence

from hf_squareloss._markdown import markdown_table, markdown_text
from hf_squareloss.comparison import _tables
from hf_squareloss.comparison._analysis import Analysis, ProblemAnalysis, analyse
from hf_squareloss.comparison._records import Results
from hf_squareloss.comparison._tables import Table, spread_text
from hf_squareloss.comparison._words import interval_text, number, verdict, warnings


def overview_markdown(studies: Sequence[Results]) -> str:
    """One row per problem of several studies, one column per loss, and the main loss's advantage with its interval.

    Losses with parameters of their own, such as those of a grid, have no column, but for baselines and main ones.

    Args:
        studies: as `read_results` gives them.
    """
    analyses = [analyse(study) for study in studies]
    plain = {run.label for study in studies for run in study.runs if not run.parameters}
    plain |= {label for analysis in analyses for label in (analysis.baseline, analysis.main) if label}
    shown = [label for label in dict.fromkeys(each for a in analyses for each in a.labels) if label in plain]
    rows = []
    for analysis in analyses:
        for found in analysis.problems:
            problem = found.problem
            of_label = {c.label: list(c.values(problem.part).values()) for c in problem.contenders}
            main = next((c for c in found.comparisons if c.contender.label == analysis.main), None)
            advantage = f"{number(main.tuned.mean, signed=True, digits=3)}" if main else ""
            interval = interval_text(main.tuned.interval, signed=True, digits=3) if main else ""
            seeds = sorted({len(values) for values in of_label.values()})
            cells = [spread_text(of_label[label], 3) if label in of_label else "" for label in shown]
            metric = _tables.arrow(problem.metric, problem.greater_is_better)
            counts = "–".join(map(str, seeds))
            rows.append([markdown_text(found.name), metric, *cells, advantage, interval, counts])
    mains = list(dict.fromkeys(analysis.main for analysis in analyses if analysis.main))
    title = f"advantage of `{mains[0]}`" if len(mains) == 1 else "advantage"
    header = ["task", "metric", *(f"`{label}`" for label in shown), title, "95 % interval", "seeds"]
    return markdown_table(header, rows)


def study_markdown(results: Results, *, brief: bool = False, heading: str = "##", baseline: str | None = None) -> str:
    """A study as a page without a title: verdict, warnings, tables, settings and every run.

    Args:
        results: as `read_results` gives them.
        brief: the verdict, the warnings and the comparison of losses alone.
        heading: the mark of a heading.
        baseline: as of `analyse`.
    """
    return analysis_markdown(results, analyse(results, baseline), brief=brief, heading=heading)


def analysis_markdown(results: Results, analysis: Analysis, *, brief: bool = False, heading: str = "##") -> str:
    """`study_markdown` of what is analysed already."""
    parts = [f"**{markdown_text(verdict(analysis))}**"]
    if noted := warnings(analysis):
        parts.append("\n".join(f"- {markdown_text(sentence)}" for sentence in noted))
    pooled = [_tables.over_tasks(analysis)]
    pooled += [] if brief else [_tables.ratios_over_tasks(analysis), _tables.calibration_over_tasks(analysis)]
    if tables := _rendered(pooled):
        parts += [f"{heading} Over all tasks", *tables]
    several = len(analysis.problems) > 1
    for found in analysis.problems:
        parts += [f"{heading} {markdown_text(found.name)}"] if several else []
        parts += [problem_note(analysis, found, code="`")]
        for title, table in _tables.OF_PROBLEM[: 1 if brief else None]:
            rendered = _rendered([table(found)])
            parts += rendered if brief or not rendered else [f"**{title}**", *rendered]
    if not brief:
        parts += [f"{heading} Settings", *_rendered([_tables.settings({**results.settings, **results.environment})])]
        for name, table in _tables.settings_of_problems(analysis, results):
            parts += [f"**{markdown_text(name)}**", *_rendered([table])]
        parts += [f"{heading} Every run", *_rendered([_tables.every_run(results.runs)])]
    return "\n\n".join(parts) + "\n"


def problem_note(analysis: Analysis, found: ProblemAnalysis, *, code: str = "") -> str:
    """What the figures of a problem are; `code` stands around the name of the baseline."""
    base = f"{code}{markdown_text(analysis.baseline) if code else analysis.baseline}{code}"
    against = (
        f" An advantage is a difference to {base}, paired by seed; positive is better." if found.comparisons else ""
    )
    values = f"{found.problem.part.capitalize()} part, mean ± standard deviation over the seeds"
    return f"{values}, each run at the epoch that validation chose.{against}"


def _rendered(tables: Sequence[Table | None]) -> list[str]:
    return [
        markdown_table(map(markdown_text, table.header), [[markdown_text(cell) for cell in row] for row in table.rows])
        for table in tables
        if table is not None and table.rows
    ]
