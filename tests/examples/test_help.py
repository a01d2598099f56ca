"""`--help` of every script: it can be read, its groups of options are ours first, the Trainer's many last."""

import re
from typing import Any

import pytest
from example_scripts import load_example
from processes import EXAMPLES

SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
TASKS = [name for name in SCRIPTS if name.startswith("run_")]


def shown(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        load_example(name).main(["--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_is_broken_by_a_percent_sign(name: str, capsys: Any) -> None:
    text = shown(name, capsys)
    assert "usage:" in text and "%%" not in text and not re.search(r"%\(\w+\)s", text)


@pytest.mark.parametrize("name", TASKS)
def test_ours_come_first(name: str, capsys: Any) -> None:
    text = shown(name, capsys)
    groups = re.findall(r"^options of the (\w+):$", text, re.MULTILINE)
    assert groups[:3] == ["loss", "data", "model"] and "Trainer" not in groups[:-1]
    place = text.index("\noptions of the loss:")
    assert all(place < text.index(f"  {option} ") for option in ("--loss", "--train_file", "--learning_rate"))
    assert text.index("  --loss ") < text.index("  --train_file ") < text.index("  --learning_rate ")
