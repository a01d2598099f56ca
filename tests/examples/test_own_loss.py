"""A loss of an installed package: the scripts' command line, config.json, and `load_loss` in another process."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed_losses import install
from processes import EXAMPLES
from tiny_text_model import save_tiny_model, write_toy_files

from hf_squareloss import SquareLossTrainingArguments
from hf_squareloss.losses import LOSSES, _registry
from hf_squareloss.recipes.cli import parse_arguments

LOAD = """
import sys
from hf_squareloss import load_loss

print(load_loss(sys.argv[1]).to_dict())
"""
LOAD_AND_LOOK = """
import sys
from hf_squareloss import load_loss

try:
    load_loss(sys.argv[1])
except ValueError as error:
    print(error)
print("offering_own" in sys.modules)
"""


def run(site: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A process in which `site` is on the path."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *command], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    install(folder, "offering_own", "own_entropy")
    return folder


@pytest.fixture(scope="module")
def trained(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that run_glue.py trained with the loss."""
    folder = tmp_path_factory.mktemp("own")
    files = write_toy_files(folder)
    command = [str(EXAMPLES / "run_glue.py"), "--model_name_or_path", str(save_tiny_model(folder / "model"))]
    command += [word for split, file in files.items() for word in (f"--{split}_file", str(file))]
    command += ["--output_dir", str(folder / "out"), "--max_steps", "2", "--use_cpu", "--report_to", "none"]
    done = run(site, *command, "--loss", "own_entropy", "--loss_parameters", "power=2.5")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "out"


def test_config_json_says_where_the_loss_is_defined(trained: Path) -> None:
    entry = json.loads((trained / "config.json").read_text())["hf_squareloss"]
    assert entry.pop("version") and entry.pop("calibration")
    assert entry == {"loss": "own_entropy", "power": 2.5, "module": "offering_own"}
    assert (trained / "all_results.json").exists()


def test_another_process_loads_it(trained: Path, site: Path) -> None:
    done = run(site, "-c", LOAD, str(trained))
    found = ast.literal_eval(done.stdout)
    assert found.pop("calibration")
    assert found == {"loss": "own_entropy", "power": 2.5, "module": "offering_own"}, done.stderr


def test_a_process_without_the_package_is_told_what_to_import(trained: Path, site: Path, tmp_path: Path) -> None:
    """Its module lies on the path, but no installed package offers it: it is not imported because a config says so."""
    (tmp_path / "offering_own.py").write_text((site / "offering_own.py").read_text())
    done = run(tmp_path, "-c", LOAD_AND_LOOK, str(trained))
    said, imported = done.stdout.strip().splitlines()
    assert "'own_entropy' is defined in offering_own: import that first" in said
    assert imported == "False"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--loss", "own_entrpy"], "did you mean 'own_entropy'"),
        (["--loss", "own_entropy", "--loss_parameters", "powr=2"], "did you mean 'power'"),
    ],
)
def test_the_command_line_knows_names_and_parameters(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path, "offering_another", "own_entropy")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_registry, "LOSSES", dict(LOSSES))
    with pytest.raises(SystemExit):
        parse_arguments([SquareLossTrainingArguments], ["--output_dir", str(tmp_path), "--use_cpu", *words])
    assert says in capsys.readouterr().err
    sys.modules.pop("offering_another", None)
