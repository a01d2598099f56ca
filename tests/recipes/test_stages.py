"""What the example scripts share: resuming, results on disk and what is shown."""

import json
from pathlib import Path

import pytest
from datasets import Dataset
from tiny_text_model import save_tiny_model
from transformers import AutoModelForSequenceClassification

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments, attach_loss, make_loss
from hf_squareloss.recipes.stages import (
    limited,
    nothing_chosen,
    same_demo_with_another_loss,
    save,
    save_predictions,
    shown_metrics,
    train_or_resume,
    trained_loss,
    wanted,
)

ROWS = Dataset.from_dict({"input_ids": [[1, 2], [3, 4], [5, 6]] * 4, "labels": [0, 1, 0] * 4})


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


def arguments(folder: Path, **options: object) -> SquareLossTrainingArguments:
    defaults = {"max_steps": 2, "use_cpu": True, "disable_tqdm": True, "save_steps": 1}
    return SquareLossTrainingArguments(output_dir=str(folder), **{**defaults, **options})  # type: ignore[arg-type]


def trainer(model_folder: Path, folder: Path, **options: object) -> SquareLossTrainer:
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    return SquareLossTrainer(model=model, args=arguments(folder, **options), train_dataset=ROWS)


def test_a_finished_run_trains_no_more_and_another_is_refused(model_folder: Path, tmp_path: Path) -> None:
    first = train_or_resume(trainer(model_folder, tmp_path), {"data": "a"})
    assert first["train_samples"] == 12 and (tmp_path / "train_results.json").exists()
    assert train_or_resume(trainer(model_folder, tmp_path), {"data": "a"}) == {}
    for settings, options in (
        ({"data": "b"}, {}),
        ({"data": "a"}, {"seed": 7}),
        ({"data": "a"}, {"learning_rate": 1.0}),
    ):
        with pytest.raises(ValueError, match="already holds a run with (data|seed|learning_rate)="):
            train_or_resume(trainer(model_folder, tmp_path, **options), settings)


def test_results_add_up_in_one_file_even_after_a_kill(model_folder: Path, tmp_path: Path) -> None:
    running = trainer(model_folder, tmp_path)
    assert save(running, "eval", {"eval_loss": 1.0}) == {"eval_loss": 1.0}
    (tmp_path / "all_results.json").write_text('{"eval_lo')
    save(running, "test", {"test_loss": 2.0})
    assert json.loads((tmp_path / "all_results.json").read_text()) == {"test_loss": 2.0}
    save_predictions(running, "test", ["good", "bad"])
    assert (tmp_path / "test_predictions.tsv").read_text() == "index\tprediction\n0\tgood\n1\tbad\n"


def test_a_trained_loss_is_used_only_without_training(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    evaluation = arguments(tmp_path, label_smoothing_factor=0.1)
    assert trained_loss(evaluation, model) is None
    attach_loss(model, make_loss("square", k=2.0, M=3.0))
    assert trained_loss(arguments(tmp_path, do_train=True), model) is None
    loss = trained_loss(evaluation, model)
    assert loss is not None and loss.to_dict() == {"loss": "square", "k": 2.0, "M": 3.0}
    assert evaluation.label_smoothing_factor == 0.0
    assert "trained with" in capsys.readouterr().out


def test_an_eval_strategy_alone_does_not_mean_evaluation_alone(tmp_path: Path) -> None:
    for options in ({}, {"eval_strategy": "epoch"}):
        assert nothing_chosen(arguments(tmp_path, **options))
    for options in ({"do_eval": True}, {"do_train": True, "eval_strategy": "epoch"}, {"do_predict": True}):
        assert not nothing_chosen(arguments(tmp_path, **options))


def test_splits() -> None:
    assert {name: len(rows) for name, rows in limited({"a": ROWS, "b": ROWS}, {"a": 5, "b": None}).items()} == {
        "a": 5,
        "b": 12,
    }
    assert len(limited({"a": ROWS}, {"a": 99, "other": 1})["a"]) == 12
    with pytest.raises(ValueError, match="no test split: give --test_file"):
        wanted({"train": ROWS}, "test")


def test_what_is_shown() -> None:
    metrics = {"eval_loss": 1.0, "epoch": 2.0, "eval_samples": 3.0, "eval_samples_per_second": 4.0, "total_flos": 5.0}
    assert shown_metrics(metrics) == {"eval_loss": 1.0}
    assert same_demo_with_another_loss("examples/x.py", "square").endswith(
        "launch examples/x.py --loss cross_entropy\n"
    )
    assert "--loss square" in same_demo_with_another_loss("examples/x.py", "cross_entropy")
