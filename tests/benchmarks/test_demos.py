"""What the demos reach: each is one process, is written as it ends, and is not run again."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = """
import json, sys, time
from pathlib import Path
argv = sys.argv[1:]
given = dict(zip(argv, argv[1:]))
Path(given["--output_dir"], "started").touch()
while time.process_time() < 0.3:
    pass
if given["--seed"] == "9":
    sys.exit("no such seed")
found = {"test_accuracy": 0.5 + 0.1 * int(given["--seed"]), "test_f1": 0.25, "eval_accuracy": 1.0}
Path(given["--output_dir"], "all_results.json").write_text(json.dumps(found))
with Path(__file__).with_name("calls").open("a") as calls:
    print(*argv, file=calls)
"""
demos: Any = importlib.import_module("demos")
render: Any = importlib.import_module("render_demos")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small script in the place of the digits' and of the words', and the file where it writes its calls."""
    for command in ("run_image_classification.py", "run_language_modeling.py"):
        (tmp_path / command).write_text(SCRIPT, encoding="utf8")
    monkeypatch.setattr(demos, "EXAMPLES", tmp_path)
    return tmp_path / "calls"


def test_every_demo_has_a_script_and_a_row() -> None:
    assert all((EXAMPLES / command.split()[0]).exists() for command, _ in demos.DEMOS.values())
    assert list(render.PAGES) == list(demos.DEMOS)
    assert all((EXAMPLES.parent / "docs" / page).exists() for _, page in render.PAGES.values())


def test_a_demo_is_run_once_and_rendered(calls: Path, tmp_path: Path) -> None:
    given = ["--output", str(tmp_path / "demos.json"), "--losses", "square", "--demos", "words", "digits"]
    demos.main([*given, "--seeds", "0", "1"])
    demos.main([*given, "--seeds", "0", "1", "2"])
    lines = calls.read_text().splitlines()
    assert len(lines) == 6 and sum("--demo words" in line for line in lines) == 3
    results = json.loads((tmp_path / "demos.json").read_text())
    assert [run["key"]["seed"] for run in results["runs"]] == [0, 1, 0, 1, 2, 2]
    for run in results["runs"]:
        assert run["test"] == {"accuracy": pytest.approx(0.5 + 0.1 * run["key"]["seed"]), "f1": 0.25}
        assert 0.2 < run["cpu_seconds"] < 5
    table = render.demos_section(results)
    assert "| accuracy ↑ | 0.600 (0.500 to 0.700, 3 seeds) | 0.0 |" in table
    assert table.index("run_image_classification.py") < table.index("--demo words")
    assert "one seed" in render.of_loss(results["runs"][:1], "accuracy") and not render.of_loss([], "accuracy")


def test_a_demo_that_fails_says_why(calls: Path, tmp_path: Path) -> None:
    given = ["--output", str(tmp_path / "demos.json"), "--losses", "square", "--demos", "digits"]
    with pytest.raises(SystemExit, match=r"--seed 9 .* failed:\nno such seed"):
        demos.main([*given, "--seeds", "0", "9"])
    assert len(json.loads((tmp_path / "demos.json").read_text())["runs"]) == 1  # of the one before it
    with pytest.raises(SystemExit, match="give another --output"):
        demos.main([*given, "--threads", "2"])
