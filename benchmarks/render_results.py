"""Render the tables and pictures of README.md and docs/, and the cards in model_cards/, from results files.

    python benchmarks/render_results.py [--check]

A comparison is published by putting its results.json into model_cards/NAME/; those of the study are in
model_cards/study-NAME/, with a file for each run, and the grids of k and M in benchmarks/k_and_M/. The benchmarks write
their own results, and models.tsv says which models work. With --check nothing is written and the exit status says
whether what is written is up to date.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pictures import draw_advantages, draw_comparisons, draw_grids, draw_growth
from render_benchmarks import tables
from render_calibration import calibration_section
from render_demos import demos_section
from render_language import equal_time_note, language_section
from render_many_classes import many_classes_section
from render_models import models_section, read_models
from render_speech_calibration import speech_section
from render_statistics import statistics
from render_study import grid_table, study_overview, study_section, study_verdict

from hf_squareloss.comparison import (
    Results,
    RunRecord,
    Study,
    card_pictures,
    choose_learning_rate,
    read_results,
    read_study,
    study_card,
    study_markdown,
)

ROOT = Path(__file__).resolve().parent.parent
CARDS = ROOT / "model_cards"
BENCHMARKS = ROOT / "benchmarks"
GRIDS = {"sst2": 2, "trec": 6, "20newsgroups": 20, "trec50": 50, "banking77": 77}  # name -> classes
# What the Hub calls the task of a script, and the data sets.
HUB_TASKS = {
    "run_glue.py": "text-classification",
    "run_language_modeling.py": "text-generation",
    "run_audio_classification.py": "audio-classification",
    "run_speech_recognition_ctc.py": "automatic-speech-recognition",
    "run_image_classification.py": "image-classification",
    "speechbrain/train.py": "automatic-speech-recognition",
}
HUB_SETS: dict[str, tuple[str, str | None]] = {  # task -> the data set's name and config
    "mrpc": ("nyu-mll/glue", "mrpc"),
    "rte": ("nyu-mll/glue", "rte"),
    "cola": ("nyu-mll/glue", "cola"),
    "sst2": ("stanfordnlp/sst2", None),
    "trec": ("CogComp/trec", None),
    "trec50": ("CogComp/trec", None),
    "ag_news": ("fancyzhx/ag_news", None),
    "banking77": ("PolyAI/banking77", None),
    "20newsgroups": ("SetFit/20_newsgroups", None),
    "mnist": ("ylecun/mnist", None),
    "cifar10": ("uoft-cs/cifar10", None),
}
PAGE = "https://github.com/hf-squareloss/hf_squareloss/blob/main/docs/results.md"
IN_STUDY = (
    f"Part of [the study]({PAGE}#the-study) of the losses. Training, validation and test rows are parts cut by "
    "`benchmarks/study_data.py`, which are not always those of the data set."
)
_JOINT = (
    f"Trained [beside the study]({PAGE}#beside-the-study) with SpeechBrain's joint recipe, of which the decoder's loss "
    "changes: one learning rate for both losses, and in no figure of the study."
)
BESIDE = {  # what the study's command cannot train, and what is to be known of it
    "an4-speechbrain-joint": f"{_JOINT} Both losses begin at log C beside that of CTC.",
    "an4-speechbrain-unscaled": f"{_JOINT} The square loss as it is, a fourteenth of cross-entropy's first value.",
}
EARLIER = (
    f"An [earlier comparison]({PAGE}#earlier-comparisons), in no figure of the study. `square` is with the k and M "
    "of an older `auto`: k = max(1, C/8), M = C/(2k), for CTC k = C/4, M = 1, which `--loss_k` and `--loss_M` give."
)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args(argv).check
    studies, rest = read_studies()
    files = [path for path in sorted(CARDS.glob("*/results.json")) if not path.parent.name.startswith("study-")]
    others = {path.parent: read_results(path) for path in files}
    beside = [results for folder, results in others.items() if folder.name in BESIDE]
    old = [results for folder, results in others.items() if folder.name not in BESIDE]
    comparisons = [results for results in old if is_comparison(results)]
    alone = [results for results in old if not is_comparison(results)]
    study = list(studies.values())
    grids = [(name, classes, read_results(folder)) for name, classes, folder in grid_folders()]
    benchmarks = read(BENCHMARKS / "results.json")
    large = read(BENCHMARKS / "large_vocabulary.json")
    places: dict[str, dict[str, str]] = {
        "README.md": {"verdict": study_verdict(study, rest), "overview": study_overview(study)},
        "docs/getting_started.md": {"demos": demos_section(read(BENCHMARKS / "demos.json"))},
        "docs/results.md": {
            "study": study_section(study, rest, large),
            "beside": sections(beside, []),
            "comparisons": sections(comparisons, alone),
        },
        "docs/losses.md": {
            "grid": grid_table(grids),
            "many classes": many_classes_section(read(BENCHMARKS / "many_classes.json")),
        },
        "docs/performance.md": {**tables(benchmarks), "equal time": equal_time_note(large)},
        "docs/large_vocabularies.md": {
            "large vocabulary": language_section(large),
            "language modeling": language_section(read(BENCHMARKS / "language_modeling.json")),
        },
        "docs/probabilities.md": {
            "calibration": calibration_section(read(BENCHMARKS / "calibration.json")),
            "speech": speech_section(read(BENCHMARKS / "speech_calibration.json")),
        },
        "docs/statistics.md": statistics(read(BENCHMARKS / "interval_coverage.json")),
        "docs/models.md": {"models": models_section(*read_models(BENCHMARKS / "models.tsv"))},
    }
    rendered: dict[Path, str] = {}
    for folder, results in (others | studies).items():
        of_study, note = folder in studies, BESIDE.get(folder.name)
        rendered[folder / "README.md"] = study_card(
            results if of_study or note else results.model_copy(update={"title": f"{results.title} (earlier)"}),
            note=note or (IN_STUDY if of_study else EARLIER),
            command=study_command(folder) if of_study else command(results),
            license="apache-2.0",
            **hub_names(results),
        )
        rendered |= {folder / name: svg for name, svg in card_pictures(results).items()}
    for name, contents in places.items():
        text = (ROOT / name).read_text(encoding="utf8")
        for place, content in contents.items():
            text = between_marks(text, place, content, name)
        rendered[ROOT / name] = text
    pictures: dict[Path, tuple[Callable[[Any, Path, str], None], Any]] = {
        ROOT / "docs/pictures/growth.svg": (draw_growth, benchmarks["linear_square_loss_growth"])
    }
    if comparisons:
        pictures[ROOT / "docs/pictures/comparisons.svg"] = draw_comparisons, comparisons
    if study:
        pictures[ROOT / "docs/pictures/study.svg"] = draw_advantages, study
    if grids:
        pictures[ROOT / "docs/pictures/k_and_M.svg"] = draw_grids, grids
    stale = [path for path, text in rendered.items() if not path.exists() or path.read_text(encoding="utf8") != text]
    # Pictures of the same numbers differ between releases of matplotlib: what was drawn is written into them.
    stale += [p for p, (_, drawn) in pictures.items() if not p.exists() or digest(drawn) not in p.read_text("utf8")]
    if check:
        sys.exit(f"out of date: {', '.join(str(p.relative_to(ROOT)) for p in stale)}: run make docs" if stale else 0)
    for path, text in rendered.items():
        path.write_text(text, encoding="utf8")
    for path, (draw_picture, drawn) in pictures.items():
        draw_picture(drawn, path, digest(drawn))


def hub_names(results: Results) -> dict[str, str | None]:
    """The Hub's names of a comparison's task, data set and language, where they are known."""
    first = results.runs[0]
    task = HUB_TASKS.get(first.settings.get("script", results.settings.get("script", "run_glue.py")))
    dataset, config = HUB_SETS.get(first.task, (None, None))
    language = None if task == "image-classification" else "en"
    return {"task": task, "dataset": dataset, "dataset_config": config, "language": language}


def study_command(folder: Path) -> str:
    """What makes a part of the study, or recognises that nothing of it is missing."""
    place = folder.relative_to(ROOT).as_posix()
    return f"hf-squareloss compare {place}/study.yaml --output_dir {place}"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf8"))


def is_comparison(results: Results) -> bool:
    """Whether there is more than one loss to compare."""
    return len({run.label for run in results.runs}) > 1


def digest(drawn: Any) -> str:
    """Of the numbers that a picture shows."""
    text = json.dumps(drawn, sort_keys=True, default=lambda results: results.model_dump(mode="json"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_studies() -> tuple[dict[Path, Results], list[tuple[str, int, int]]]:
    """The tasks of the study whose runs are all there; of others the title, the runs so far and how many it needs."""
    complete, rest = {}, []
    for path in sorted(CARDS.glob("study-*/study.yaml")):
        study, begun = read_study(path), any((path.parent / "runs").glob("*.json"))
        results = read_results(path.parent) if begun else None
        runs = results.runs if results else []
        missing = missing_runs(study, runs)
        if results and not missing:
            complete[path.parent] = results
        else:
            rest.append((study.title, len(runs), len(runs) + missing))
    return complete, rest


def missing_runs(study: Study, runs: Sequence[RunRecord]) -> int:
    """How many a study still needs: every learning rate with the tuning seeds, and the chosen one with all."""
    missing = 0
    for problem, choice in product(study.problems, study.choices):
        there = [run for run in runs if (run.problem, run.label) == (problem, choice.label)]
        made = {(run.learning_rate, run.seed) for run in there}
        tuning = set(product(study.learning_rates, study.tuning))
        chosen = choose_learning_rate(there) if tuning <= made else None
        seeds = study.seeds if chosen is not None else [seed for seed in study.seeds if seed not in study.tuning]
        missing += len((tuning | {(chosen, seed) for seed in seeds}) - made)
    return missing


def grid_folders() -> list[tuple[str, int, Path]]:
    """Name, number of classes and folder of each grid of k and M that has runs."""
    folders = [(name, classes, BENCHMARKS / "k_and_M" / name) for name, classes in GRIDS.items()]
    return [each for each in folders if (each[2] / "runs").is_dir()]


def sections(comparisons: Sequence[Results], alone: Sequence[Results]) -> str:
    """Every comparison under a heading of its own; runs of one loss apart, under a heading that says so."""
    parts = [f"### {results.title}\n\n{section(results, '####')}" for results in comparisons]
    if alone:
        parts.append("### Runs of one loss alone\n\nThese are no comparison: there is nothing to hold them against.")
        parts += [f"#### {results.title}\n\n{section(results, '#####')}" for results in alone]
    return "\n\n".join(parts) or "No comparison has been published yet."


def section(results: Results, heading: str) -> str:
    """The figures of a comparison, and what all of its runs were made with."""
    where = dict(results.environment)
    known = [where["machine"]] if "machine" in where else []
    known += [f"{where['threads']} thread"] if "threads" in where else []
    known += [f"{name} {where[name]}" for name in ("torch", "transformers", "speechbrain") if name in where]
    note = f"{', '.join(known)}. Seconds are wall clock beside other work on that machine, so they compare nothing."
    return f"{study_markdown(results, brief=True, heading=heading).strip()}\n\n{note.removeprefix('. ')}"


def command(results: Results) -> str | None:
    """The command that made the runs; for results of before studies had one, put together from their arguments."""
    settings = results.settings
    if "command" in settings or "learning_rates" not in settings:
        return settings.get("command")
    losses = " ".join(dict.fromkeys(run.loss for run in results.runs))
    rates = " ".join(f"{rate:g}" for rate in settings["learning_rates"])
    seeds = " ".join(str(seed) for seed in sorted({run.seed for run in results.runs}))
    shared = " ".join(settings["arguments"])
    if settings.get("script") == "speechbrain/train.py":
        return (
            "python examples/speechbrain/train.py examples/speechbrain/hparams/train.yaml "
            f"--loss LOSS --lr {rates} --seed SEED {shared}  # LOSS of {losses}; SEED of {seeds}"
        )
    script = f"--script {settings['script']} --metric {results.metric} " if "script" in settings else ""
    return (
        f"hf-squareloss compare {script}--losses {losses} --learning_rates {rates} --seeds {seeds} "
        f"--output_dir outputs/comparison -- {shared}"
    )


def between_marks(text: str, name: str, content: str, file: str) -> str:
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"no marks <!-- {name} --> ... <!-- end {name} --> in {file}")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


if __name__ == "__main__":
    main()
