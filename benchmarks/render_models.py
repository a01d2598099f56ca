"""docs/models.md's tables from benchmarks/models.tsv, for render_results.py.

The file has one row for each class of transformers with a classification or speech head: kind, class, result ("works",
"refused", "not built" or "fails") and what is to be said of it. A line above the header says what was installed.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hf_squareloss.comparison import markdown_table

KINDS = {
    "sequence": "texts",
    "token": "tokens",
    "choice": "multiple choice",
    "image": "images",
    "video": "videos",
    "audio": "audio",
    "ctc": "speech, CTC",
    "speech": "speech, encoder-decoders and language models",
}
RESULTS = ("works", "refused", "not built", "fails")


@dataclass(frozen=True)
class Model:
    """One class, tried with a tiny model made from its config."""

    kind: str
    name: str
    result: str
    note: str


def read_models(path: Path) -> tuple[str, list[Model]]:
    """What was installed, and the classes.

    Raises:
        ValueError: a kind or a result that is not known.
    """
    installed, _, *lines = path.read_text(encoding="utf8").splitlines()
    models = [Model(*line.split("\t")) for line in lines]
    for model in models:
        if model.kind not in KINDS or model.result not in RESULTS:
            raise ValueError(f"{model.name}: unknown kind {model.kind!r} or result {model.result!r}")
    return installed.removeprefix("# "), models


def models_section(installed: str, models: Sequence[Model]) -> str:
    """The Markdown between the marks: counts by kind, what is refused or was not built, and every class that works."""
    shown = [result for result in RESULTS if any(model.result == result for model in models)]
    counts = Counter((model.kind, model.result) for model in models)
    rows = [[KINDS[kind], *(str(counts[kind, result]) for result in shown)] for kind in KINDS]
    totals = ["all", *(str(sum(model.result == result for model in models)) for result in shown)]
    parts = [f"{len(models)} classes, {installed}.", markdown_table(["heads", *shown], [*rows, totals])]
    for result in shown[1:]:
        found = [[f"`{model.name}`", model.note] for model in models if model.result == result]
        parts += [f"## {result.capitalize()}", markdown_table(["class", "why"], found)]
    parts.append("## Works")
    for kind, title in KINDS.items():
        names = [f"`{model.name}`" for model in models if (model.kind, model.result) == (kind, "works")]
        parts += [f"### {title.capitalize()}", ", ".join(sorted(names)) + "."]
    return "\n\n".join(parts)
