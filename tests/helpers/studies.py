"""Runs of a study made up from known numbers."""

from typing import Any

from hf_squareloss.comparison import RunRecord


def a_run(**changed: Any) -> RunRecord:
    """A finished run of two epochs with a test part; any field may be given another value."""
    fields: dict[str, Any] = {
        "study": "a study",
        "task": "mrpc",
        "model": "tiny-bert",
        "loss": "square",
        "label": changed.get("loss", "square"),
        "learning_rate": 3e-4,
        "seed": 0,
        "metric": "accuracy",
        "greater_is_better": True,
        "status": "finished",
        "epochs": [
            {"epoch": 1.0, "validation": {"accuracy": 0.7}, "test": {"accuracy": 0.65}},
            {"epoch": 2.0, "validation": {"accuracy": 0.8}, "test": {"accuracy": 0.75}},
        ],
        "seconds": 12.5,
    }
    return RunRecord.model_validate(fields | changed)
