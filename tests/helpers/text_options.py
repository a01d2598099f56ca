"""The options of examples/run_glue.py, and what refusing them says."""

from collections.abc import Callable
from typing import Any

import pytest
from example_scripts import load_example

from hf_squareloss import SquareLossTrainingArguments
from hf_squareloss.recipes.cli import parse_arguments


def text_classes() -> tuple[type[Any], ...]:
    script = load_example("run_glue")
    return (script.ModelArguments, script.DataArguments, SquareLossTrainingArguments)


def refusals(classes: tuple[type[Any], ...], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Parse what must be refused, and return the message."""

    def refuse(*argv: str) -> str:
        with pytest.raises(SystemExit) as exit:
            parse_arguments(classes, argv)
        assert exit.value.code == 2
        return capsys.readouterr().err

    return refuse
