"""A new loss touches three places: its class, its line in the registry, its test. Nothing else has to change."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tiny_text_model import save_tiny_model, write_toy_files

ROOT = Path(__file__).parents[2]
CLASS = '''
"""A toy: cross-entropy times a number."""

import math
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from hf_squareloss.losses._base import Loss, at_least_float32
from hf_squareloss.losses._parameters import require_positive


@final
@dataclass(frozen=True, kw_only=True)
class Toy(Loss):
    """costs(f)_c = factor (logsumexp(f) - f_c)."""

    name: ClassVar[str] = "toy"
    factor: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive("factor", self.factor)

    def costs(self, scores: Tensor) -> Tensor:
        return -self.factor * at_least_float32(scores).log_softmax(-1)

    def link(self, scores: Tensor) -> Tensor:
        return at_least_float32(scores).softmax(-1)
'''
TEST = """
import torch

from hf_squareloss.losses import make_loss


def test_toy() -> None:
    assert make_loss("toy", factor=3.0)(torch.zeros(2), torch.tensor(0)).item() == 3 * torch.tensor(2.0).log().item()
"""
NAIVE = """
def toy(loss: Any, f: Tensor, y: int) -> Tensor:
    return loss.factor * cross_entropy(CrossEntropy(), f, y)


"""
REGISTRY, CONTRACT = "LOSSES: dict[str, type[Loss]] = {\n", "CONTRACT: dict[str, Contract] = {\n"
# The contract tests of the new loss, then the command line and config.json, in one process.
DRIVER = """
import sys
import pytest

assert pytest.main(["-p", "no:cacheprovider", "-k", "toy or registry", "tests/losses"]) == 0

import hf_squareloss
import run_glue

assert hf_squareloss.__file__.startswith(sys.argv[1])
run_glue.main(sys.argv[2:])
"""


def insert(file: Path, line: str, *, after: str = "", before: str = "") -> None:
    text = file.read_text()
    assert text.count(after or before) == 1
    file.write_text(text.replace(after or before, after + line + before))


def contents(root: Path) -> dict[str, bytes]:
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*.py")}


def test_a_new_loss_touches_three_places(tmp_path: Path) -> None:
    root = tmp_path / "copy"
    for folder in ("hf_squareloss", "tests/losses", "tests/helpers", "examples", "benchmarks"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "*.json", "*.svg"))
    for file in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / file, root / file)
    before = contents(root)

    (root / "hf_squareloss/losses/_toy.py").write_text(CLASS.lstrip())
    registry = root / "hf_squareloss/losses/_registry.py"
    insert(registry, "from hf_squareloss.losses._toy import Toy\n\n", before=REGISTRY)
    insert(registry, '    "toy": Toy,\n', after=REGISTRY)
    (root / "tests/losses/test_toy.py").write_text(TEST.lstrip())
    contract = root / "tests/losses/contract.py"
    insert(contract, NAIVE.lstrip(), before=CONTRACT)
    insert(contract, '    "toy": Contract([make_loss("toy", factor=3.0)], toy),\n', after=CONTRACT)

    after = contents(root)
    assert {file for file in after if after[file] != before.get(file)} == {
        "hf_squareloss/losses/_toy.py",
        "hf_squareloss/losses/_registry.py",
        "tests/losses/contract.py",
        "tests/losses/test_toy.py",
    }
    command = ["--loss", "toy", "--loss_parameters", "factor=2", "--max_steps", "1", "--use_cpu", "--report_to", "none"]
    command += ["--model_name_or_path", str(save_tiny_model(tmp_path / "model")), "--output_dir", str(tmp_path / "out")]
    files = write_toy_files(tmp_path / "data", rows=8)
    command += [word for split, file in files.items() for word in (f"--{split}_file", str(file))]
    path = os.pathsep.join([str(root), str(root / "examples")])
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(root), *command],
        env=os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert contents(root) == after
    values = json.loads((tmp_path / "out" / "config.json").read_text())["hf_squareloss"]
    assert values.pop("version") and values.pop("calibration") and values == {"loss": "toy", "factor": 2}
