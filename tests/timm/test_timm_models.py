"""Models of timm through transformers' TimmWrapper: from scratch, from files that timm wrote, saved and read back."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from example_scripts import QUIET, load_example, results
from picture_files import CLASSES, LEARN, SHORT, write_pictures
from timm.models import save_for_hf
from transformers import AutoConfig, AutoModelForImageClassification, TimmWrapperForImageClassification, pipeline

from hf_squareloss import SquareLoss, attach_loss, load_loss

SIZES = {"train": 64, "validation": 16, "test": 16}
SCRATCH = ["--model_type", "timm_wrapper", "--image_size", "32", "--config_overrides"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_pictures(tmp_path_factory.mktemp("pictures"), SIZES)


def run(folders: list[str], output_dir: Path, *options: str) -> dict[str, float]:
    given = [*folders, *QUIET, "--loss", "square", "--do_train", "--do_eval", "--do_predict", *options]
    load_example("run_image_classification").main([*given, "--output_dir", str(output_dir)])
    return results(output_dir)


def require_the_pipelines_numbers(folder: Path, test: Path) -> None:
    """A softmax of the saved model's scores, as transformers' own pipeline takes it, is what was predicted."""
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert isinstance(model, TimmWrapperForImageClassification)
    assert tuple(model.config.id2label.values()) == CLASSES
    assert load_loss(folder).calibration is not None
    classify = pipeline("image-classification", model=str(folder), device="cpu")
    with (folder / "test_predictions.tsv").open(encoding="utf8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    files = sorted(test.rglob("*.png"))
    assert len(rows) == len(files) == SIZES["test"]
    for row, path in zip(rows, files, strict=True):
        found = {each["label"]: each["score"] for each in classify(str(path))}
        assert found == {name: pytest.approx(float(row[f"p({name})"]), abs=2e-5) for name in CLASSES}


def test_a_model_from_scratch(folders: list[str], tmp_path: Path) -> None:
    found = run(folders, tmp_path / "out", *LEARN, *SCRATCH, "architecture=resnet10t")
    assert found["test_accuracy"] > 0.9
    require_the_pipelines_numbers(tmp_path / "out", Path(folders[-1]))
    written = (tmp_path / "out" / "test_predictions.tsv").read_text()
    arguments = [*folders, *QUIET, "--model_name_or_path", str(tmp_path / "out"), "--do_predict"]
    load_example("run_image_classification").main([*arguments, "--output_dir", str(tmp_path / "again")])
    assert (tmp_path / "again" / "test_predictions.tsv").read_text() == written


def test_weights_that_timm_wrote(folders: list[str], tmp_path: Path) -> None:
    """Its own format names the number of classes twice, and the image processor lies in config.json."""
    save_for_hf(timm.create_model("resnet10t", num_classes=5), tmp_path / "timm", safe_serialization=True)
    written = json.loads((tmp_path / "timm" / "config.json").read_text())
    assert written["model_args"]["num_classes"] == 5
    given = ["--model_name_or_path", str(tmp_path / "timm"), *SHORT]
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        run(folders, tmp_path / "out", *given)
    run(folders, tmp_path / "out", *given, "--ignore_mismatched_sizes")
    require_the_pipelines_numbers(tmp_path / "out", Path(folders[-1]))


@pytest.mark.parametrize("architecture", ["wide_resnet50_2", "efficientnet_b0", "vit_tiny_patch16_224"])
def test_the_loss_is_the_formula_and_moves_the_head(architecture: str) -> None:
    k, M, labels = 3.0, 2.0, [2, 0, 3]
    sized: dict[str, Any] = {"model_args": {"img_size": 32}} if architecture.startswith("vit") else {}
    torch.manual_seed(0)
    config = AutoConfig.for_model("timm_wrapper", architecture=architecture, num_labels=4, **sized)
    model = attach_loss(AutoModelForImageClassification.from_config(config), SquareLoss(k=k, M=M))
    output = model(torch.randn(3, 3, 32, 32), labels=torch.tensor(labels))
    assert output.logits.shape == (3, 4)
    total = 0.0
    for scores, label in zip(output.logits.double().tolist(), labels, strict=True):
        for c, f in enumerate(scores):
            total += (k * (f - M) ** 2 if c == label else f**2) / 4
    assert output.loss.item() == pytest.approx(total / 3, rel=1e-5)
    output.loss.backward()
    head = model.timm_model.get_classifier()
    assert head.weight.shape[0] == 4 and head.weight.grad.norm() > 0
