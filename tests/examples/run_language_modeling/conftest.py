"""Texts in files, and runs of examples/run_language_modeling.py on them."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from example_scripts import QUIET
from language_runs import script


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Texts in which a word decides the next one, but for every fourth."""
    folder, generator = tmp_path_factory.mktemp("texts"), random.Random(0)
    words = [f"w{i}" for i in range(12)]
    options = []
    for split, count in (("train", 120), ("validation", 20), ("test", 20)):
        lines = []
        for _ in range(count):
            place, line = generator.randrange(12), []
            for position in range(16):
                place = generator.randrange(12) if position % 4 == 0 else (5 * place + 1) % 12
                line.append(words[place])
            lines.append(" ".join(line))
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
        options += [f"--{split}_file", str(folder / f"{split}.txt")]
    return options


@pytest.fixture
def run(files: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    def with_defaults(*argv: str, name: str = "out") -> dict[str, float]:
        return script.main([*files, "--output_dir", str(tmp_path / name), *QUIET, *argv])

    return with_defaults
