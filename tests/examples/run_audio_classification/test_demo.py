"""examples/run_audio_classification.py in this process: the demo."""

import re
from functools import cache
from pathlib import Path

import pytest
from example_scripts import QUIET, load_example

from hf_squareloss.recipes.audio_demo import key_tones
from hf_squareloss.recipes.classification import ClassificationData

run_audio = load_example("run_audio_classification")


@cache
def few_tones() -> ClassificationData:
    return key_tones(0, {"train": 48, "validation": 24, "test": 24})


def test_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(run_audio, "key_tones", few_tones)
    found = run_audio.main([*QUIET, "--max_steps", "2"])
    shown = capsys.readouterr().out
    assert "running the built-in demo, the keys of a telephone" in shown
    rows = dict(re.findall(r"│ (.*?) +│ (.*?) +│", shown[shown.index("keys of a telephone\n") :]))
    assert rows["test accuracy"] == f"{found['test_accuracy']:.4f}"
    assert float(rows["test accuracy of the strongest frequencies"]) > 0.6
    assert rows["the model"] == "outputs/audio-demo-square"
    assert re.search(r"accelerate launch \S*run_audio_classification.py --loss cross_entropy$", shown, re.MULTILINE)
    run_audio.main([*QUIET, "--max_steps", "2", "--loss", "cross_entropy", "--do_predict", "False"])
    assert "eval_accuracy" in capsys.readouterr().out
