"""`hf-squareloss compare`: its options, the study that they describe, and how it ends."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_squareloss.comparison._study import Arguments, Study, make_study

COMPARE = """Compare losses on your data: the same runs for each, over learning rates and seeds.

    hf-squareloss compare data.csv --model distilbert-base-uncased
    hf-squareloss compare study.yaml --workers 2
    hf-squareloss compare --losses cross_entropy "square k=2" --script my_train.py -- --epochs 3

What stands after -- goes to the script for every run. A study file says all of it (docs/comparing.md). The same command
again goes on where it was interrupted.
"""
_TEXT_FILES = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".gz")
_OF_A_STUDY = (
    *("model", "losses", "learning_rates", "seeds", "tuning_seeds", "label_noise", "metric", "greater_is_better"),
    *("script", "title"),
)


def add_compare_options(parser: argparse.ArgumentParser) -> None:
    """The options of `hf-squareloss compare`."""
    study = parser.add_argument_group("the study")
    study.add_argument("data", nargs="*", help="files of labelled texts, one task each; or a study file in YAML")
    study.add_argument("--model", nargs="+", help="models of the Hub, or folders")
    study.add_argument("--losses", nargs="+", help='names; with parameters as one word: "square k=2 M=4"')
    study.add_argument("--learning_rates", nargs="+", type=float, help="default: 2e-5 5e-5 1e-4")
    study.add_argument("--seeds", nargs="+", type=int, help="default: 0 1 2")
    study.add_argument("--tuning_seeds", nargs="+", type=int, help="those that choose a learning rate; default: two")
    study.add_argument("--label_noise", nargs="+", type=float, help="shares of training labels to make wrong")
    study.add_argument("--metric", help="chooses learning rate and epoch on validation; default: accuracy")
    study.add_argument("--greater_is_better", choices=("true", "false"), help="of a metric that is not known")
    study.add_argument("--script", help="an example script by its name, or one of your own; default: run_glue.py")
    study.add_argument("--title", help="name of the comparison; default: that of the data")
    running = parser.add_argument_group("how it runs")
    running.add_argument("--output_dir", type=Path, help="default: outputs/compare-TITLE")
    running.add_argument(
        "--workers", type=int, default=1, help="runs at once on this machine, from 2 with one thread each; default: 1"
    )
    running.add_argument("--ray_address", help="run on the Ray cluster there; auto: the one of this machine")
    running.add_argument("--gpus_per_run", type=float, default=0.0, help="of a Ray cluster, also a part of one")
    running.add_argument("--hours", type=float, help="begin no run after so many hours; the same command goes on")
    running.add_argument("--keep_models", action="store_true", help="keep the best model of each loss, in models/")
    running.add_argument("--report_to", help="trackio, tensorboard or wandb: runs appear under the study's name")


def study_of(args: argparse.Namespace, words: list[str]) -> tuple[Study, Path, dict[str, str]]:
    """The study that a command line describes, its folder, and path -> text of files that it is to write there.

    Args:
        words: what stood after --.

    Raises:
        ValueError: it describes none; says what is missing or would be ignored.
    """
    from hf_squareloss.comparison._scripts import from_words, plain_name

    arguments = from_words(words)
    shared = {plain_name(name): value for name, value in arguments.items()}
    files = [name for name in args.data if Path(name).suffix in (".yaml", ".yml")]
    if files:
        ignored = [f"--{name}" for name in _OF_A_STUDY if vars(args)[name] is not None] + (["--"] if words else [])
        if len(args.data) > 1 or ignored:
            raise ValueError(f"a study file says it all: {', '.join([*args.data[1:], *ignored])} would be ignored")
        study = read_study(Path(files[0]))
        return study, args.output_dir or _default_folder(study.title), {}
    names = _task_names(args, shared)
    title = args.title or "-".join(names)
    folder = args.output_dir or _default_folder(title)
    given = {name: vars(args)[name] for name in _OF_A_STUDY[2:8] if vars(args)[name] is not None}
    if args.losses:
        given["losses"] = [_loss(word) for word in args.losses]
    tasks, parts = _tasks(args, shared, names, folder)
    content = {"title": title, "tasks": tasks, "models": _models(args, shared), "arguments": arguments, **given}
    return make_study(content, "the command line"), folder, parts


def read_study(path: Path) -> Study:
    """A study from a YAML file; file names in it are from its folder, where there is such a file.

    Raises:
        ValueError: it cannot be read, names something twice, or is no study.
    """
    from hf_squareloss.recipes.option_files import read_options

    try:
        content = read_options(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    content.setdefault("title", path.stem)
    content.setdefault("models", {"default": {}})
    return _from_folder(make_study(content, str(path)), path.parent)


def announcement(study: Study, folder: Path) -> str:
    """How many runs a study is, of what, and which values are best."""
    rates, tuning, seeds = len(study.learning_rates), len(study.tuning), len(study.seeds)
    counts = {"task": len(study.tasks), "model": len(study.models), "share of label noise": len(study.label_noise)}
    parts = [_count(number, name) for name, number in counts.items() if number > 1]
    parts.append(f"{_count(len(study.choices), 'loss')} ({', '.join(choice.label for choice in study.choices)})")
    rest = f", then {_count(seeds - tuning, 'more seed')}" if seeds > tuning else ""
    parts.append(f"{rates} learning rates x {_count(tuning, 'seed')}{rest}" if rates > 1 else _count(seeds, "seed"))
    sides = {task: "highest" if study.greater_is_better_of(task) else "lowest" for task in study.tasks}
    by = "; ".join(dict.fromkeys(f"{study.metric_of(task)}, {side} is best" for task, side in sides.items()))
    return f"{study.title}: {_count(study.size, 'run')}: {' x '.join(parts)}. By {by}. They are kept in {folder}."


def _count(number: int, name: str) -> str:
    plural = {"loss": "losses", "share of label noise": "shares of label noise"}.get(name, f"{name}s")
    return f"{number} {name if number == 1 else plural}"


def compare(args: argparse.Namespace, words: list[str], command: str) -> int:
    """Carry a study out, show its results and write its report.

    Args:
        args: of `add_compare_options`.
        words: what stood after --.
        command: the whole line, for the report.

    Returns:
        The exit status: 0, 1 where a run failed or none could be made, 128 + N after signal N.
    """
    from hf_squareloss.comparison._display import show_results
    from hf_squareloss.comparison._engine import Stopped, carry_out
    from hf_squareloss.comparison._orders import Options
    from hf_squareloss.comparison._report import report

    study, folder, parts = study_of(args, words)
    if args.workers < 1:
        raise ValueError(f"workers must be 1 or more, got {args.workers}")
    options = Options(folder, args.keep_models, args.report_to, command, parts)
    print(announcement(study, folder))  # noqa: T201
    try:
        records = carry_out(study, options, _pool(args), seconds=args.hours and args.hours * 3600)
    except Stopped as stopped:
        print(stopped)  # noqa: T201
        return 128 + stopped.number
    except KeyboardInterrupt:  # for the second time
        print("Stopped at once. The same command goes on.")  # noqa: T201
        return 128 + signal.SIGINT
    if records:
        show_results(records)
        print(f"More is in {report(folder)}.")  # noqa: T201
    missing = study.size - len(records)
    if missing:
        print(f"{missing} of {study.size} runs are missing: the same command tries them again.")  # noqa: T201
    return 1 if missing else 0


def shown_command(words: list[str]) -> str:
    """A command line for a file that others read: without the folders of this machine.

    Example:
        >>> shown_command(["compare", "/home/me/data.csv", "--losses", "square k=2"])
        "hf-squareloss compare data.csv --losses 'square k=2'"
    """
    from hf_squareloss.comparison._places import without_places

    return shlex.join(["hf-squareloss", *without_places(words)])


def _pool(args: argparse.Namespace) -> Any:
    if args.ray_address is not None:
        from hf_squareloss.comparison._ray_pool import RayPool

        return RayPool(args.ray_address, args.gpus_per_run)
    if args.gpus_per_run:
        raise ValueError("gpus_per_run would be ignored: it is for --ray_address")
    from hf_squareloss.comparison._pool import LocalPool

    given = os.environ.get("OMP_NUM_THREADS")
    return LocalPool(args.workers, threads=None if given or args.workers == 1 else 1)


def _default_folder(title: str) -> Path:
    return Path("outputs") / f"compare-{title.replace(os.sep, '-')}"


def _task_names(args: argparse.Namespace, shared: Arguments) -> list[str]:
    """After the data: runs are known by them, and neither a title nor the study's folder makes other runs."""
    from hf_squareloss.comparison._places import without_places

    if args.data:
        return [_name_of_data(file) for file in args.data]
    if "task_name" in shared:
        return [str(shared["task_name"])]
    if "dataset_name" in shared:
        named = (shared[name] for name in ("dataset_name", "dataset_config_name") if name in shared)
        return ["-".join(str(without_places(each)) for each in named)]
    files = [str(shared[name]) for name in ("train_file", "train_dir") if name in shared]
    return [_name_of_data(files[0]) if files else Path(args.script or "run_glue.py").stem]


def _name_of_data(place: str) -> str:
    """Its name without ending; train.tsv and a folder train are called as the folder that they are in."""
    path = Path(os.path.abspath(place))
    stem = path.name.split(".")[0]
    return path.parent.name or stem if stem == "train" else stem


def _loss(word: str) -> Any:
    from hf_squareloss.training import parse_loss_parameters

    name, *parameters = word.split()
    return {name: parse_loss_parameters(parameters)} if parameters else name


def _models(args: argparse.Namespace, shared: Arguments) -> dict[str, Arguments]:
    if args.model is None:
        named = next((shared[n] for n in ("model_name_or_path", "config_name", "model_type") if n in shared), "default")
        return {Path(str(named)).name: {}}
    from hf_squareloss.comparison._scripts import plain_name

    models: dict[str, Arguments] = {}
    if "model_name_or_path" in map(plain_name, shared):
        raise ValueError("model_name_or_path would be ignored: --model is given")
    for path in args.model:
        name = Path(path).name
        if name in models:
            raise ValueError(f"two models are called {name!r}: give their names in a study file")
        models[name] = {"model_name_or_path": path}
    return models


def _tasks(
    args: argparse.Namespace, shared: Arguments, names: list[str], folder: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """The tasks, and path -> text of the parts that their data are split into."""
    from hf_squareloss.comparison._scripts import find_script, is_recipe, plain_name
    from hf_squareloss.comparison._splitting import split_file

    script = args.script or "run_glue.py"
    if not args.data:
        if is_recipe(find_script(script)) and not any(
            name.startswith(("train_", "dataset_", "task_")) for name in shared
        ):
            raise ValueError("give data: a file, a study file, or the script's own options after --")
        return {names[0]: {"script": script, "arguments": {}}}, {}
    tasks: dict[str, Any] = {}
    texts: dict[str, str] = {}
    if "train_file" in map(plain_name, shared):
        raise ValueError("train_file would be ignored: data are given")
    for name, file in zip(names, args.data, strict=True):
        if not file.lower().endswith(_TEXT_FILES):
            raise ValueError(f"{file}: data must end in {', '.join(_TEXT_FILES)}; name others after --, as --train_dir")
        if name in tasks:
            raise ValueError(f"two tasks are called {name!r}: rename one of the files")
        parts = tuple(part for part in ("validation", "test") if f"{part}_file" not in shared)
        files = {"train": file}
        if parts:
            label = str(shared.get("label_column", shared.get("label_column_name", "label")))
            split = split_file(file, parts, label_column=label)
            files = {part: str(folder / "data" / name / f"{part}.jsonl") for part in split}
            texts |= {files[part]: text for part, text in split.items()}
        tasks[name] = {"script": script, "arguments": {f"{part}_file": path for part, path in files.items()}}
    return tasks, texts


def _from_folder(study: Study, folder: Path) -> Study:
    """The study with scripts, data and models that lie below `folder` as paths to them."""
    from hf_squareloss.comparison._scripts import find_script
    from hf_squareloss.comparison._settings import may_be_a_place

    def placed(arguments: Arguments, scripts: Iterable[Path]) -> Arguments:
        return {
            name: _path(value, folder) if any(may_be_a_place(script, name) for script in scripts) else value
            for name, value in arguments.items()
        }

    scripts = {name: _path(task.script, folder) for name, task in study.tasks.items()}
    found = {name: find_script(script) for name, script in scripts.items()}
    tasks = {
        name: task.model_copy(
            update={"script": scripts[name], "arguments": placed(task.arguments, [found[name]])},
        )
        for name, task in study.tasks.items()
    }
    models = {name: placed(arguments, found.values()) for name, arguments in study.models.items()}
    shared = placed(study.arguments, found.values())
    return study.model_copy(update={"tasks": tasks, "models": models, "arguments": shared})


def _path(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_path(each, folder) for each in value]
    if isinstance(value, str) and value not in ("", ".", "..") and (folder / value).exists():
        return str(folder / value)
    return value
