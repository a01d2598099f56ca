"""What a demo does where no data is named, and what it shows at its end."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hf_squareloss import SquareLossTrainingArguments, make_loss
from hf_squareloss.recipes.demo import demo_defaults, report_demo, same_demo_with_another_loss


def test_a_demo_trains_evaluates_and_predicts_in_a_folder_of_its_own(tmp_path: Path) -> None:
    defaults = demo_defaults("text", "square")
    args = SquareLossTrainingArguments(**defaults)
    assert args.output_dir == "outputs/text-demo-square"
    assert (args.do_train, args.do_eval, args.do_predict) == (True, True, True)
    assert args.eval_strategy == args.save_strategy == "epoch" and args.save_total_limit == 1
    assert demo_defaults("text", "cross_entropy")["output_dir"] != defaults["output_dir"]


@pytest.mark.parametrize(
    ("metrics", "expected"), [({"train_runtime": 61.6}, "62 s"), ({"test_accuracy": 0.5}, "done before")]
)
def test_the_table_of_a_demo(
    metrics: dict[str, float], expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    trainer: Any = SimpleNamespace(loss=make_loss("square"), args=SimpleNamespace(output_dir="outputs/x"))
    report_demo(trainer, "tones", {"error rate": 0.25}, metrics, "examples/x.py")
    shown = capsys.readouterr().out
    rows = dict(re.findall(r"│ (.*?) +│ (.*?) +│", shown))
    assert list(rows) == ["loss", "error rate", "training time", "the model"]
    assert (rows["error rate"], rows["training time"], rows["the model"]) == ("0.2500", expected, "outputs/x")
    assert shown.endswith("launch examples/x.py --loss cross_entropy\n\n")


def test_the_other_loss() -> None:
    assert same_demo_with_another_loss("examples/x.py", "square").endswith(
        "launch examples/x.py --loss cross_entropy\n"
    )
    assert "--loss square" in same_demo_with_another_loss("examples/x.py", "cross_entropy")
