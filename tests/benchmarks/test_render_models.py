"""docs/models.md is what benchmarks/models.tsv holds, and that is still what the package does."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import transformers

from hf_squareloss.heads import refuse_head

ROOT = Path(__file__).parents[2]
render: Any = importlib.import_module("render_models")
INSTALLED, MODELS = render.read_models(ROOT / "benchmarks/models.tsv")


def test_every_class_is_in_the_page_once() -> None:
    names = [model.name for model in MODELS]
    assert len(set(names)) == len(names) > 350
    page = (ROOT / "docs/models.md").read_text(encoding="utf8")
    assert all(page.count(f"`{name}`") == 1 for name in names)
    assert f"{len(names)} classes, {INSTALLED}." in page


def test_what_is_refused_is_refused_and_nothing_else() -> None:
    for model in MODELS:
        if model.result == "not built" or (found := getattr(transformers, model.name, None)) is None:
            continue
        if model.result == "refused":
            with pytest.raises(ValueError, match=model.name):
                refuse_head(found)
        else:
            refuse_head(found)


def test_a_file_that_is_not_understood(tmp_path: Path) -> None:
    for row in ("smell\tNoseModel\tworks\t", "image\tNoseModel\tperhaps\t"):
        (tmp_path / "models.tsv").write_text(f"# transformers 5\nkind\tclass\tresult\tnote\n{row}\n")
        with pytest.raises(ValueError, match="NoseModel"):
            render.read_models(tmp_path / "models.tsv")


def test_results_that_do_not_occur_have_no_column() -> None:
    text = render.models_section(
        "here", [render.Model("image", "A", "works", ""), render.Model("image", "B", "fails", "x")]
    )
    assert "| heads | works | fails |" in text and "| images | 1 | 1 |" in text and "| `B` | x |" in text
    assert "refused" not in text
