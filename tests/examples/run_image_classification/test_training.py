"""examples/run_image_classification.py in this process: from folders of pictures to predictions, once and again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from example_scripts import predictions, results
from picture_files import CLASSES, SHORT, weights
from transformers import pipeline

from hf_squareloss import load_loss, probability_pipeline


@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_bars_are_learnt(loss: str, learnt: dict[str, Path]) -> None:
    found = results(learnt[loss])
    assert found["eval_accuracy"] > 0.9 and found["test_accuracy"] > 0.9
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (64, 24, 24)
    assert {"eval_ece", "eval_brier", "eval_nll", "eval_f1"} <= found.keys()
    assert load_loss(learnt[loss]).name == loss
    assert json.loads((learnt[loss] / "config.json").read_text())["id2label"] == {"0": CLASSES[0], "1": CLASSES[1]}


def test_a_pipeline_gives_the_probabilities_of_the_file(learnt: dict[str, Path], folders: list[str]) -> None:
    lines = [line.split("\t") for line in (learnt["square"] / "test_predictions.tsv").read_text().splitlines()]
    assert lines[0] == ["index", "prediction", f"p({CLASSES[0]})", f"p({CLASSES[1]})"]
    files = sorted(Path(folders[-1]).rglob("*.png"))
    classify: Any = probability_pipeline(str(learnt["square"]), device="cpu", top_k=None)
    for file, line in zip(files, lines[1:], strict=True):
        found = {answer["label"]: answer["score"] for answer in classify(str(file))}
        assert [found[name] for name in CLASSES] == pytest.approx([float(p) for p in line[2:]], abs=2e-6)
    right = [file.parent.name == line[1] for file, line in zip(files, lines[1:], strict=True)]
    assert sum(right) / len(right) == results(learnt["square"])["test_accuracy"]


def test_the_plain_pipeline_reads_the_saved_processor(learnt: dict[str, Path], folders: list[str]) -> None:
    classify: Any = pipeline("image-classification", str(learnt["cross_entropy"]), device="cpu")
    files = sorted(Path(folders[-1]).rglob("*.png"))
    assert [classify(str(file))[0]["label"] for file in files] == predictions(learnt["cross_entropy"])


def test_the_card_says_how_to_load_it(learnt: dict[str, Path], folders: list[str]) -> None:
    card = (learnt["square"] / "README.md").read_text()
    values = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert values["pipeline_tag"] == "image-classification" and "base_model" not in values
    assert "AutoModelForImageClassification.from_pretrained" in card
    assert card.count("import hf_squareloss.models  #") == 2
    assert folders[1] not in card and str(learnt["square"].parent) not in card


def test_the_same_command_again_trains_no_more(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    steps = ["--max_steps", "2", "--save_steps", "2"]
    assert "train_runtime" in run(*steps) and "train_runtime" not in run(*steps)
    with pytest.raises(ValueError, match="augmentations="):
        run(*steps, "--augmentations", "none")


def test_a_resumed_run_is_the_uninterrupted_one(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    """Its augmentation too, in the middle of an epoch of 8 steps."""
    steps = ["--max_steps", "20", "--save_steps", "5", "--do_train", "--augmentations", "crop", "flip"]
    run(*steps, name="whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for folder in (tmp_path / "cut").glob("checkpoint-*"):
        if int(folder.name.rpartition("-")[2]) > 10:
            shutil.rmtree(folder)
    (tmp_path / "cut" / "model.safetensors").unlink()
    run(*steps, name="cut")
    assert json.loads((tmp_path / "cut" / "trainer_state.json").read_text())["global_step"] == 20
    assert torch.equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    # In a fresh run as well, and with other numbers not.
    run(*steps, name="again")
    assert torch.equal(weights(tmp_path / "again"), weights(tmp_path / "whole"))
    run(*steps, "--seed", "1", name="other")
    assert not torch.equal(weights(tmp_path / "other"), weights(tmp_path / "whole"))


def test_hidden_test_labels_and_weights_by_name(
    run: Callable[..., dict[str, float]], folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    for file in Path(folders[-1]).rglob("*.png"):
        shutil.copy(file, tmp_path / "new" / file.name)
    found = run(*SHORT, "--test_dir", str(tmp_path / "new"), "--class_weights", "upright=3,across=1")
    assert found["test_samples"] == 24 and "test_accuracy" not in found
    assert len(predictions(tmp_path / "out")) == 24
    assert "Class weights: across=1, upright=3" in capsys.readouterr().out
    assert load_loss(tmp_path / "out").class_weights == (1.0, 3.0)


def test_training_goes_on_from_a_saved_model_and_evaluates_without_training(
    run: Callable[..., dict[str, float]], learnt: dict[str, Path], tmp_path: Path
) -> None:
    saved = ["--model_name_or_path", str(learnt["square"])]
    found = run("--do_predict", model=saved)
    assert found["test_accuracy"] == results(learnt["square"])["test_accuracy"]
    # As the comparison of losses calls it: with the options of the training beside.
    assert run("--do_predict", *saved)["test_accuracy"] == found["test_accuracy"]
    with pytest.raises(ValueError, match="model_type would be ignored"):
        run("--do_train", *saved, *SHORT)


@pytest.mark.parametrize(
    "model",
    [
        [*("--model_type", "resnet", "--config_overrides"), "embedding_size=8,hidden_sizes=[8,16],depths=[1,1]"],
        [
            *("--model_type", "vit", "--config_overrides", "image_size=8", "patch_size=4", "hidden_size=16"),
            *("num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=16"),
        ],
        ["--model_type", "tcnn", "--config_overrides", "hidden_size=8,num_hidden_layers=3"],
    ],
    ids=["resnet", "vit", "tcnn"],
)
def test_other_models_from_scratch(model: list[str], run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    assert run(*SHORT, model=model)["test_samples"] == 24
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["model_type"] == model[1] and config["hf_squareloss"]["loss"] == "square"
    assert json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())["size"]["height"] == 8
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("import hf_squareloss.models" in card) == (model[1] == "tcnn")


def test_two_workers_see_the_epoch(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    """Their copies of the rows are made once."""
    steps = [*SHORT, "--max_steps", "12", "--do_train", "--per_device_train_batch_size", "16"]
    run(*steps, name="alone")
    run(*steps, "--dataloader_num_workers", "2", "--dataloader_persistent_workers", "True", name="workers")
    assert torch.equal(weights(tmp_path / "workers"), weights(tmp_path / "alone"))
