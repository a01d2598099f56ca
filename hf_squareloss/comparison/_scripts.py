"""Where scripts are: ours beside the package or in it, others where their path says."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parents[1]


def examples_folder() -> Path:
    """The folder of the example scripts: in the installed package, or in the repository beside it."""
    installed = _PACKAGE / "examples"
    return installed if installed.is_dir() else _PACKAGE.parent / "examples"


def recipes() -> dict[str, Path]:
    """File name -> path of the example scripts that a study can run: those with a Trainer."""
    paths = sorted(examples_folder().glob("run_*.py"))
    return {path.name: path for path in paths if not path.stem.endswith("_no_trainer")}


def find_script(name: str) -> Path:
    """The path of an example script by its name, or of any script by its path.

    Raises:
        ValueError: neither, with the names that there are.
    """
    ours = recipes()
    if name in ours:
        return ours[name]
    if not Path(name).is_file():
        raise ValueError(f"there is no script {name!r}: give its path, or one of {', '.join(ours)}")
    return Path(name).resolve()


def is_recipe(script: Path) -> bool:
    """Whether it is one of our example scripts, which have options that others lack."""
    return script in recipes().values()


def plain_name(option: str) -> str:
    """An option's name by which it is recognised: a parser that knows --batch-size calls it batch_size."""
    return option.replace("-", "_")


def as_words(arguments: dict[str, Any]) -> list[str]:
    """Arguments as a command line: True is the option alone, None is left out, a list is several words.

    Names stay as they are written: a parser knows --batch-size or --batch_size. A value that begins with a hyphen is
    joined to its option: argparse takes -1e-3 for an option.

    Example:
        >>> as_words({"use_cpu": True, "max-steps": 3, "lora": None, "names": ["a", "b"], "shift": -0.5})
        ['--use_cpu', '--max-steps', '3', '--names', 'a', 'b', '--shift=-0.5']
    """
    words: list[str] = []
    for name, value in arguments.items():
        if value is None:
            continue
        values = [str(v) for v in ([] if value is True else value if isinstance(value, list | tuple) else [value])]
        joined = len(values) == 1 and values[0].startswith("-")
        words += [f"--{name}={values[0]}"] if joined else [f"--{name}", *values]
    return words


def from_words(words: Iterable[str]) -> dict[str, Any]:
    """The reverse of `as_words`: option as it is written -> text, list of texts, or True.

    Raises:
        ValueError: a word that belongs to no option, or an option given twice.
    """
    arguments: dict[str, Any] = {}
    name = None
    for word in words:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if plain_name(name) in map(plain_name, arguments):
                raise ValueError(f"--{name} is given twice")
            arguments[name] = value if equals else True
        elif name is None:
            raise ValueError(f"{word!r} belongs to no option: what stands after -- are options of the script")
        else:
            there = arguments[name]
            arguments[name] = word if there is True else [*(there if isinstance(there, list) else [there]), word]
    return arguments
