"""Install the wheel of a folder apart, and use it from another folder: python tests/helpers/installed_wheel.py dist"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from foreign_script import write_script

USE = """
import sys
from importlib.metadata import version
from pathlib import Path

import torch

import hf_squareloss
from hf_squareloss.comparison import find_script

place = Path(hf_squareloss.__file__).parent
assert place.parent == Path(sys.argv[1]), f"{place} is not the installed wheel"
assert all((place / "comparison" / f"report.{kind}").is_file() for kind in ("css", "html.jinja"))
assert (place / "py.typed").is_file() and version("hf_squareloss") == hf_squareloss.__version__
for name in hf_squareloss.__all__:
    getattr(hf_squareloss, name)
loss = hf_squareloss.make_loss("square", k=1.0, M=1.0)
assert loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0])).item() == 0.125
assert torch.allclose(loss.probabilities(torch.tensor([0.25, 0.75])), torch.tensor([0.25, 0.75]))
assert find_script("run_glue.py").parent == place / "examples"
"""
COMPARE = "compare --script my_train.py --learning_rates 1e-4 1e-3 --seeds 0 1 --output_dir out"


def main(folder: str) -> None:
    (wheel,) = Path(folder).resolve().glob("*.whl")
    with TemporaryDirectory() as place:
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", place, str(wheel)]
        subprocess.run([sys.executable, *install], check=True)
        found = {path.name for path in Path(place).iterdir()} - {f"{wheel.name.split('-py3')[0]}.dist-info"}
        if found != {"hf_squareloss", "bin"}:
            sys.exit(f"{wheel.name} installs {', '.join(sorted(found))}")
        write_script(Path(place))
        # Before an editable installation of the repository, which sys.path has too.
        environment = {**os.environ, "PYTHONPATH": place, "HF_HUB_OFFLINE": "1"}
        use = ["-W", "error::DeprecationWarning:hf_squareloss", "-c", USE, place]
        train = [str(Path(place, "bin", "hf-squareloss")), "train", "glue", "--help"]
        compare = ["-m", "hf_squareloss", *COMPARE.split()]
        for command in ([sys.executable, *use], [sys.executable, *train], [sys.executable, *compare]):
            subprocess.run(command, cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
        runs = list(Path(place, "out", "runs").glob("*.json"))
        if len(runs) != 12:
            sys.exit(f"the comparison left {len(runs)} runs")


if __name__ == "__main__":
    main(*sys.argv[1:])
