"""The command line: `hf-squareloss COMMAND`, or `python -m hf_squareloss COMMAND`."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path
from typing import Any

from hf_squareloss.comparison import COMPARE, add_compare_options, compare, find_script, recipes, shown_command

_OF_SCRIPTS = {
    "train": "run the example script of a task with its own options",
    "evaluate": "the same with --do_eval: measure a model that was trained",
    "demo": "the script's built-in demo: no data needed",
}


def main(argv: list[str] | None = None) -> None:
    """Run one command; the status is 1 where runs failed, 2 where something is refused, 128 + N after signal N."""
    argv = list(sys.argv[1:] if argv is None else argv)
    args, words = parse(argv)
    if args.command == "compare":
        _run(lambda: compare(args, words, shown_command(argv)))
    elif args.command == "report":
        _run(lambda: _report(args))
    else:
        _run_script(args)


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The options of a command line, and the words behind -- that `compare` hands on to a script."""
    split = argv.index("--") if argv[:1] == ["compare"] and "--" in argv else len(argv)
    return _parser().parse_args(argv[:split]), argv[split + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-squareloss", description="Train with the square loss, and compare losses."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    raw: Any = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    add_compare_options(commands.add_parser("compare", help="losses on your data", description=COMPARE, **raw))
    report = commands.add_parser("report", help="a study as one page: report.html, report.md, results.json")
    report.add_argument("studies", nargs="+", metavar="STUDY", help="the folder of a study, or a results.json")
    report.add_argument("--output_dir", help="where the page is written; default: beside the study")
    report.add_argument("--title", help="the name on the page; default: that of the study")
    report.add_argument("--baseline", help="the loss that others are compared to; default: cross_entropy")
    for name, text in _OF_SCRIPTS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        tasks = [_task(script) for script in recipes()]
        command.add_argument("task", choices=tasks, metavar="TASK", help=f"one of {', '.join(tasks)}")
        command.add_argument("options", nargs=argparse.REMAINDER, help="the script's own: try TASK --help")
    return parser


def _task(script: str) -> str:
    return Path(script).stem.removeprefix("run_")


def _run(command: Any) -> None:
    from hf_squareloss.recipes.cli import run_script

    statuses: list[int] = []
    sys.argv[0] = "hf-squareloss"  # which a refusal names
    run_script(lambda: statuses.append(command()))
    if statuses != [0]:
        sys.exit(statuses[0])


def _report(args: argparse.Namespace) -> int:
    from hf_squareloss.comparison import report

    try:
        page = report(*args.studies, output_dir=args.output_dir, title=args.title, baseline=args.baseline)
    except FileNotFoundError as error:
        raise ValueError(f"{error}: give the folder of a study, or a results.json") from error
    print(page)  # noqa: T201
    return 0


def _run_script(args: argparse.Namespace) -> None:
    options = list(args.options)
    given = {option.split("=")[0].lstrip("-").replace("-", "_") for option in options}
    if args.command == "evaluate":
        options += [] if given & {"do_eval", "do_predict"} else ["--do_eval"]
        options += [] if "do_train" in given else ["--do_train", "False"]  # a file of options may be the training's
    script = str(find_script(f"run_{args.task}.py"))
    sys.argv = [script, *options]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
