"""What the example scripts share: resuming, results on disk and what is shown."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tiny_text_model import save_tiny_model
from transformers import AutoModelForSequenceClassification

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments, attach_loss, make_loss
from hf_squareloss.recipes.media_arguments import ScratchModelArguments
from hf_squareloss.recipes.stages import (
    choose_stages,
    get_split,
    report,
    run_stages,
    save,
    save_predictions,
    shown_metrics,
    start,
    trainer_inputs,
)
from hf_squareloss.training import last_complete_checkpoint

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


def run(trainer: SquareLossTrainer, rows: Dataset = ROWS, **arguments: Any) -> dict[str, float]:
    return run_stages(trainer, {"train": rows, "validation": rows}, (), lambda scores: [], **arguments)


def saved(folder: Path, name: str = "train") -> dict[str, float]:
    return json.loads((folder / f"{name}_results.json").read_text())


def test_a_finished_run_trains_no_more_and_another_is_refused(model_folder: Path, tmp_path: Path) -> None:
    first = run(trainer(model_folder, tmp_path, do_train=True))
    assert first["train_samples"] == 12 and saved(tmp_path)["train_loss"] == first["train_loss"]
    weights = (tmp_path / "model.safetensors").read_bytes()
    assert run(trainer(model_folder, tmp_path, do_train=True)) == {}
    relabelled = Dataset.from_dict({"input_ids": ROWS["input_ids"], "labels": [1, 0, 0] * 4})
    for rows, options in (
        (relabelled, {}),
        (ROWS, {"seed": 7}),
        (ROWS, {"learning_rate": 1.0}),
        (ROWS, {"optim": "sgd"}),
    ):
        with pytest.raises(ValueError, match=r"already holds a run with (training data|seed|learning_rate|optim)="):
            run(trainer(model_folder, tmp_path, do_train=True, **options), rows)
    assert (tmp_path / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize("torn", ["", "{", '{"train_loss": 1.0', "[]", "\0\0\0", None])
def test_torn_or_missing_results_are_written_again(torn: str | None, model_folder: Path, tmp_path: Path) -> None:
    run(trainer(model_folder, tmp_path, do_train=True, do_eval=True))
    before = {name: saved(tmp_path, name) for name in ("train", "eval", "all")}
    for path in tmp_path.glob("*_results.json"):
        path.unlink() if torn is None else path.write_text(torn)
    run(trainer(model_folder, tmp_path, do_train=True, do_eval=True))
    for name, metrics in before.items():
        again = saved(tmp_path, name)
        assert again.keys() == metrics.keys()
        same = [key for key in metrics if not key.endswith(("runtime", "per_second"))]
        assert {key: again[key] for key in same} == pytest.approx({key: metrics[key] for key in same})


def test_weights_alone_finish_no_run(model_folder: Path, tmp_path: Path) -> None:
    run(trainer(model_folder, tmp_path, do_train=True, save_only_model=True))
    assert run(trainer(model_folder, tmp_path, do_train=True, save_only_model=True)) == {}  # it is finished
    shutil.rmtree(tmp_path / "checkpoint-2")
    with pytest.raises(ValueError, match=r"checkpoint-1 lacks the optimizer's state .*save_only_model"):
        run(trainer(model_folder, tmp_path, do_train=True, save_only_model=True))


def test_a_checkpoint_from_elsewhere_must_be_of_this_run(model_folder: Path, tmp_path: Path) -> None:
    run(trainer(model_folder, tmp_path / "a", do_train=True))
    given = {"do_train": True, "resume_from_checkpoint": str(tmp_path / "a" / "checkpoint-1")}
    for options, name in (({"loss": "cross_entropy"}, "loss"), ({"weight_decay": 0.1}, "weight_decay")):
        with pytest.raises(ValueError, match=f"already holds a run with {name}="):
            run(trainer(model_folder, tmp_path / "b", **given, **options))
    (tmp_path / "a" / "_run.json").unlink()  # as where the checkpoint alone was copied
    with pytest.raises(ValueError, match=r"checkpoint-1 already holds a run with another loss"):
        run(trainer(model_folder, tmp_path / "c", **given, loss="cross_entropy"))
    run(trainer(model_folder, tmp_path / "d", **given))
    assert (tmp_path / "d" / "model.safetensors").read_bytes() == (tmp_path / "a" / "model.safetensors").read_bytes()


def with_adapter(model_folder: Path, folder: Path, **adapter: Any) -> SquareLossTrainer:
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    config = LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"], **{"r": 2, **adapter})
    args = arguments(folder, do_train=True)
    return SquareLossTrainer(model=get_peft_model(model, config), args=args, train_dataset=ROWS)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
def test_adapters_are_of_the_run_too(model_folder: Path, tmp_path: Path) -> None:
    run(with_adapter(model_folder, tmp_path))
    assert run(with_adapter(model_folder, tmp_path)) == {}
    for other in ({"lora_alpha": 4}, {"r": 3}, {"lora_dropout": 0.5}):
        with pytest.raises(ValueError, match="model before training="):
            run(with_adapter(model_folder, tmp_path, **other))
    file = tmp_path / "checkpoint-2" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    (tmp_path / "train_results.json").unlink()
    assert run(with_adapter(model_folder, tmp_path))["train_loss"]  # from checkpoint-1
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


def test_a_run_that_diverged_says_what_to_do_and_does_not_diverge_again(model_folder: Path, tmp_path: Path) -> None:
    options = {"do_train": True, "max_steps": 20, "learning_rate": 1e30, "max_grad_norm": 0.0}
    says = r"step (\d+), .* lower --learning_rate.* --resume_from_checkpoint .*checkpoint-"
    with pytest.raises(FloatingPointError, match=says) as diverged:
        run(trainer(model_folder, tmp_path, **options))
    step = str(diverged.value).split(",")[0]
    with pytest.raises(ValueError, match=rf"diverged at {step} and would do so again\. Choose another --output_dir"):
        run(trainer(model_folder, tmp_path, **options))
    given = {"resume_from_checkpoint": str(tmp_path / "checkpoint-1")}
    with pytest.raises(FloatingPointError):  # it is tried where that is asked for
        run(trainer(model_folder, tmp_path, **options, **given))


def test_results_add_up_in_one_file_even_after_a_kill(model_folder: Path, tmp_path: Path) -> None:
    running = trainer(model_folder, tmp_path)
    assert save(running, "eval", {"eval_loss": 1.0}) == {"eval_loss": 1.0}
    (tmp_path / "all_results.json").write_text('{"eval_lo')
    save(running, "test", {"test_loss": 2.0})
    assert json.loads((tmp_path / "all_results.json").read_text()) == {"eval_loss": 1.0, "test_loss": 2.0}
    save_predictions(running, "test", ["good", "bad"])
    assert (tmp_path / "test_predictions.tsv").read_text() == "index\tprediction\n0\tgood\n1\tbad\n"
    save_predictions(running, "test", {"prediction": ["go\tod", "bad\n"], "p(go\tod)": ["0.7", "0.2"]})
    assert (tmp_path / "test_predictions.tsv").read_text() == (
        "index\tprediction\tp(go od)\n0\tgo od\t0.7\n1\tbad \t0.2\n"
    )


def test_the_loss_of_an_evaluation_is_said(
    model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(model_folder)
    trainer_inputs(arguments(tmp_path), model, {})
    attach_loss(model, make_loss("square", k=2.0, M=3.0))
    trainer_inputs(arguments(tmp_path, do_train=True), model, {"train": ROWS})
    assert capsys.readouterr().out == ""
    trainer_inputs(arguments(tmp_path), model, {})
    assert "trained with: square, k = 2.0, M = 3.0\n" in capsys.readouterr().out


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
        with pytest.raises(ValueError, match=rf"no {name} split: give --{name}_file .*, or leave --do_\* out$"):
            chosen(tmp_path, everything.replace(name, ""), **{stage: True})


def test_splits_by_name() -> None:
    assert get_split({"train": ROWS}, "train") is ROWS
    with pytest.raises(
        ValueError, match=r"no test split: give --test_file .*--test_dir as well\) or another data set$"
    ):
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
    folders: list[str] = []
    extractor = SimpleNamespace(save_pretrained=folders.append, to_dict=dict)
    found = run_stages(running, splits, (), lambda scores: [str(len(scores))], extractor=extractor)
    sizes = {name: found[f"{name}_samples"] for name in ("train", "eval", "eval_mm", "test", "test_mm")}
    assert sizes == {"train": 12, "eval": 12, "eval_mm": 4, "test": 12, "test_mm": 4}
    assert {"eval_loss", "eval_mm_loss", "test_loss", "test_mm_loss", "train_loss"} <= found.keys()
    assert (tmp_path / "test_mm_predictions.tsv").read_text() == "index\tprediction\n0\t4\n"
    assert json.loads((tmp_path / "eval_mm_results.json").read_text())["eval_mm_samples"] == 4
    assert folders == [str(tmp_path)]


def test_only_the_chosen_stages_run(model_folder: Path, tmp_path: Path) -> None:
    running = trainer(model_folder, tmp_path, do_eval=True)
    extractor = SimpleNamespace()  # nothing is trained, so nothing is saved
    found = run_stages(running, {"train": ROWS, "validation": ROWS, "test": ROWS}, (), list, extractor=extractor)
    assert {name.split("_")[0] for name in found} == {"eval", "epoch"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["_run.lock", "all_results.json", "eval_results.json"]


def test_what_is_shown(model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = {"eval_loss": 1.0, "epoch": 2.0, "eval_samples": 3.0, "eval_samples_per_second": 4.0, "total_flos": 5.0}
    assert shown_metrics(metrics) == {"eval_loss": 1.0}
    report(trainer(model_folder, tmp_path), "a task", metrics)
    shown = capsys.readouterr().out
    assert "a task" in shown and " square, k = 1.0, M = 1.0 " in shown and "1.0000" in shown and tmp_path.name in shown
    assert "samples" not in shown


@pytest.mark.parametrize("stage", ["do_eval", "do_predict"])
def test_a_model_from_scratch_is_not_measured_untrained(stage: str, model_folder: Path, tmp_path: Path) -> None:
    """Its weights are random; by name it is a trained one."""
    splits = {"train": ROWS, "validation": ROWS, "test": ROWS}
    new, named = (ScratchModelArguments(model_name_or_path=name) for name in (None, str(model_folder)))
    with pytest.raises(ValueError, match="nothing is trained, so that a model from scratch says nothing"):
        run_stages(trainer(model_folder, tmp_path, **{stage: True}), splits, (new,), lambda scores: ["x"] * 12)
    assert run_stages(trainer(model_folder, tmp_path, **{stage: True}), splits, (named,), lambda scores: ["x"] * 12)
    run_stages(trainer(model_folder, tmp_path, do_train=True, **{stage: True}), splits, (new,), lambda s: ["x"] * 12)
