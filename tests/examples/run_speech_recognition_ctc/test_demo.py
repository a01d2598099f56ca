"""examples/run_speech_recognition_ctc.py in this process: the demo."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from example_scripts import QUIET, load_example, predictions
from transformers import pipeline

from hf_squareloss.recipes.audio import read_audio, resample
from hf_squareloss.recipes.speech_demo import dial_tones

run_ctc = load_example("run_speech_recognition_ctc")


@cache
def few_tones() -> dict[str, Dataset]:
    return dial_tones(0, {"train": 32, "validation": 8, "test": 8})


def test_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(run_ctc, "dial_tones", few_tones)
    found = run_ctc.main([*QUIET, "--max_steps", "2"])
    shown = capsys.readouterr().out
    assert "No data set and no file given" in shown
    rows = dict(re.findall(r"│ (.*?) +│ (.*?) +│", shown[shown.index("telephone dial tones\n") :]))
    assert rows["digit error rate on the test split"] == f"{found['test_cer']:.4f}"
    assert rows["the model"] == "outputs/speech-demo-square"
    assert re.search(r"accelerate launch \S*run_speech_recognition_ctc.py --loss cross_entropy$", shown, re.MULTILINE)

    recognise: Any = pipeline("automatic-speech-recognition", model=rows["the model"], device="cpu")
    test: Any = few_tones()["test"]
    for row, expected in zip(test, predictions(tmp_path / rows["the model"]), strict=True):
        signal, rate = read_audio(row["audio"])
        inputs = {"raw": resample(signal, rate or 0, 16000), "sampling_rate": 16000}
        # One more frame where half of it is padding: the pipeline (5.24) reads masked frames too.
        assert recognise(inputs)["text"].startswith(expected)

    run_ctc.main([*QUIET, "--max_steps", "2", "--loss", "cross_entropy", "--do_predict", "False"])
    assert "eval_cer" in capsys.readouterr().out
