"""The card of a compared task: metadata that the Hub reads, the tables of the study, and its reliability pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from hf_squareloss._markdown import markdown_text
from hf_squareloss.comparison import _pictures
from hf_squareloss.comparison._analysis import Analysis, ProblemAnalysis, analyse
from hf_squareloss.comparison._markdown import analysis_markdown
from hf_squareloss.comparison._records import Results
from hf_squareloss.comparison._report import style_sheet
from hf_squareloss.comparison._statistics import CONFIDENCE, mean_interval
from hf_squareloss.comparison._svg import standalone
from hf_squareloss.recipes.run_files import write_text


def write_card(folder: str | Path, results: Results, **options: Any) -> Path:
    """Write README.md and its pictures into a folder.

    Args:
        folder: made if needed.
        results: as `read_results` gives them.
        options: as of `study_card`.

    Returns:
        The path of README.md.
    """
    folder = Path(folder)
    for name, svg in card_pictures(results).items():
        write_text(folder / name, svg)
    return write_text(folder / "README.md", study_card(results, **options))


def study_card(
    results: Results,
    *,
    task: str | None = None,
    dataset: str | None = None,
    dataset_config: str | None = None,
    note: str | None = None,
    command: str | None = None,
    license: str | None = None,
    language: str | None = None,
) -> str:
    """The README.md of a compared task, with the Hub's metadata.

    The model-index has one metric per problem and loss: the mean over its seeds, with the 95 % interval of that mean,
    the number of seeds and the learning rate as the metric's arguments. Problems of a data set of the Hub are metrics
    of one result, which the Hub tells apart by data set and config; others have a result of their own.

    Args:
        results: as `read_results` gives them.
        task: the Hub's pipeline tag, such as "text-classification".
        dataset: the data set's Hub name, if it has one.
        dataset_config: the Hub's name of its config, where it has several.
        note: Markdown below the title, such as what the parts are.
        command: what made the runs; that of the settings by default.
        license: as the Hub writes it.
        language: as the Hub writes it.
    """
    from huggingface_hub import ModelCardData

    analysis = analyse(results)
    data = ModelCardData(
        language=language,
        license=license,
        library_name="speechbrain" if "speechbrain" in results.environment else "transformers",
        tags=["hf_squareloss", "loss-comparison", *_tags(results)],
        datasets=[dataset] if dataset else None,
        model_name=results.title,
        eval_results=_eval_results(analysis, task or "other", dataset, dataset_config) or None,
    )
    command = command or results.settings.get("command")
    parts = [
        f"---\n{data.to_yaml()}\n---",
        f"# {markdown_text(results.title)}",
        f"Figures of trained models, without any weights. {note or ''}".strip(),
        analysis_markdown(results, analysis).strip(),
    ]
    pictures = card_pictures(results, analysis)
    if pictures:
        parts += ["## Reliability", "Below the diagonal, a loss is too sure; all seeds together."]
        parts += [f"![{_alternative(name)}]({name})" for name in pictures]
    parts += ["## The command", f"```\n{command}\n```"] if command else []
    return "\n\n".join(parts) + "\n"


def card_pictures(results: Results, analysis: Analysis | None = None) -> dict[str, str]:
    """File name -> SVG of every problem's reliability diagram; none where it was not measured."""
    analysis = analysis or analyse(results)
    drawn = {
        _file(analysis.problems, found): _pictures.reliability(found.problem, analysis.labels, legend=True)
        for found in analysis.problems
    }
    return {name: standalone(svg, style_sheet()) for name, svg in drawn.items() if svg}


def _eval_results(analysis: Analysis, task: str, dataset: str | None, config: str | None) -> list[Any]:
    from huggingface_hub import EvalResult

    results, tasks = [], {found.problem.task for found in analysis.problems}
    for found in analysis.problems:
        problem = found.problem
        of = f", {found.name}" if dataset and len(analysis.problems) > 1 else ""
        name = (problem.task if len(tasks) == 1 else dataset) if dataset else found.name
        for contender in problem.contenders:
            values = list(contender.values(problem.part).values())
            if not values:
                continue
            arguments: dict[str, Any] = {"seeds": len(values), "learning_rate": contender.learning_rate}
            if interval := mean_interval(values):
                arguments |= {"confidence": CONFIDENCE, "interval": [round(bound, 6) for bound in interval]}
            results.append(
                EvalResult(
                    task_type=task,
                    dataset_type=dataset or "local",
                    dataset_name=name,
                    dataset_config=config if dataset else _slug(found.name),
                    dataset_split=problem.part,
                    metric_type=problem.metric,
                    metric_name=f"{problem.metric} with {contender.label}{of}",
                    metric_value=round(fmean(values), 6),
                    metric_args=arguments,
                )
            )
    return results


def _tags(results: Results) -> list[str]:
    return sorted({run.loss.replace("_", "-") for run in results.runs})


def _file(problems: Sequence[ProblemAnalysis], found: ProblemAnalysis) -> str:
    place = f"-{problems.index(found) + 1}" if len(problems) > 1 else ""
    return f"reliability{place}.svg"


def _alternative(name: str) -> str:
    return f"Accuracy against confidence, {name.removesuffix('.svg').replace('-', ' ')}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "problem"
