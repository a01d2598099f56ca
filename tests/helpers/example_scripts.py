"""The example scripts as modules, to call their main() in this process, and what they leave in a folder."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

QUIET = ["--use_cpu", "--disable_tqdm", "True", "--report_to", "none"]
_TIMINGS = ("runtime", "per_second", "total_flos")


def load_example(name: str) -> ModuleType:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "examples" / f"{name}.py")
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their annotations up there
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def results(folder: Path) -> dict[str, float]:
    """All metrics of a run without its timings."""
    found = json.loads((folder / "all_results.json").read_text())
    return {key: value for key, value in found.items() if not key.endswith(_TIMINGS)}


def predictions(folder: Path) -> list[str]:
    """What a run predicted for the rows of its test split, in their order."""
    lines = (folder / "test_predictions.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["index", *map(str, range(len(lines) - 1))]
    return [line.split("\t")[1] for line in lines[1:]]


def require_best_is_lowest(folder: Path, metric: str) -> None:
    """The checkpoint that a run with `metric_for_best_model` kept has the lowest value of all, which differ."""
    state = json.loads((folder / "trainer_state.json").read_text())
    values = {entry["step"]: entry[f"eval_{metric}"] for entry in state["log_history"] if f"eval_{metric}" in entry}
    assert len(set(values.values())) > 1
    assert state["best_metric"] == min(values.values())
    assert values[int(state["best_model_checkpoint"].rsplit("-")[-1])] == min(values.values())
