"""What the example scripts share: resuming, results on disk and what is shown."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from tiny_text_model import save_tiny_model
from transformers import AutoModelForSequenceClassification

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments, attach_loss, make_loss
from hf_squareloss.recipes.stages import (
    choose_stages,
    get_split,
    report,
    run_stages,
    save,
    save_predictions,
    shown_metrics,
    start,
    train_or_resume,
    trainer_inputs,
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


def test_the_loss_of_an_evaluation_is_said(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    trainer_inputs(arguments(tmp_path), model, {})
    attach_loss(model, make_loss("square", k=2.0, M=3.0))
    trainer_inputs(arguments(tmp_path, do_train=True), model, {"train": ROWS})
    assert capsys.readouterr().out == ""
    trainer_inputs(arguments(tmp_path), model, {})
    assert "trained with: {'loss': 'square', 'k': 2.0, 'M': 3.0}" in capsys.readouterr().out


def chosen(folder: Path, splits: str, predict_by_default: bool = True, **options: object) -> list[bool]:
    args = arguments(folder, **options)
    choose_stages(args, dict.fromkeys(splits.split(), ROWS), predict_by_default=predict_by_default)
    return [args.do_train, args.do_eval, args.do_predict]


def test_without_a_choice_everything_is_done_that_there_are_splits_for(tmp_path: Path) -> None:
    assert chosen(tmp_path, "train validation test") == [True, True, True]
    assert chosen(tmp_path, "train test", predict_by_default=False) == [True, False, False]
    assert chosen(tmp_path, "test") == [False, False, True]
    # An eval_strategy alone does not mean evaluation alone.
    assert chosen(tmp_path, "train validation", eval_strategy="epoch") == [True, True, False]


def test_a_choice_is_kept_and_needs_its_split(tmp_path: Path) -> None:
    everything = "train validation test"
    assert chosen(tmp_path, everything, do_eval=True) == [False, True, False]
    assert chosen(tmp_path, everything, do_train=True, eval_strategy="epoch") == [True, True, False]
    assert chosen(tmp_path, everything, predict_by_default=False, do_predict=True) == [False, False, True]
    for stage, name in (("do_train", "train"), ("do_eval", "validation"), ("do_predict", "test")):
        with pytest.raises(ValueError, match=f"no {name} split: give --{name}_file"):
            chosen(tmp_path, everything.replace(name, ""), **{stage: True})


def test_splits_by_name() -> None:
    assert get_split({"train": ROWS}, "train") is ROWS
    with pytest.raises(ValueError, match="no test split: give --test_file"):
        get_split({"train": ROWS}, "test")


def test_a_start_says_its_notice_once_and_sets_the_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = []
    for seed, notice in ((1, "a demo"), (1, ""), (2, "")):
        start(arguments(tmp_path, seed=seed), notice)
        numbers.append(torch.rand(1).item())
        assert capsys.readouterr().out == (f"{notice}\n" if notice else "")
    assert numbers[0] == numbers[1] != numbers[2]


def test_a_trainer_gets_the_splits_of_the_chosen_stages(model_folder: Path, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    splits = {"train": ROWS, "validation": ROWS}
    both = trainer_inputs(arguments(tmp_path, do_train=True, do_eval=True), model, splits)
    assert both["train_dataset"] is ROWS and both["eval_dataset"] is ROWS
    attach_loss(model, make_loss("squentropy"))
    neither = trainer_inputs(arguments(tmp_path, do_predict=True), model, splits)
    assert neither["train_dataset"] is None and neither["eval_dataset"] is None and neither["model"] is model


def test_a_run_of_all_stages(model_folder: Path, tmp_path: Path) -> None:
    running = trainer(model_folder, tmp_path, do_train=True, do_eval=True, do_predict=True)
    few = ROWS.select(range(4))
    splits = {"train": ROWS, "validation": ROWS, "validation_mm": few, "test": ROWS, "test_mm": few}
    saved: list[str] = []
    extractor = SimpleNamespace(save_pretrained=saved.append)
    found = run_stages(running, splits, {"data": "a"}, lambda scores: [str(len(scores))], extractor=extractor)
    sizes = {name: found[f"{name}_samples"] for name in ("train", "eval", "eval_mm", "test", "test_mm")}
    assert sizes == {"train": 12, "eval": 12, "eval_mm": 4, "test": 12, "test_mm": 4}
    assert {"eval_loss", "eval_mm_loss", "test_loss", "test_mm_loss", "train_loss"} <= found.keys()
    assert (tmp_path / "test_mm_predictions.tsv").read_text() == "index\tprediction\n0\t4\n"
    assert json.loads((tmp_path / "eval_mm_results.json").read_text())["eval_mm_samples"] == 4
    assert saved == [str(tmp_path)]


def test_only_the_chosen_stages_run(model_folder: Path, tmp_path: Path) -> None:
    running = trainer(model_folder, tmp_path, do_eval=True)
    extractor = SimpleNamespace()  # nothing is trained, so nothing is saved
    found = run_stages(running, {"train": ROWS, "validation": ROWS, "test": ROWS}, {}, list, extractor=extractor)
    assert {name.split("_")[0] for name in found} == {"eval", "epoch"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all_results.json", "eval_results.json"]


def test_what_is_shown(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"eval_loss": 1.0, "epoch": 2.0, "eval_samples": 3.0, "eval_samples_per_second": 4.0, "total_flos": 5.0}
    assert shown_metrics(metrics) == {"eval_loss": 1.0}
    report(trainer(model_folder, tmp_path), "a task", metrics)
    shown = capsys.readouterr().out
    assert "a task" in shown and "'loss': 'square'" in shown and "1.0000" in shown and tmp_path.name in shown
    assert "samples" not in shown
