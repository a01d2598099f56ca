"""examples/run_ner.py in this process: from files of sentences to predictions, cards and pipelines."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from example_scripts import QUIET, load_example, results
from tag_files import TAGS, save_tiny_tagger, sentences, write_conll, write_files, write_modules

from hf_squareloss import load_loss, probability_pipeline
from hf_squareloss.recipes.token_demo import python_lines

run_ner = load_example("run_ner")
LEARN = ["--learning_rate", "1e-2", "--num_train_epochs", "6", "--save_strategy", "epoch", "--save_total_limit", "1"]
SHORT = ["--max_steps", "2", "--save_strategy", "no"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ner")


@pytest.fixture(scope="module")
def given(folder: Path) -> list[str]:
    model = save_tiny_tagger(folder / "model")
    return ["--model_name_or_path", model, *write_files(folder), *QUIET]


@pytest.fixture(scope="module")
def learnt(folder: Path, given: list[str]) -> Path:
    run_ner.main([*given, *LEARN, "--return_entity_level_metrics", "--output_dir", str(folder / "toy")])
    return folder / "toy"


@pytest.fixture
def run(given: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    def with_defaults(*argv: str) -> dict[str, float]:
        return run_ner.main([*given, "--output_dir", str(tmp_path / "out"), *argv])

    return with_defaults


# ---- from files to a model ------------------------------------------------------------------------------------------
def test_the_toy_task_is_learnt(learnt: Path) -> None:
    found = results(learnt)
    assert found["eval_f1"] > 0.8 and found["test_f1"] > 0.8  # by the token alone a name is as often none
    metrics = {"loss", "precision", "recall", "f1", "accuracy", "ece", "brier", "nll", "samples"}
    of_type = {f"PER_{name}" for name in ("precision", "recall", "f1", "number")}
    assert {name for name in found if name.startswith("test_")} == {f"test_{name}" for name in metrics | of_type}
    assert load_loss(learnt).name == "square"
    assert json.loads((learnt / "config.json").read_text())["id2label"] == dict(zip("012", TAGS, strict=True))


def test_a_line_for_each_token_with_its_probabilities(learnt: Path) -> None:
    table: Any = pd.read_csv(learnt / "test_predictions.tsv", sep="\t")
    rows = sentences(40, "test")
    assert list(table) == ["index", "sentence", "token", "prediction", *(f"p({tag})" for tag in TAGS)]
    assert list(table["token"]) == [word for words, _ in rows for word in words]
    assert list(table["sentence"]) == [i for i, (words, _) in enumerate(rows) for _ in words]
    right = table["prediction"] == [tag for _, tags in rows for tag in tags]
    assert right.mean() == pytest.approx(results(learnt)["test_accuracy"])
    probabilities = table[[f"p({tag})" for tag in TAGS]]
    assert probabilities.sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-5)
    assert (probabilities.idxmax(axis=1) == "p(" + table["prediction"] + ")").all()


def test_the_pipeline_shows_the_same_probabilities(learnt: Path) -> None:
    table: Any = pd.read_csv(learnt / "test_predictions.tsv", sep="\t")
    words, _ = sentences(40, "test")[0]
    first = table[table["sentence"] == 0]
    found: list[dict[str, Any]] = probability_pipeline(str(learnt), ignore_labels=[])(" ".join(words))  # type: ignore
    pieces = [entity for entity in found if not entity["word"].startswith("##")]
    assert [entity["entity"] for entity in pieces] == list(first["prediction"])
    expected = [first[f"p({tag})"].iloc[i] for i, tag in enumerate(first["prediction"])]
    assert [entity["score"] for entity in pieces] == pytest.approx(expected, abs=1e-5)


def test_the_card(learnt: Path) -> None:
    card = (learnt / "README.md").read_text()
    values = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert values["pipeline_tag"] == "token-classification"
    stated = {metric["type"] for metric in values["model-index"][0]["results"][0]["metrics"]}
    assert stated == {"accuracy", "f1", "precision", "recall"}
    assert 'classify = pipeline("token-classification", model="toy", aggregation_strategy="simple")' in card
    assert "AutoModelForTokenClassification" in card


def test_the_same_command_again_trains_no_more(learnt: Path, given: list[str]) -> None:
    before, weights = results(learnt), (learnt / "model.safetensors").read_bytes()
    again = run_ner.main([*given, *LEARN, "--output_dir", str(learnt)])  # other metrics make no other run
    assert "train_loss" not in again and again["eval_f1"] == before["eval_f1"]
    assert (learnt / "model.safetensors").read_bytes() == weights
    with pytest.raises(ValueError, match="label_all_tokens=False there, now True"):
        run_ner.main([*given, *LEARN, "--label_all_tokens", "--output_dir", str(learnt)])


def test_prediction_alone_of_sentences_without_tags(learnt: Path, tmp_path: Path) -> None:
    new = tmp_path / "new.conll"
    new.write_text("\n\n".join("\n".join(words) for words, _ in sentences(40, "test")) + "\n")
    options = ["--model_name_or_path", str(learnt), "--test_file", str(new), "--output_dir", str(tmp_path / "out")]
    run_ner.main([*options, "--do_predict", *QUIET])
    files = (folder / "test_predictions.tsv" for folder in (tmp_path / "out", learnt))
    for new_line, line in zip(*(file.read_text().splitlines() for file in files), strict=True):
        new_cells, cells = ([as_number(cell) for cell in row.split("\t")] for row in (new_line, line))
        assert new_cells == [pytest.approx(c, abs=2e-6) if isinstance(c, float) else c for c in cells]


def as_number(cell: str) -> float | str:
    """A probability as a number: in the weights it was divided and multiplied again."""
    return float(cell) if "." in cell else cell


def test_plain_tags_of_json_with_another_loss(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    options = []
    for split in ("train", "validation", "test"):
        rows = [
            {"words": words, "kinds": ["PER" if tag != "O" else "OTHER" for tag in tags]}
            for words, tags in sentences(64, split)
        ]
        (tmp_path / f"{split}.json").write_text("\n".join(map(json.dumps, rows)))
        options += [f"--{split}_file", str(tmp_path / f"{split}.json")]
    columns = ["--text_column_name", "words", "--label_column_name", "kinds", "--do_train", "--do_eval"]
    names = [
        "--class_weights",
        "balanced",
        "--loss",
        "cross_entropy",
        "--label_all_tokens",
        "--ignore_mismatched_sizes",
    ]
    found = run(*options, *columns, *names, *LEARN, "--pad_to_max_length", "--max_seq_length", "24")
    assert found["eval_f1"] == pytest.approx(found["eval_accuracy"]) and found["eval_f1"] > 0.7
    assert load_loss(tmp_path / "out").class_weights is not None


# ---- what is said and refused ---------------------------------------------------------------------------------------
def test_long_sentences_are_counted(
    run: Callable[..., dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(*SHORT, "--max_seq_length", "5", "--do_train", "--do_predict")
    assert "longer than max_seq_length are cut" in capsys.readouterr().out
    table: Any = pd.read_csv(tmp_path / "out" / "test_predictions.tsv", sep="\t", keep_default_na=False)
    assert 0 < (table["prediction"] == "").sum() < len(table) == sum(len(words) for words, _ in sentences(40, "test"))
    assert "test_f1" in found


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(["Ada", "saw"], ["O", "B-SHIP"])], "validation split, row 1: the training tags do not have 'B-SHIP'"),
        ([], "validation split is empty"),
    ],
)
def test_bad_files_are_refused(
    rows: list[tuple[list[str], list[str]]], message: str, run: Callable[..., dict[str, float]], tmp_path: Path
) -> None:
    write_conll(tmp_path / "bad.conll", rows)
    with pytest.raises(ValueError, match=message):
        run(*SHORT, "--validation_file", str(tmp_path / "bad.conll"))


def test_tokens_and_tags_of_unequal_length(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    rows = [{"tokens": ["Dr", "Ada"], "tags": ["B-PER", "I-PER"]}, {"tokens": ["the", "sea"], "tags": ["O"]}]
    (tmp_path / "bad.json").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(ValueError, match="train split, row 2: 2 tokens and 1 tags"):
        run(*SHORT, "--train_file", str(tmp_path / "bad.json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max_seq_length", "0"], "max_seq_length must be at least 1, got 0"),
        (["--model_type", "bert"], "--model_type"),  # it would be ignored
        (["--max_train_samples", "-5"], "max_train_samples must be at least 1"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], message: str, run: Callable[..., dict[str, float]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(*SHORT, *options)
    assert message in capsys.readouterr().err


def test_a_missing_model_is_named(given: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--model_name_or_path"):
        run_ner.main([*given[2:], "--output_dir", str(tmp_path)])


# ---- the demo -------------------------------------------------------------------------------------------------------
def test_the_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_ner, "python_lines", partial(python_lines, write_modules(tmp_path)))
    options = ["--num_train_epochs", "1", *QUIET, "--output_dir", str(tmp_path / "demo")]
    run_ner.main([*options, "--loss", "cross_entropy"])
    shown = capsys.readouterr().out
    for part in ("built-in demo", "test F1 by the most frequent tag", "run_ner.py --loss square"):
        assert part in shown
    again = run_ner.main([*options, "--loss", "cross_entropy"])
    assert "train_loss" not in again  # vocabulary and first weights are the same each time
