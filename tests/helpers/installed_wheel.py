"""Install the wheel of a folder apart, and use it from another folder: python tests/helpers/installed_wheel.py dist"""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

USE = """
import sys
from importlib.metadata import version
from pathlib import Path

import torch

import hf_squareloss

place = Path(hf_squareloss.__file__).parent
assert place.parent == Path(sys.argv[1]), f"{place} is not the installed wheel"
assert all((place / "comparison" / f"report.{kind}").is_file() for kind in ("css", "html.jinja"))
assert (place / "py.typed").is_file() and version("hf_squareloss") == hf_squareloss.__version__
for name in hf_squareloss.__all__:
    getattr(hf_squareloss, name)
loss = hf_squareloss.make_loss("square", k=1.0, M=1.0)
assert loss(torch.tensor([[0.5, 0.0]]), torch.tensor([0])).item() == 0.125
assert torch.allclose(loss.probabilities(torch.tensor([0.25, 0.75])), torch.tensor([0.25, 0.75]))
"""


def main(folder: str) -> None:
    (wheel,) = Path(folder).resolve().glob("*.whl")
    with TemporaryDirectory() as place:
        install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", place, str(wheel)]
        subprocess.run([sys.executable, *install], check=True)
        found = {path.name for path in Path(place).iterdir()} - {f"{wheel.name.split('-py3')[0]}.dist-info"}
        if found != {"hf_squareloss"}:
            sys.exit(f"{wheel.name} installs {', '.join(sorted(found))}")
        # Before an editable installation of the repository, which sys.path has too.
        environment = {**os.environ, "PYTHONPATH": place, "HF_HUB_OFFLINE": "1"}
        subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:hf_squareloss", "-c", USE, place],
            cwd=place,
            env=environment,
            check=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
