"""The pipeline for multiple choice shows the loss's own probability of each choice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from contract import ONE_EACH, title
from tiny_models import make_model
from tiny_tokenizer import make_tokenizer

from hf_squareloss import CrossEntropy, Loss, SquareLoss, attach_loss, probability_pipeline

QUESTION = {"context": "one two", "choices": ["three", "five six", "ten"]}


@pytest.mark.parametrize("loss", [SquareLoss(k=2.0, M=3.0), *ONE_EACH], ids=title)
def test_scores_are_the_losses_probabilities(loss: Loss, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    model: Any = attach_loss(make_model("bert_choice"), loss)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    pairs = [[QUESTION["context"]] * 3, QUESTION["choices"]]
    inputs = tokenizer(*pairs, padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = model(**{name: values.unsqueeze(0) for name, values in inputs.items()}).logits
    expected = loss.probabilities(scores)[0].tolist()
    sources: list[tuple[Any, dict[str, Any]]] = [
        (str(tmp_path), {}),
        (tmp_path, {"task": "multiple-choice"}),
        (model, {"tokenizer": tokenizer}),
    ]
    choose: Any = None
    found: Any = None
    for source, needs in sources:
        choose = probability_pipeline(source, **needs)
        found = choose(QUESTION)
        assert [row["label"] for row in found] == QUESTION["choices"]
        assert [row["score"] for row in found] == pytest.approx(expected, abs=1e-6)
        assert sum(row["score"] for row in found) == pytest.approx(1.0)
    first, second = choose([QUESTION, {**QUESTION, "choices": ["ten", "one"]}])  # as many choices as one likes
    assert first == found and len(second) == 2


def test_refusals() -> None:
    model: Any = make_model("bert_choice")
    with pytest.raises(ValueError, match="hf_squareloss"):
        probability_pipeline(model, tokenizer=make_tokenizer())
    with pytest.raises(ValueError, match="give the model's tokenizer"):
        probability_pipeline(attach_loss(make_model("bert_choice"), CrossEntropy()))
    with pytest.raises(ValueError, match="top_k would be ignored"):
        probability_pipeline(attach_loss(model, CrossEntropy()), tokenizer=make_tokenizer(), top_k=None)
