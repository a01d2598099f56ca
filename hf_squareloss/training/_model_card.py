"""Model cards: what was trained, with which loss, how well, and how to read its scores."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from hf_squareloss._markdown import markdown_table, markdown_text
from hf_squareloss.losses import Loss

_CLASSIFICATION = ("accuracy", "f1", "matthews_correlation", "precision", "recall")
_PIPELINES = {
    **dict.fromkeys(("text-classification", "image-classification", "audio-classification"), ", top_k=None"),
    "token-classification": ', aggregation_strategy="simple"',
    "multiple-choice": "",
}
_SOURCES = {"validation": "items of the evaluation set", "given": "items"}
_SPEECH = ("wer", "cer")
_REGRESSION = ("pearson", "spearmanr", "mse")


def model_card(
    *,
    repo_id: str,
    loss: Loss,
    metrics: Mapping[str, float],
    task: str | None = "text-classification",
    auto_class: str = "AutoModelForSequenceClassification",
    dataset_name: str = "unknown",
    dataset: str | None = None,
    base_model: str | None = None,
    training: Mapping[str, Any] | None = None,
    regression: bool = False,
    adapter: bool = False,
    scores: str = "logits",
    module: str | None = None,
    picture: str | None = None,
    language: str | None = None,
    license: str | None = None,
    tags: list[str] | None = None,
) -> str:
    """The README.md of a trained model, with the Hub's metadata.

    Args:
        repo_id: the model's name on the Hub, "user/name".
        loss: the loss it was trained with.
        metrics: evaluation metrics of this run by name, without prefix; ece, brier and nll are calibration.
        task: the Hub's pipeline tag; None where there is none.
        auto_class: the transformers class that loads the model.
        dataset_name: a readable name of the data; a folder or file of this machine becomes "local files".
        dataset: the data set's Hub name, if it has one; a folder is left out.
        base_model: the Hub name of the model it was fine-tuned from, or a folder, which is left out.
        training: settings shown as a table (learning rate, epochs, seed, ...).
        regression: the model predicts one real value.
        adapter: what is saved is PEFT's adapter of the base model.
        scores: what the model calls its scores.
        module: what must be imported before transformers knows the model's class.
        picture: a file beside the card with the reliability diagram of the scores that the loss was calibrated with.
    """
    dataset = dataset if dataset and _is_hub_name(dataset) else None
    dataset_name = "local files" if _is_local(dataset_name) else dataset_name
    results = [
        EvalResult(
            task_type=task or "other",
            dataset_type=dataset or "local",
            dataset_name=dataset_name,
            metric_type=name,
            metric_value=round(float(metrics[name]), 6),
        )
        for name in _CLASSIFICATION + _REGRESSION + _SPEECH
        if name in metrics and math.isfinite(metrics[name])
    ]
    data = ModelCardData(
        language=language,
        license=license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=task,
        tags=["hf_squareloss", loss.name.replace("_", "-"), *(tags or [])],
        datasets=[dataset] if dataset else None,
        base_model=base_model if base_model and _is_hub_name(base_model) else None,
        model_name=repo_id.split("/")[-1],
        eval_results=results or None,
    )
    parameters = {key: value for key, value in loss.to_dict().items() if key not in ("loss", "calibration")}
    described = f"`{loss.name}`" + "".join(f", {key} = {markdown_text(value)}" for key, value in parameters.items())
    sections = [
        f"---\n{data.to_yaml()}\n---",
        f"# {markdown_text(repo_id.split('/')[-1])}",
        f"Trained on {markdown_text(dataset_name)} with the loss {described}, by the package hf_squareloss.",
    ]
    if metrics:
        rows = [(name, f"{value:.4f}") for name, value in metrics.items()]
        sections.append("## Evaluation\n\n" + _table(("metric", "value"), rows))
    sections.append(
        _reading(repo_id, loss, task, auto_class, regression=regression, adapter=adapter, scores=scores, module=module)
    )
    if picture is not None:
        sections.append(f"![Accuracy against confidence, on the evaluation set]({picture})")
    if training:
        sections.append("## Training\n\n" + _table(("setting", "value"), list(training.items())))
    if loss.citation:
        sections.append(f"## Citation\n\n{loss.citation}")
    return "\n\n".join(sections) + "\n"


def registering_module(model: Any) -> str | None:
    """The module of ours whose import registers this model with transformers; None for models that it knows."""
    package, *rest = type(model).__module__.split(".")
    return f"{package}.{rest[0]}" if package == "hf_squareloss" else None


def _reading(
    repo_id: str,
    loss: Loss,
    task: str | None,
    auto_class: str,
    *,
    regression: bool,
    adapter: bool,
    scores: str,
    module: str | None,
) -> str:
    if regression:
        return "## Reading the scores\n\nThe one score is the predicted value."
    name = json.dumps(repo_id)
    first = f"import {module}  # which makes the model known to transformers\n" if module else ""
    folded = loss.calibration is not None and loss.calibration.folded_into is not None
    # What transformers' own pipelines can load and read.
    plain = folded and task in _PIPELINES and task != "multiple-choice" and not adapter and scores == "logits"
    call = f'pipeline("{task}", model={name}' if plain else f"probability_pipeline({name}"
    pipe = f"""```python
{first}from {"transformers import pipeline" if plain else "hf_squareloss import probability_pipeline"}

classify = {call}{_PIPELINES.get(task or "")})
```

or, with scores of your own:

"""
    if plain:
        function = "sigmoid()" if loss.multi_label else "softmax(-1)"
        return f"""## Probabilities

{_explained(loss)}

{pipe}```python
{first}from transformers import {auto_class}

model = {auto_class}.from_pretrained({name})
probabilities = model(**inputs).{scores}.{function}
```"""
    names, config = ("load_config, load_loss", f", config=load_config({name})") if adapter else ("load_loss", "")
    return f"""## Probabilities

{_explained(loss)}

{pipe if task in _PIPELINES else ""}```python
{first}from hf_squareloss import {names}
from transformers import {auto_class}

model = {auto_class}.from_pretrained({name}{config})
probabilities = load_loss(model).probabilities(model(**inputs).{scores})
```"""


def _explained(loss: Loss) -> str:
    """What the model's scores are, and what makes probabilities of them."""
    function, calibration = "sigmoid" if loss.multi_label else "softmax", loss.calibration
    weighted = " Class weights are undone: the probabilities are of the data as it is." if loss.class_weights else ""
    if calibration is None:
        undone = " once label smoothing or class weights are undone" if loss.label_smoothing or weighted else ""
        if loss.scores_are_logits:
            return f"A {function} of the model's scores gives probabilities{undone}."
        return (
            "The model gives raw scores, one per class. Their largest is the prediction; a softmax of them is not a "
            "probability."
        )
    rows = "by the loss's rule, since no scores were held out"
    if calibration.source != "rule":
        rows = f"fitted to {calibration.items:,} {_SOURCES[calibration.source]}"
    if calibration.folded_into is not None:
        return (
            f"A {function} of the model's scores is the probability of each class. The scores are those of the loss "
            f"times {calibration.T:.4g}, {rows}; the factor is in the weights of `{calibration.folded_into}`.{weighted}"
        )
    return (
        f"The model gives raw scores. A {function} of {calibration.T:.4g} times the scores is the probability of each "
        f"class; the factor is {rows}.{weighted}"
    )


def _table(header: tuple[str, str], rows: list[tuple[Any, Any]]) -> str:
    return markdown_table(header, [[markdown_text(cell) for cell in row] for row in rows])


def _is_hub_name(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return not Path(name).exists()


def _is_local(name: str) -> bool:
    """Whether a title is a path: one that exists or is absolute, here or on Windows, or begins as one."""
    absolute = PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute()
    return absolute or name.startswith(("~", "./", "../", "file:")) or Path(name).exists()
