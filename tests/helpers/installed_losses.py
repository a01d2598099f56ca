"""A distribution with a loss of its own, as pip leaves it in a folder on the path."""

from pathlib import Path

SOURCE = '''
"""A loss that this distribution offers: `power` times cross-entropy."""

from dataclasses import dataclass

from hf_squareloss import Loss


@dataclass(frozen=True, kw_only=True)
class Offered(Loss):
    name = "{name}"
    power: float = 1.0

    def costs(self, scores):
        return -self.power * scores.log_softmax(-1)

    def link(self, scores):
        return scores.softmax(-1)
'''


def install(folder: Path, package: str, name: str, entry_point: str | None = None) -> None:
    """Install a module `package` with a loss called `name`, and its entry point."""
    information = folder / f"{package}-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / f"{package}.py").write_text(SOURCE.format(name=name))
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = f"[hf_squareloss.losses]\n{entry_point or name} = {package}:Offered\n"
    (information / "entry_points.txt").write_text(lines)
