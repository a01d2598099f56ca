"""examples/run_glue.py in this process: its options, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from example_scripts import QUIET, load_example, results
from glue_runs import SHORT, weights
from transformers import AutoModelForSequenceClassification

from hf_squareloss import load_loss

run_glue = load_example("run_glue")


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
    arguments = [*SHORT, "--train_file", str(tmp_path / "train.tsv"), "--class_weights", "balanced"]
    (tmp_path / "train.tsv").write_text("\n".join([header, *bad[:6], *good[:18]]) + "\n")
    run(*arguments)
    assert load_loss(tmp_path / "out").class_weights == pytest.approx((24 / 12, 24 / 36))
    (tmp_path / "train.tsv").write_text("\n".join([header, *bad, *good]) + "\n")
    run(*arguments, "--max_train_samples", "24", name="some")
    found = load_loss(tmp_path / "some").class_weights
    assert found is not None and sum(24 / 2 / weight for weight in found) == pytest.approx(24)  # of the rows in use
    with pytest.raises(ValueError, match="class [01] has none"):
        run(*arguments, "--max_train_samples", "1", name="none")


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
    found = load_loss(tmp_path / "out").class_weights
    assert found is not None and found[0] < 1 < found[1]


def test_only_so_many_samples(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    found = run(*SHORT, "--max_train_samples", "12", "--max_eval_samples", "7", "--max_predict_samples", "1000")
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (12, 7, 32)


def test_a_validation_split_cut_from_the_training_file(
    model: str, files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--model_name_or_path", model, *files[:2], *SHORT, *QUIET]
    found = run_glue.main([*given, "--output_dir", str(tmp_path / "cut"), "--train_val_split", "0.25"])
    assert (found["train_samples"], found["eval_samples"]) == (48, 16)
    assert "Nothing is evaluated" not in capsys.readouterr().out
    found = run_glue.main([*given, "--output_dir", str(tmp_path / "none")])
    assert "eval_samples" not in found
    assert "Nothing is evaluated: give --validation_file" in capsys.readouterr().out


def test_splits_of_a_data_set_by_name(model: str, files: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for place, split in ((1, "train"), (3, "test")):
        text = Path(files[place]).read_text()
        (folder / f"{split}.csv").write_text(text.replace("\t", ","))
    given = ["--model_name_or_path", model, "--dataset_name", str(folder), *SHORT, *QUIET]
    splits = ["--train_split_name", "train[:40]", "--validation_split_name", "train[40:]"]
    found = run_glue.main([*given, *splits, "--output_dir", str(tmp_path / "out")])
    assert (found["train_samples"], found["eval_samples"]) == (40, 24)
    with pytest.raises(SystemExit):
        run_glue.main([*given[:2], *files, *splits, "--output_dir", str(tmp_path / "out")])


def test_classes_without_an_example_are_named(
    run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Path(files[1]).read_text() + "one more\tstrange\n"
    (tmp_path / "train.tsv").write_text(rows)
    run(*SHORT, "--train_file", str(tmp_path / "train.tsv"), "--max_train_samples", "8", "--ignore_mismatched_sizes")
    assert "1 of 3 classes have no training example, so they cannot be learnt: strange" in capsys.readouterr().out


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
