"""Runs of the SpeechBrain recipe become one comparison."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import render_results
from example_scripts import load_example

from hf_squareloss.comparison import analyse, read_results, study_card


def run(loss: str, seed: int, cer: float, **changes: Any) -> dict[str, Any]:
    words = ["train.py", "train.yaml", "--data_folder", "/data/an4", "--lr", "0.003", "--loss", loss]
    stats = {"loss": 0.5, "CER": cer, "WER": 2 * cer}
    return {
        "settings": {"loss": {"loss": loss}, "seed": seed, "lr": 0.003} | changes,
        "environment": {
            "machine": "a machine",
            "threads": 1,
            "device": "cpu",
            "speechbrain": "1.1.2",
            "torch": "2.14.1",
        },
        "command": [*words, "--seed", str(seed), "--output_folder", f"/runs/{loss}{seed}"],
        "epochs": [
            {"epoch": epoch, "train_seconds": 10.0, "valid": {"loss": 1.0, "CER": 50.0 / epoch, "WER": 80.0 / epoch}}
            for epoch in (1, 2)
        ],
        "test": {"epoch": 1, **stats},
    }


def runs() -> list[dict[str, Any]]:
    return [run("square", 1, 10.0), run("cross_entropy", 0, 12.0), run("square", 0, 8.0), run("cross_entropy", 1, 11.0)]


def test_a_comparison_of_runs(tmp_path: Path) -> None:
    files = []
    for i, content in enumerate(runs()):
        files.append(tmp_path / f"{i}.json")
        files[-1].write_text(json.dumps(content))
    output = tmp_path / "cards" / "results.json"
    load_example("speechbrain/collect").main(["--title", "T", "--output", str(output), *map(str, files)])
    results = json.loads(output.read_text())
    study = read_results(output)
    base, square = analyse(study).problems[0].problem.contenders
    assert (base.label, square.label) == ("cross_entropy", "square")
    assert square.values("test") == {0: 0.08, 1: 0.10} and square.values("test", "wer") == {0: 0.16, 1: 0.20}
    assert base.measured("seconds") == {0: 20.0, 1: 20.0}
    assert results["runs"][0]["validation"]["cer"] == 0.5  # of epoch 1, whose model was tested
    assert results["arguments"] == ["--data_folder", "an4"]
    card = study_card(study, command=render_results.command(study))
    assert "speechbrain/train.py" in card and "/data" not in card and "/runs" not in card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda run: run.update(test=None), "not finished"),
        (lambda run: run["settings"].update(batch_size=4), "are not the settings"),
        (lambda run: run["settings"].update(lr=0.1), "two learning rates"),
        (lambda run: run["environment"].update(torch="2.0"), "different environments"),
        (lambda run: run["settings"].update(seed=0), "two runs of square"),
    ],
)
def test_refusals(change: Any, message: str) -> None:
    found = copy.deepcopy(runs())
    change(found[0])
    with pytest.raises(ValueError, match=message):
        load_example("speechbrain/collect").collected("T", found)
