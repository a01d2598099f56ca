"""examples/run_image_classification.py in this process: the demo."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from example_scripts import QUIET, load_example
from transformers import AutoModelForImageClassification

from hf_squareloss.recipes.classification import ClassificationData
from hf_squareloss.recipes.image_demo import handwritten_digits

run_image = load_example("run_image_classification")
FEW = ["--max_steps", "2", "--max_train_samples", "32", "--max_eval_samples", "16"]


@cache
def few_digits() -> ClassificationData:
    data = handwritten_digits()
    return replace(data, splits={split: rows.select(range(200)) for split, rows in data.splits.items()})


def test_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(run_image, "handwritten_digits", few_digits)
    found = run_image.main([*FEW, *QUIET])
    shown = capsys.readouterr().out
    assert "running the built-in demo, handwritten digits" in shown
    rows = dict(re.findall(r"│ (.*?) +│ (.*?) +│", shown[shown.index("handwritten digits\n") :]))
    assert rows["test accuracy"] == f"{found['test_accuracy']:.4f}"
    assert 0.5 < float(rows["test accuracy of logistic regression on the pixels"]) < 1.0
    assert rows["the model"] == "outputs/image-demo-square"
    assert re.search(r"accelerate launch \S*run_image_classification.py --loss cross_entropy$", shown, re.MULTILINE)
    saved = AutoModelForImageClassification.from_pretrained(tmp_path / rows["the model"])
    assert saved.config.model_type == "convnet" and len(saved.config.id2label) == 10
    # The demo with a model of one's own.
    own = ["--model_type", "resnet", "--config_overrides", "embedding_size=8,hidden_sizes=[8],depths=[1]"]
    run_image.main([*FEW, *QUIET, *own, "--output_dir", "own", "--do_predict", "False"])
    assert "eval_accuracy" in capsys.readouterr().out
