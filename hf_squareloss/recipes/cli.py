"""What the example scripts share: start and end, parsing with the old spellings explained, a table on the screen."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import HfArgumentParser

from hf_squareloss.recipes.old_spellings import OLD_SPELLINGS

_EXTRAS = {
    "jiwer": "audio",
    "soundfile": "audio",
    "peft": "lora",
}  # module -> the extra of hf_squareloss that brings it
_LAST_TENSORS = 0.2  # seconds


def run_script(main: Callable[[], object]) -> None:
    """Run a script's `main`, which takes the command line's arguments, as the program of each process launched.

    Exits with a message where a module is missing. After `main` the process group is destroyed, and gloo's threads get
    the interpreter to themselves for a moment: one that is about to drop its last tensor when the interpreter ends
    aborts the process, and the launcher takes the whole run for failed (torch 2.13, issue 190489).
    """
    try:
        main()
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        advice = f"; pip install 'hf_squareloss[{extra}]' brings it" if extra else ""
        sys.exit(f"{Path(sys.argv[0]).name}: {error}{advice}")
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        time.sleep(_LAST_TENSORS)


def parse_arguments(
    classes: Sequence[type[Any]], argv: Sequence[str] | None = None, defaults: Mapping[str, Any] | None = None
) -> tuple[Any, ...]:
    """One instance of each dataclass from the command line, or from one JSON file of arguments.

    Args:
        classes: argument dataclasses, as for `HfArgumentParser`.
        argv: the arguments; None takes the command line's.
        defaults: values for options that are not given.

    Exits with code 2 and a message for spellings that transformers 5 removed (`OLD_SPELLINGS`) and for refused values.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    defaults = dict(defaults or {})
    if "dataloader_pin_memory" in {option.name for arguments in classes for option in fields(arguments)}:
        defaults.setdefault(
            "dataloader_pin_memory", torch.cuda.is_available()
        )  # on a CPU it would warn at every loader
    parser = HfArgumentParser(list(classes))  # type: ignore[arg-type]
    parser.set_defaults(**defaults)
    values = json.loads(Path(argv[0]).read_text()) if len(argv) == 1 and argv[0].endswith(".json") else None
    given = values if values is not None else [a[2:].split("=")[0].replace("-", "_") for a in argv if a[:2] == "--"]
    for name in given:
        if name in OLD_SPELLINGS:
            _refuse(parser, f"--{name} is gone in transformers 5: use {OLD_SPELLINGS[name]}")
    try:
        if values is not None:
            return parser.parse_dict({**defaults, **values})
        return parser.parse_args_into_dataclasses(argv)
    except ValueError as error:
        _refuse(parser, str(error))


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
    parser.exit(2, f"{parser.prog}: error: {message}\n")
