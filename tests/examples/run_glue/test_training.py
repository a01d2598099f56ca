"""examples/run_glue.py in this process: from files of a toy task to predictions and cards, once and again."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from example_scripts import QUIET, load_example, predictions, results
from glue_runs import LEARN, SHORT, file_options, weights
from tiny_text_model import BAD, GOOD, LABELS, OTHER, save_tiny_model, write_toy_files
from transformers import AutoModelForSequenceClassification

from hf_squareloss import load_loss
from hf_squareloss.losses import LOSSES

run_glue = load_example("run_glue")


# ---- from files to a model ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", LOSSES)
def test_the_toy_task_is_learnt(loss: str, learnt: dict[str, Path], files: list[str]) -> None:
    found = results(learnt[loss])
    assert found["eval_accuracy"] > 0.85
    assert found["test_accuracy"] > 0.85
    metrics = {"loss", "accuracy", "f1", "ece", "brier", "nll", "samples"}
    expected = {f"{part}_{metric}" for part in ("eval", "test") for metric in metrics}
    assert set(found) == expected | {"train_loss", "train_samples", "epoch"}
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (64, 32, 32)
    assert load_loss(learnt[loss]).name == loss


def test_predictions_are_in_a_file(learnt: dict[str, Path], files: list[str]) -> None:
    truth = [line.split("\t")[1] for line in Path(files[-1]).read_text().splitlines()[1:]]
    right = [found == label for found, label in zip(predictions(learnt["square"]), truth, strict=True)]
    assert len(right) == 32 and sum(right) / 32 == results(learnt["square"])["test_accuracy"]


def test_the_card_tells_of_this_run(learnt: dict[str, Path], model: str) -> None:
    card = (learnt["square"] / "README.md").read_text()
    values = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert values["tags"] == ["hf_squareloss", "square"]
    assert "base_model" not in values
    assert "# toy-task" in card
    assert "k = 1.0, M = 1.0" in card
    assert f"| accuracy | {results(learnt['square'])['eval_accuracy']:.4f} |" in card
    assert str(learnt["square"].parent) not in card and model not in card


def test_label_names_are_in_the_model(learnt: dict[str, Path]) -> None:
    config = json.loads((learnt["square"] / "config.json").read_text())
    assert config["id2label"] == {"0": LABELS[0], "1": LABELS[1]}


def test_pairs(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    files = file_options(write_toy_files(tmp_path / "pairs", pairs=True, rows=128))
    found = run(*files, *LEARN, "--save_strategy", "no")
    assert found["eval_accuracy"] > 0.85


@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_several_classes_at_once(
    loss: str, run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path
) -> None:
    """Which kinds of words a text has: none, one or both of two."""
    options = []
    for split, count in (("train", 256), ("validation", 64), ("test", 64)):
        generator = random.Random(split)
        lines = ["text,kinds"]
        for _ in range(count):
            kinds = [kind for kind in ("good", "bad") if generator.random() < 0.5]
            words = [generator.choice({"good": GOOD, "bad": BAD}[kind]) for kind in kinds]
            lines.append(" ".join([*words, *generator.choices(OTHER, k=2)]) + "," + "|".join(kinds))
        (tmp_path / f"{split}.csv").write_text("\n".join(lines) + "\n")
        options += [f"--{split}_file", str(tmp_path / f"{split}.csv")]
    options += ["--label_column", "kinds", "--label_separator", "|", "--loss", loss, "--class_weights", "balanced"]
    stages = ["--do_train", "--do_eval", "--do_predict"]
    learn = ["--learning_rate", "3e-3", "--num_train_epochs", "20", "--train_sampling_strategy", "random"]
    found = run(*options, *stages, *learn, "--save_strategy", "no")
    assert found["eval_f1_macro"] > 0.85 and found["eval_subset_accuracy"] > 0.85
    assert load_loss(tmp_path / "out").multi_label and load_loss(tmp_path / "out").class_weights is not None
    truth = [line.split(",")[1] for line in (tmp_path / "test.csv").read_text().splitlines()[1:]]
    right = [set(a.split("|")) == set(b.split("|")) for a, b in zip(predictions(tmp_path / "out"), truth, strict=True)]
    assert sum(right) / len(right) == found["test_subset_accuracy"]
    # The saved model knows that its answers are several.
    rows = (tmp_path / "test.csv").read_text().splitlines()
    (tmp_path / "new.csv").write_text("\n".join(row.split(",")[0] for row in rows) + "\n")
    given = ["--model_name_or_path", str(tmp_path / "out"), "--test_file", str(tmp_path / "new.csv"), "--do_predict"]
    run_glue.main([*given, "--output_dir", str(tmp_path / "new"), *QUIET])
    assert [answer.replace(",", "|") for answer in predictions(tmp_path / "new")] == predictions(tmp_path / "out")


def test_real_values(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    model = str(save_tiny_model(tmp_path / "model", num_labels=1))
    toy = file_options(write_toy_files(tmp_path / "values", regression=True, rows=128))
    files = [*toy, "--model_name_or_path", model]
    found = run(*files, *LEARN, "--do_train", "--do_eval", "--do_predict")
    assert found["eval_pearson"] > 0.7
    assert "eval_accuracy" not in found and "eval_ece" not in found
    values = predictions(tmp_path / "out")
    assert len(values) == 64 and len({float(value) for value in values}) > 16
    assert "predicted value" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(ValueError, match="cross_entropy.*(value|regression)"):
        run(*files, *SHORT, "--loss", "cross_entropy", name="other")


def test_hidden_test_labels(run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path) -> None:
    lines = Path(files[-1]).read_text().splitlines()
    (tmp_path / "hidden.tsv").write_text("\n".join(line.split("\t")[0] for line in lines) + "\n")
    found = run(*SHORT, "--test_file", str(tmp_path / "hidden.tsv"), "--do_train", "--do_predict")
    assert found["test_samples"] == 32
    assert not {"test_accuracy", "test_loss"} & found.keys()
    assert len((tmp_path / "out" / "test_predictions.tsv").read_text().splitlines()) == 33


# ---- again, and elsewhere -------------------------------------------------------------------------------------------
def test_the_same_command_again_trains_no_more(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    arguments = ["--learning_rate", "1e-2", "--num_train_epochs", "1", "--save_strategy", "epoch"]
    first = run(*arguments)
    trained = (tmp_path / "out" / "train_results.json").read_bytes()
    before = weights(tmp_path / "out")
    second = run(*arguments)
    assert (tmp_path / "out" / "train_results.json").read_bytes() == trained
    assert torch.equal(weights(tmp_path / "out"), before)
    assert "train_loss" in first and "train_loss" not in second
    assert second["eval_accuracy"] == first["eval_accuracy"]
    # Killed between its last checkpoint and the file: the file is written after all.
    (tmp_path / "out" / "train_results.json").unlink()
    assert "train_runtime" in run(*arguments)
    assert (tmp_path / "out" / "train_results.json").exists()


def test_the_folder_of_another_loss_is_refused(run: Callable[..., dict[str, float]]) -> None:
    run(*SHORT, "--loss", "square")
    run(*SHORT, "--loss", "square")
    with pytest.raises(ValueError, match="already holds a run with loss="):
        run(*SHORT, "--loss", "cross_entropy")


@pytest.mark.parametrize("loss", LOSSES)
def test_a_model_is_evaluated_with_its_own_loss(
    loss: str, run: Callable[..., dict[str, float]], learnt: dict[str, Path], tmp_path: Path
) -> None:
    found = run("--model_name_or_path", str(learnt[loss]), "--do_eval", "--label_smoothing_factor", "0.1")
    there = results(learnt[loss])
    for metric in ("loss", "accuracy", "ece", "brier"):
        assert found[f"eval_{metric}"] == pytest.approx(there[f"eval_{metric}"], rel=1e-5)
    assert not (tmp_path / "out" / "README.md").exists()


def test_a_file_without_labels_is_predicted_alone(learnt: dict[str, Path], files: list[str], tmp_path: Path) -> None:
    rows = Path(files[-1]).read_text().splitlines()
    (tmp_path / "new.tsv").write_text("\n".join(row.rsplit("\t", 1)[0] for row in rows) + "\n")
    out = ["--output_dir", str(tmp_path / "out"), "--test_file", str(tmp_path / "new.tsv"), *QUIET]
    run_glue.main(["--model_name_or_path", str(learnt["square"]), "--do_predict", *out])
    predictions = (tmp_path / "out" / "test_predictions.tsv").read_text()
    assert predictions == (learnt["square"] / "test_predictions.tsv").read_text()


def test_a_folder_with_a_run_of_other_settings_is_refused(run: Callable[..., dict[str, float]]) -> None:
    run("--max_steps", "1")
    with pytest.raises(ValueError, match="seed"):
        run("--max_steps", "1", "--seed", "7")


def test_predicting_later_keeps_the_card(run: Callable[..., dict[str, float]], learnt: dict[str, Path]) -> None:
    card = (learnt["square"] / "README.md").read_text()
    run("--model_name_or_path", str(learnt["square"]), "--do_predict", "--output_dir", str(learnt["square"]))
    assert (learnt["square"] / "README.md").read_text() == card


def test_a_model_that_counts_its_classes_otherwise(
    run: Callable[..., dict[str, float]], learnt: dict[str, Path], files: list[str], tmp_path: Path
) -> None:
    turned = AutoModelForSequenceClassification.from_pretrained(learnt["square"])
    with torch.no_grad():
        for parameter in turned.classifier.parameters():
            parameter.copy_(parameter.flip(0))
    turned.save_pretrained(tmp_path / "wrong")
    turned.config.id2label, turned.config.label2id = {0: "good", 1: "bad"}, {"good": 0, "bad": 1}
    turned.save_pretrained(tmp_path / "turned")
    evaluate = ["--do_eval", "--do_predict", "--tokenizer_name", str(learnt["square"])]
    found = run(*evaluate, "--model_name_or_path", str(tmp_path / "turned"), name="right")
    assert found["eval_accuracy"] == results(learnt["square"])["eval_accuracy"]
    tables = [
        pd.read_csv(folder / "test_predictions.tsv", sep="\t") for folder in (tmp_path / "right", learnt["square"])
    ]
    assert [list(table) for table in tables] == [
        ["index", "prediction", "p(good)", "p(bad)"],
        ["index", "prediction", "p(bad)", "p(good)"],
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1], check_like=True, rtol=0, atol=2e-6)
    assert (tables[0]["p(good)"] > tables[0]["p(bad)"]).equals(tables[0]["prediction"] == "good")
    wrong = run(*evaluate, "--model_name_or_path", str(tmp_path / "wrong"), name="wrong-again")
    assert wrong["eval_accuracy"] < 0.2
    # A file in which one of the model's classes is missing.
    header, *lines = Path(files[3]).read_text().splitlines()
    good = [line for line in lines if line.endswith("good")]
    (tmp_path / "good.tsv").write_text("\n".join([header, *good]) + "\n")
    few = ["--do_eval", "--model_name_or_path", str(learnt["square"]), "--validation_file", str(tmp_path / "good.tsv")]
    only = run_glue.main([*few, "--output_dir", str(tmp_path / "few"), *QUIET])
    assert only["eval_accuracy"] > 0.7
