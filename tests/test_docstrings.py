"""The examples in docstrings run as they stand: each with its module's names, as in `pytest --doctest-modules`."""

import doctest
import importlib
from pathlib import Path

import pytest

import hf_squareloss

PACKAGE = Path(hf_squareloss.__file__).parent
MODULES = [
    ".".join(("hf_squareloss", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in path.read_text(encoding="utf8")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.failed == 0


def test_there_are_examples_and_a_wrong_one_is_noticed() -> None:
    assert len(MODULES) > 8 and "hf_squareloss.losses._square" in MODULES
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner(verbose=False).run(wrong, out=lambda text: None).failed == 1
