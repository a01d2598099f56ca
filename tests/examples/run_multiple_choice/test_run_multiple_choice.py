"""examples/run_multiple_choice.py in this process: from files of questions to predictions, cards and pipelines."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from choice_files import COLUMNS, questions, save_tiny_chooser, write_files, write_questions
from example_scripts import QUIET, load_example, predictions, results

from hf_squareloss import load_loss, probability_pipeline
from hf_squareloss.recipes.choice_demo import docstring_endings

script = load_example("run_multiple_choice")
LEARN = ["--learning_rate", "5e-3", "--num_train_epochs", "8", "--save_strategy", "epoch", "--save_total_limit", "1"]
SHORT = ["--max_steps", "2", "--save_strategy", "no"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("choice")


@pytest.fixture(scope="module")
def given(folder: Path) -> list[str]:
    return ["--model_name_or_path", save_tiny_chooser(folder / "model"), *write_files(folder), *QUIET]


@pytest.fixture(scope="module")
def learnt(folder: Path, given: list[str]) -> Path:
    script.main([*given, *LEARN, "--output_dir", str(folder / "toy")])
    return folder / "toy"


@pytest.fixture
def run(given: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    def with_defaults(*argv: str) -> dict[str, float]:
        return script.main([*given, "--output_dir", str(tmp_path / "out"), *argv])

    return with_defaults


def test_the_toy_task_is_learnt(learnt: Path) -> None:
    found = results(learnt)
    assert found["test_accuracy"] > 0.8  # by chance a third
    metrics = {"loss", "accuracy", "ece", "brier", "nll", "samples"}
    assert {name for name in found if name.startswith("test_")} == {f"test_{name}" for name in metrics}
    assert load_loss(learnt).name == "square"


def test_predictions_and_the_pipeline_have_the_losses_probabilities(learnt: Path) -> None:
    table: Any = pd.read_csv(learnt / "test_predictions.tsv", sep="\t")
    rows = questions(48, "test")
    assert list(table) == ["index", "prediction", "p(0)", "p(1)", "p(2)"]
    right = table["prediction"] == [row["label"] for row in rows]
    assert right.mean() == pytest.approx(results(learnt)["test_accuracy"])
    choose: Any = probability_pipeline(str(learnt))
    for row, shown in zip(rows[:4], table.itertuples(index=False), strict=False):
        choices = [f"{row['sent2']} {row[f'ending{i}']}" for i in range(3)]
        found = choose({"context": row["sent1"], "choices": choices})
        assert [choice["score"] for choice in found] == pytest.approx(list(shown)[2:], abs=1e-5)


def test_the_card(learnt: Path) -> None:
    card = (learnt / "README.md").read_text()
    values = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert values["pipeline_tag"] == "multiple-choice"
    assert 'probability_pipeline("toy")' in card and "AutoModelForMultipleChoice" in card
    assert f"| accuracy | {results(learnt)['eval_accuracy']:.4f} |" in card


def test_the_same_command_again_trains_no_more(learnt: Path, given: list[str]) -> None:
    again = script.main([*given, *LEARN, "--output_dir", str(learnt)])
    assert "train_loss" not in again and again["eval_accuracy"] == results(learnt)["eval_accuracy"]
    with pytest.raises(ValueError, match="already holds a run with .*label_column='label' there, now 'answer'"):
        script.main([*given, *LEARN, "--output_dir", str(learnt), *renamed(learnt.parent)])


def renamed(folder: Path) -> list[str]:
    """The training questions with another name for the label; the other splits likewise."""
    options = ["--label_column", "answer"]
    for split, count in (("train", 256), ("validation", 48), ("test", 48)):
        rows = [{**row, "answer": row["label"]} for row in questions(count, split)]
        write_questions(folder / f"{split}2.csv", rows, [*COLUMNS[:-1], "answer"])
        options += [f"--{split}_file", str(folder / f"{split}2.csv")]
    return options


def test_prediction_alone_without_labels(learnt: Path, tmp_path: Path) -> None:
    write_questions(tmp_path / "new.csv", questions(48, "test"), COLUMNS[:-1])
    options = ["--model_name_or_path", str(learnt), "--test_file", str(tmp_path / "new.csv"), *QUIET]
    script.main([*options, "--do_predict", "--output_dir", str(tmp_path / "out")])
    assert predictions(tmp_path / "out") == predictions(learnt)


def test_choices_that_are_cut_are_told(
    run: Callable[..., dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    run(*SHORT, "--do_train", "--max_seq_length", "3")
    assert "within max_seq_length tokens: 256 of 256 in train, 48 of 48 in validation" in capsys.readouterr().out


def test_missing_choices_and_class_weights_are_refused(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    write_questions(tmp_path / "bad.csv", [*questions(2, "a"), questions(1, "b")[0] | {"ending1": ""}])
    with pytest.raises(ValueError, match="validation split, row 3: choice 1 is missing"):
        run(*SHORT, "--validation_file", str(tmp_path / "bad.csv"))
    write_questions(tmp_path / "empty.csv", [])
    with pytest.raises(ValueError, match="train split is empty"):
        run(*SHORT, "--train_file", str(tmp_path / "empty.csv"))
    for option in (["--max_seq_length", "0"], ["--model_type", "bert"]):
        with pytest.raises(SystemExit):
            run(*SHORT, *option)
    with pytest.raises(ValueError, match="class_weights would weigh places"):
        run(*SHORT, "--class_weights", "1,2,3")


def test_the_demo(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '    """Say {0} to the film at once. The {0} story is very good. More."""\n'
    for number in range(8):
        lines = [f"def f{i}():\n" + text.format(f"w{number}x{i}") for i in range(6)]
        (tmp_path / f"module{number}.py").write_text("".join(lines))
    monkeypatch.setattr(script, "docstring_endings", partial(docstring_endings, tmp_path))
    script.main(
        [*given[:2], *QUIET, "--max_steps", "2", "--loss", "cross_entropy", "--output_dir", str(tmp_path / "o")]
    )
    shown = capsys.readouterr().out
    for part in ("built-in demo", "test accuracy by like words", "run_multiple_choice.py --loss square"):
        assert part in shown
