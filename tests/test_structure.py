"""The rooms of the package: which may import which, and what `dir` shows."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import hf_squareloss

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_squareloss"
LONGEST = 330  # lines of a file
# A room may import those before it; the rooms of one line do not know each other.
ORDER = (
    {"_lazy", "_markdown", "metric_order"},
    {"losses"},
    {"config", "integrations", "models"},
    {"heads", "blstm"},
    {"inference"},
    {"training"},
    {"recipes"},
    {"comparison"},
    {"__main__"},
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


def imports(tree: ast.Module) -> Iterator[str]:
    """The modules of this package that a file imports, at the top or inside; `hf_squareloss.x` for `import x from`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "hf_squareloss")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hf_squareloss":
            assert node.module is not None
            submodules = [
                a.name for a in node.names if (PACKAGE / a.name).exists() or (PACKAGE / f"{a.name}.py").exists()
            ]
            yield from ([f"hf_squareloss.{name}" for name in submodules] if node.module == "hf_squareloss" else [])
            yield node.module


def faults(path: Path, source: str) -> list[str]:
    """What a file of the package, or one that uses it, imports against the rule."""
    inside = path.is_relative_to(PACKAGE)
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py") if inside else None
    found = []
    for module in imports(ast.parse(source)):
        parts = module.split(".")[1:]
        if len(parts) > 1 and parts[1].startswith("_") and parts[0] != room:
            found.append(f"{path.name} imports {module}: take it from the package's __init__")
        if inside and parts and room != "__init__" and parts[0] != room and LEVEL[parts[0]] >= LEVEL[room or ""]:
            found.append(f"{path.name} imports {module}, which comes after it")
    return found


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize(
    "path", files("hf_squareloss", "examples", "benchmarks"), ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_point_one_way(path: Path) -> None:
    assert faults(path, path.read_text(encoding="utf8")) == []


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("losses/_square.py", "from hf_squareloss.config import load_loss"),
        ("losses/_square.py", "from hf_squareloss import config"),
        ("heads/_head.py", "def f():\n    import hf_squareloss.training"),
        ("integrations/speechbrain.py", "from hf_squareloss.config import load_loss"),
        ("models/_convnet.py", "from hf_squareloss.config import load_loss"),
        ("recipes/stages.py", "from hf_squareloss.comparison import environment"),
        ("training/_trainer.py", "from hf_squareloss.heads._head import Head"),
    ],
)
def test_a_wrong_import_is_noticed(place: str, line: str) -> None:
    assert len(faults(PACKAGE / place, line)) == 1


def foreign(source: str) -> set[str]:
    """The packages that a file imports beside Python's own and this one."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").split(".")[0])
    return names - sys.stdlib_module_names - {"hf_squareloss"}


def test_models_need_torch_and_transformers_alone() -> None:
    for path in files("hf_squareloss/models"):
        assert foreign(path.read_text(encoding="utf8")) <= {"torch", "transformers"}, path.name
    assert foreign("def f():\n    from PIL import Image") == {"PIL"}


def test_every_recipe_has_a_test_of_its_name() -> None:
    names = {path.stem for path in files("hf_squareloss/recipes")} - {"__init__"}
    assert names == {path.stem.removeprefix("test_") for path in files("tests/recipes")}


def test_every_package_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["tool"]["setuptools"]
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in PACKAGE.rglob("__init__.py")}
    assert set(settings["packages"]) == folders | {"hf_squareloss.examples"}
    assert settings["package-dir"] == {"hf_squareloss.examples": "examples"}


def test_losses_import_torch_alone() -> None:
    others = "[m for m in ('transformers', 'datasets', 'scipy') if m in sys.modules]"
    code = f"import sys, hf_squareloss.losses; print({others})"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_no_file_is_too_long() -> None:
    folders = ("hf_squareloss", "examples", "benchmarks", "tests")
    lengths = {path: len(path.read_text(encoding="utf8").splitlines()) for path in files(*folders)}
    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_dir_shows_every_public_name() -> None:
    assert set(hf_squareloss.__all__) <= set(dir(hf_squareloss))
    for name in hf_squareloss.__all__:
        assert getattr(hf_squareloss, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        hf_squareloss.no_such_name  # noqa: B018
