"""Cards: metadata the Hub can read, and a text that says what was trained and how to read the scores."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from contract import ONE_EACH, title
from huggingface_hub import ModelCard
from loopback_hub import card_errors
from tiny_models import arguments, make_examples, make_model

from hf_squareloss import CrossEntropy, Loss, SquareLoss, SquareLossTrainer
from hf_squareloss.training import model_card

METRICS = {"loss": 0.25, "accuracy": 0.8765432198, "f1": 0.75, "ece": 0.125, "brier": 0.5, "nll": 0.7}
SQUARE = SquareLoss(k=2.0, M=4.0)


def make(loss: Loss = SQUARE, metrics: dict[str, float] = METRICS, **changes: Any) -> str:
    training = {"learning rate": 2e-05, "seed": 7}
    known: dict[str, Any] = {"repo_id": "user/my-model", "dataset_name": "GLUE MRPC", "training": training}
    return model_card(loss=loss, metrics=metrics, **{**known, **changes})


def metadata(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))


def test_metadata_is_yaml_that_the_hub_reads() -> None:
    card = make(dataset="nyu-mll/glue", base_model="google/bert", language="en", license="apache-2.0", tags=["mine"])
    values = metadata(card)
    assert values["library_name"] == "transformers"
    assert values["pipeline_tag"] == "text-classification"
    assert values["tags"] == ["hf_squareloss", "square", "mine"]
    assert values["datasets"] == ["nyu-mll/glue"]
    assert values["base_model"] == "google/bert"
    assert (values["language"], values["license"]) == ("en", "apache-2.0")
    assert [entry["name"] for entry in values["model-index"]] == ["my-model"]


def test_metadata_survives_the_hub_client(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(make(dataset="nyu-mll/glue"))
    card = ModelCard.load(tmp_path / "README.md")
    results = {result.metric_type: result for result in card.data.eval_results}  # type: ignore[attr-defined]
    assert {name: result.metric_value for name, result in results.items()} == {"accuracy": 0.876543, "f1": 0.75}
    assert results["accuracy"].dataset_type == "nyu-mll/glue"
    assert results["accuracy"].dataset_name == "GLUE MRPC"
    card.save(tmp_path / "again.md")
    assert ModelCard.load(tmp_path / "again.md").data.to_dict() == card.data.to_dict()
    assert ModelCard.load(tmp_path / "again.md").text == card.text


def test_text_has_the_loss_the_metrics_and_the_settings() -> None:
    card = make()
    assert "`square`, k = 2.0, M = 4.0" in card
    assert all(f"| {name} | {value:.4f} |" in card for name, value in METRICS.items())
    assert "| learning rate | 2e-05 |" in card
    assert "| seed | 7 |" in card
    smoothed = make(SquareLoss(k=2.0, M=4.0, label_smoothing=0.1, class_weights=(1.0, 3.0)))
    assert "label_smoothing = 0.1" in smoothed
    assert "(1.0, 3.0)" in smoothed or "[1.0, 3.0]" in smoothed
    assert "label_smoothing" not in card


@pytest.mark.parametrize("loss", [SQUARE, *ONE_EACH], ids=title)
def test_how_to_get_probabilities_and_the_citation(loss: Loss) -> None:
    card = make(loss)
    assert 'probability_pipeline("user/my-model"' in card
    assert "load_loss(model).probabilities(" in card
    assert ("a softmax of them is not a probability" in card) == (not loss.scores_are_logits)
    assert ("## Citation" in card) == bool(loss.citation)
    assert loss.citation in card


def test_which_function_of_the_scores_is_a_probability() -> None:
    assert "A softmax of the model's scores gives probabilities." in make(CrossEntropy())
    assert "A sigmoid of the model's scores gives probabilities." in make(CrossEntropy(multi_label=True))
    assert "probabilities once label smoothing" in make(CrossEntropy(label_smoothing=0.1))


@pytest.mark.parametrize("base", ["{folder}", "relative/folder", "/somewhere/else", "a/b/c", None])
def test_a_folder_is_no_base_model(base: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "relative" / "folder").mkdir(parents=True)
    assert (
        metadata(make(base_model="relative/folder"))["base_model"] == "relative/folder"
    )  # a name, seen from elsewhere
    monkeypatch.chdir(tmp_path)
    card = make(base_model=base and base.format(folder=tmp_path))
    assert "base_model" not in metadata(card)
    assert str(tmp_path) not in card


@pytest.mark.parametrize("metrics", [{"pearson": 0.9, "spearmanr": 0.8}, {"mse": 0.5}])
def test_a_regression_card_speaks_of_values(metrics: dict[str, float]) -> None:
    card = make(metrics=metrics, regression=True)
    assert "predicted value" in card and "predicted value" not in make(metrics=metrics)
    assert "probabilit" not in card.lower()
    (model,) = metadata(card)["model-index"]
    found = {metric["type"]: metric["value"] for result in model["results"] for metric in result["metrics"]}
    assert found == metrics


def test_numbers_that_are_none_stay_out_of_the_metadata() -> None:
    card = make(metrics={"pearson": float("nan"), "mse": 0.5})
    assert ".nan" not in card.split("\n---\n")[0]
    assert "| pearson | nan |" in card


def test_without_an_evaluation() -> None:
    card = make(metrics={})
    assert "## Evaluation" not in card
    assert "model-index" not in metadata(card)
    assert "## Evaluation" in make()


NASTY = "a\n---\n| b | \"c\" 'd' <script>alert(1)</script> ```` ` [x](http://evil) \\ ![y](z) #: {e} \u2028 \x07"


def test_no_name_breaks_the_card_or_does_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    # a parameter that is a text
    monkeypatch.setattr(CrossEntropy, "to_dict", lambda loss: {"loss": "cross_entropy", "word": NASTY})
    card = make(
        CrossEntropy(),
        {**METRICS, NASTY: 0.5},
        repo_id=NASTY,
        dataset_name=NASTY,
        training={NASTY: NASTY},
        tags=[NASTY],
    )
    values = metadata(card)
    assert values["tags"][-1] == values["model-index"][0]["results"][0]["dataset"]["name"] == NASTY
    assert card_errors(card) == []
    blocks = re.findall(r"```python\n(.*?)\n```", card, re.DOTALL)
    assert len(blocks) == 2 and card.count("\n```") == 4
    for block in blocks:
        texts = [node.value for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Constant)]
        assert NASTY in texts  # one text, however it is written
    text = re.sub(r"```python\n.*?\n```", "", card.split("\n---\n\n# ", 1)[1], flags=re.DOTALL)
    assert "<script" not in text and "[x](http" not in text and "[y](z" not in text and "## Training" in text
    for line in text.splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == (3 if line.startswith("|") else 0)


@pytest.mark.parametrize(
    "path", ["{folder}", "{folder}/gone", "C:\\data\\mine", "~/data", "./data", "../data", "relative/folder"]
)
def test_a_path_of_this_machine_is_in_no_card(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "relative" / "folder").mkdir(parents=True)
    path = path.format(folder=tmp_path)
    card = make(dataset_name=path, dataset=path)
    assert path not in card and "Trained on local files" in card and "datasets" not in metadata(card)
    (model,) = metadata(card)["model-index"]
    assert model["results"][0]["dataset"] == {"type": "local", "name": "local files"}
    assert "relative/other" in make(dataset_name="relative/other", dataset="relative/other")  # a name of the Hub


def test_a_card_shows_the_metrics_that_are_numbers(tmp_path: Path) -> None:
    def metrics(_: Any) -> dict[str, Any]:
        return {"accuracy": 0.5, "confusion": [[1, 2], [3, 4]], "missing": None}

    model = make_model("bert")
    model.config._name_or_path = "someone/small-encoder"
    examples = make_examples("bert")
    trainer = SquareLossTrainer(
        model, arguments(tmp_path, max_steps=1), train_dataset=examples, eval_dataset=examples, compute_metrics=metrics
    )
    trainer.train()
    trainer.evaluate()
    trainer.create_model_card()
    card = (tmp_path / "README.md").read_text()
    assert "accuracy" in card and "confusion" not in card
    assert "base_model: someone/small-encoder" in card
