"""examples/run_glue.py where the model and the data name their classes differently, and weights by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from example_scripts import predictions, results
from glue_runs import SHORT, weights
from tiny_text_model import LABELS

from hf_squareloss import load_loss


def renamed(files: list[str], folder: Path, names: dict[str, str]) -> str:
    """The test split with other names of the classes."""
    lines = Path(files[-1]).read_text().splitlines()
    rows = [line.rsplit("\t", 1) for line in lines[1:]]
    file = folder / "renamed.tsv"
    file.write_text("\n".join([lines[0], *(f"{text}\t{names[label]}" for text, label in rows)]) + "\n")
    return str(file)


def alone(model: Path, file: str) -> list[str]:
    """Options that evaluate this file alone: the last arguments win, and None-like options cannot be taken back."""
    return ["--model_name_or_path", str(model), "--train_file", file, "--validation_file", file, "--test_file", file]


def test_other_names_without_training(
    run: Callable[..., dict[str, float]], learnt: dict[str, Path], files: list[str], tmp_path: Path
) -> None:
    """In the order of the alphabet the classes would be swapped, and nine of ten answers wrong."""
    swapped = renamed(files, tmp_path, {LABELS[0]: "z", LABELS[1]: "a"})
    with pytest.raises(ValueError, match=f"model's classes are {LABELS[0]}, {LABELS[1]} and the data's a, z"):
        run(*alone(learnt["square"], swapped), "--do_eval")
    upper = renamed(files, tmp_path, {name: name.upper() for name in LABELS})
    found = run(*alone(learnt["square"], upper), "--do_predict", name="upper")
    assert found["test_accuracy"] == results(learnt["square"])["test_accuracy"]
    assert set(predictions(tmp_path / "upper")) == set(LABELS)


def test_other_names_in_training_are_said(
    run: Callable[..., dict[str, float]],
    learnt: dict[str, Path],
    files: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = renamed(files, tmp_path, {LABELS[0]: "z", LABELS[1]: "a"})
    run(*alone(learnt["square"], other), *SHORT)
    said = [line for line in capsys.readouterr().out.splitlines() if "told" in line]
    assert said == [f"The model told {LABELS[0]}, {LABELS[1]} apart; it is trained for a, z now"]
    run(*SHORT, name="new")
    assert "told" not in capsys.readouterr().out


def test_weights_by_name(
    run: Callable[..., dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = LABELS
    run(*SHORT, "--class_weights", f"{second}=9,{first}=1", name="named")
    assert f"Class weights: {first}=1, {second}=9\n" in capsys.readouterr().out
    run(*SHORT, "--class_weights", "1,9", name="listed")
    assert load_loss(tmp_path / "named").class_weights == (1.0, 9.0)
    assert weights(tmp_path / "named").equal(weights(tmp_path / "listed"))
    with pytest.raises(ValueError, match="no class is called 'x'"):
        run(*SHORT, "--class_weights", "x=1,y=2", name="refused")
