"""examples/run_glue.py with recurrent models from scratch: vocabulary, vectors, pipeline, resuming, card."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import QUIET, load_example, predictions, results
from glue_runs import weights
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_squareloss import probability_pipeline

run_glue = load_example("run_glue")
SIZES = ["--config_overrides", "hidden_size=8,embedding_size=16"]
LEARN = ["--learning_rate", "1e-2", "--num_train_epochs", "8", "--save_strategy", "no"]


@pytest.fixture
def run_new(files: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    def with_defaults(*argv: str, name: str = "out") -> dict[str, float]:
        return run_glue.main([*files, "--output_dir", str(tmp_path / name), *QUIET, *argv])

    return with_defaults


@pytest.mark.parametrize("kind", ["lstm_attention", "lstm_cnn"])
def test_the_toy_task_is_learnt(kind: str, run_new: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    given = ["--model_type", kind, *SIZES]
    found = run_new(*given, *LEARN, "--do_train", "--do_eval", "--do_predict")
    assert found["test_accuracy"] > 0.85
    folder = tmp_path / "out"
    classify: Any = probability_pipeline(str(folder), top_k=None)
    (answer,) = classify(["Superb, a lovely film"])
    assert answer[0]["label"] == "good" and sum(part["score"] for part in answer) == pytest.approx(1.0)
    card = (folder / "README.md").read_text()
    assert "import hf_squareloss.models" in card and "AutoModelForSequenceClassification" in card
    assert "pipeline_tag: text-classification" in card
    # The test part later, by the same options and the trained model, as the comparison of losses asks for it.
    before = predictions(folder)
    run_new(*given, *LEARN, "--do_predict", "--model_name_or_path", str(folder))
    assert predictions(folder) == before
    with pytest.raises(ValueError, match="hidden_size=4 would be ignored"):
        run_new(
            "--model_type",
            kind,
            "--config_overrides",
            "hidden_size=4",
            "--do_eval",
            "--model_name_or_path",
            str(folder),
            name="other",
        )


def test_vectors_from_a_file(
    run_new: Callable[..., dict[str, float]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vectors.txt").write_text("superb 1 2 3\nnowhere 4 5 6\n")
    given = ["--model_type", "lstm_attention", "--config_overrides", "hidden_size=8", "--learning_rate", "0"]
    found = run_new(*given, "--word_vectors", str(tmp_path / "vectors.txt"), "--max_steps", "1")
    assert "1 of 29 words have a vector" in capsys.readouterr().out and "eval_accuracy" in found
    model: Any = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    place = AutoTokenizer.from_pretrained(tmp_path / "out").convert_tokens_to_ids("superb")
    assert model.embed_tokens.weight[place].tolist() == [1.0, 2.0, 3.0]
    (tmp_path / "vectors.txt").write_text("superb 1 2 4\n")
    with pytest.raises(ValueError, match="model before training"):  # other vectors, another run
        run_new(*given, "--word_vectors", str(tmp_path / "vectors.txt"), "--max_steps", "1")


def test_a_killed_run_resumes(run_new: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    given = ["--model_type", "lstm_cnn", *SIZES, "--max_steps", "4", "--save_strategy", "steps", "--save_steps", "2"]
    run_new(*given, name="whole")
    run_new(*given, name="killed")
    folder = tmp_path / "killed"
    for left in [*folder.glob("*.safetensors"), *folder.glob("checkpoint-4/*"), *folder.glob("*_results.json")]:
        left.unlink()
    (folder / "checkpoint-4").rmdir()
    run_new(*given, name="killed")
    assert torch.equal(weights(folder), weights(tmp_path / "whole"))
    assert results(folder)["eval_nll"] == results(tmp_path / "whole")["eval_nll"]


def test_what_cannot_be_made(run_new: Callable[..., dict[str, float]], files: list[str]) -> None:
    with pytest.raises(ValueError, match="lstm has no text classifier"):
        run_new("--model_type", "lstm")
    with pytest.raises(ValueError, match="--train_file"):
        run_glue.main([*files[2:], "--model_type", "lstm_cnn", *QUIET])
    with pytest.raises(ValueError, match="no model type is called 'lstm_cn'.*lstm_cnn"):
        run_new("--model_type", "lstm_cn")
