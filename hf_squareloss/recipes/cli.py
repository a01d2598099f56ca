"""What the example scripts share: start and end, parsing with the old spellings explained, a table on the screen."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import HfArgumentParser, IntervalStrategy, Seq2SeqTrainingArguments, TrainingArguments

from hf_squareloss.recipes.old_spellings import OLD_SPELLINGS
from hf_squareloss.recipes.option_files import read_options
from hf_squareloss.training import LossArguments, PushError

logger = logging.getLogger(__name__)
# Modules of the extras -> their packages.
_EXTRAS = {"jiwer": "jiwer", "soundfile": "soundfile", "peft": "peft", "PIL": "pillow", "seqeval": "seqeval"}
_OTHER_SIZES = (
    "some weights of the checkpoint have other sizes than the model's: see the report above; a head for another number "
    "of classes is started anew by --ignore_mismatched_sizes"
)
_FIRST_ALONE = 30.0  # seconds
_LAST_TENSORS = 0.2  # seconds


def run_script(main: Callable[[], object]) -> None:
    """Run a script's `main`, which takes the command line's arguments, as the program of each process launched.

    Where values are refused (exit code 2), or a module is missing, a model or data set cannot be read, training
    diverged or a push failed (1), it ends with one line; `--log_level debug` shows the traceback too. After `main` the
    process group is destroyed, and gloo's threads get the interpreter to themselves for a moment: one that is about to
    drop its last tensor when the interpreter ends aborts the process, and the launcher takes the whole run for failed
    (torch 2.13, issue 190489).
    """
    try:
        main()
    except ModuleNotFoundError as error:
        advice = f"; pip install {_EXTRAS[error.name]} brings it" if error.name in _EXTRAS else ""
        _stop(f"{error}{advice}", 1, error)
    except ValueError as error:
        _stop(str(error), 2, error)
    except (OSError, PushError, FloatingPointError) as error:
        _stop(str(error), 1, error)
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):  # transformers 5.24
            raise
        _stop(_OTHER_SIZES, 2, error)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(_LAST_TENSORS)


def parse_arguments(
    classes: Sequence[type[Any]], argv: Sequence[str] | None = None, defaults: Mapping[str, Any] | None = None
) -> tuple[Any, ...]:
    """One instance of each dataclass from the command line, which may begin with a JSON or YAML file of arguments.

    Args:
        classes: argument dataclasses, as for `HfArgumentParser`.
        argv: the arguments; None takes the command line's. What is typed behind a file wins over it.
        defaults: values for options that are not given.

    Exits with code 2 and a message for spellings that transformers 5 removed (`OLD_SPELLINGS`) and for refused values.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    defaults = dict(defaults or {})
    known, aliases = {option.name for arguments in classes for option in fields(arguments)}, _aliases(classes)
    if "dataloader_pin_memory" in known:  # on a CPU it would warn at every loader
        defaults.setdefault("dataloader_pin_memory", torch.cuda.is_available())
    parser = _Parser(classes)
    parser.set_defaults(**defaults)
    file = argv.pop(0) if argv and argv[0].endswith((".json", ".yaml", ".yml")) else None
    try:
        listed = read_options(Path(file)) if file else {}
    except (OSError, ValueError) as error:
        _refuse(parser, f"{file}: {error}")
    names = [name.replace("-", "_") for name in listed]
    typed = [word[2:].split("=")[0].replace("-", "_") for word in argv if word[:2] == "--"]
    for name in (*names, *typed):
        if name in OLD_SPELLINGS:
            _refuse(parser, f"--{name} is gone in transformers 5: use {OLD_SPELLINGS[name]}")
    values = {aliases.get(name, name): value for name, value in zip(names, listed.values(), strict=True)}
    if len(values) < len(listed):
        _refuse(parser, f"{file}: an option is given twice: {', '.join(listed)}")
    for name in values.keys() - known:
        near = get_close_matches(name, known, 1)
        _refuse(parser, f"{file}: there is no option {name}" + (f"; {near[0]} is meant?" if near else ""))
    plain = [name for name, value in values.items() if isinstance(value, str | int | float)]
    try:  # a file's values are checked as if they had been typed
        checked = vars(parser.parse_args([*(f"--{name}={values[name]}" for name in plain), *argv]))
        if file is None:
            found = parser.parse_args_into_dataclasses(argv)
        else:
            over = [_full_name(aliases.get(name, name), checked) for name in typed]
            found = parser.parse_dict({**defaults, **values, **{name: checked[name] for name in (*plain, *over)}})
    except (TypeError, ValueError) as error:  # a TypeError: a file's value of another type
        _refuse(parser, str(error))
    for args in found:
        if isinstance(args, TrainingArguments) and checked["do_eval"] and not (args.do_train or args.do_predict):
            # Asked for alone it is a choice; an eval_strategy, which sets do_eval as well, is none.
            args.eval_strategy = IntervalStrategy.NO
    return found


def _full_name(name: str, checked: Mapping[str, Any]) -> str:
    """The option that is typed, as --no_NAME too. ValueError where it is cut short."""
    full = name if name in checked else name.removeprefix("no_")
    if full not in checked:
        raise ValueError(f"give the name of an option in full behind a file: --{name}")
    return full


def _aliases(classes: Sequence[type[Any]]) -> dict[str, str]:
    """Other spelling of an option -> its name, which a file may have as well as the command line."""
    return {
        alias.lstrip("-"): option.name
        for arguments in classes
        for option in fields(arguments)
        for alias in option.metadata.get("aliases", ())
    }


class _Parser(HfArgumentParser):
    """Options in groups, ours before the many of the Trainer; an error is one line."""

    def __init__(self, classes: Sequence[type[Any]]) -> None:
        theirs = {option.name for option in fields(Seq2SeqTrainingArguments)}
        losses = {option.name for option in fields(LossArguments)}
        self._titles: dict[str, str] = {}
        self._groups: dict[str, Any] = {}
        for each in classes:
            trainer = issubclass(each, TrainingArguments)
            title = "loss" if trainer else each.__name__.removesuffix("Arguments").lower()
            for option in fields(each):
                others = "Trainer" if trainer and option.name in theirs else title
                self._titles[option.name] = "loss" if option.name in losses else others
        usage = "%(prog)s [options], or %(prog)s FILE [options] with a .json or .yaml file of options"
        super().__init__(list(classes), usage=usage)  # type: ignore[arg-type]

    def add_argument(self, *names: Any, **options: Any) -> Any:
        title = self._titles.get(options.get("dest") or names[0].lstrip("-"))
        if title is None:  # --help
            return super().add_argument(*names, **options)
        if isinstance(options.get("help"), str):
            # argparse takes a lone percent sign for a place to fill in.
            options["help"] = re.sub(r"(?<!%)%(?![(%])", "%%", options["help"])
        if not self._groups:
            first = ("loss", "data", "model")
            titles = sorted(dict.fromkeys(self._titles.values()), key=lambda t: (t == "Trainer", (*first, t).index(t)))
            self._groups = {t: self.add_argument_group(f"options of the {t}") for t in titles}
        return self._groups[title].add_argument(*names, **options)

    def error(self, message: str) -> NoReturn:
        _refuse(self, message)


def show_table(title: str, rows: Mapping[str, Any]) -> None:
    """A two-column table on the screen."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_header=False, title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")  # a path or a command must not be cut
    for name, value in rows.items():
        table.add_row(name, f"{value:.4f}" if isinstance(value, float) else str(value))
    Console(soft_wrap=True).print(table)


def _refuse(parser: HfArgumentParser, message: str) -> NoReturn:
    # parser.error would put some six hundred lines of usage before the message.
    _stop(message, 2, prog=parser.prog)


def _stop(message: str, code: int, error: Exception | None = None, *, prog: str | None = None) -> NoReturn:
    """End this process with one line; of several processes that stop for one reason the first one says it."""
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:
        time.sleep(_FIRST_ALONE)  # the launcher ends this process as soon as it sees that the first one has failed
    logger.debug("the traceback:", exc_info=error)
    sys.stderr.write(f"{prog or Path(sys.argv[0]).name}: error: {' '.join(message.split())}\n")
    sys.exit(code)
