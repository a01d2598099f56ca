"""Pipelines show the loss's own probabilities, where plain ones show something else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import CLASSES, make_model
from tiny_tokenizer import make_tokenizer
from transformers import PreTrainedModel, ViTImageProcessor, Wav2Vec2FeatureExtractor, pipeline

from hf_squareloss import CrossEntropy, Loss, SquareLoss, Squentropy, attach_loss, probability_pipeline

LOSSES: list[Loss] = [
    SquareLoss(k=2.0, M=3.0),
    CrossEntropy(),
    Squentropy(),
    CrossEntropy(label_smoothing=0.2, class_weights=(1.0, 2.0, 3.0, 4.0)),
]
TASKS = {"bert": "text-classification", "vit": "image-classification", "wav2vec2": "audio-classification"}


def tools(family: str) -> tuple[dict[str, Any], Any, Any]:
    """What a pipeline needs besides the model, one input, and what becomes of that input."""
    random = np.random.default_rng(0)
    if family == "bert":
        tokenizer = make_tokenizer()
        return {"tokenizer": tokenizer}, "two four", tokenizer("two four", return_tensors="pt")
    if family == "vit":
        processor = ViTImageProcessor(size={"height": 8, "width": 8}, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        image = Image.fromarray(random.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        return {"image_processor": processor}, image, processor(image, return_tensors="pt")
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=16000)
    audio = random.standard_normal(300).astype(np.float32)
    return {"feature_extractor": extractor}, audio, extractor(audio, sampling_rate=16000, return_tensors="pt")


def make(family: str, loss: Loss) -> PreTrainedModel:
    config = {"num_channels": 3} if family == "vit" else {}
    return attach_loss(make_model(family, **config), loss)


def by_class(shown: list[Any]) -> list[float]:
    if len(shown) == 1:  # the text pipeline gives a list for each of its texts
        shown = shown[0]
    values = {row["label"]: row["score"] for row in shown}
    return [values[f"LABEL_{c}"] for c in range(CLASSES)]


@pytest.mark.parametrize("loss", LOSSES, ids=["square", "cross_entropy", "squentropy", "smoothed"])
@pytest.mark.parametrize("family", TASKS)
def test_scores_are_the_losses_probabilities(family: str, loss: Loss, tmp_path: Path) -> None:
    needs, raw, inputs = tools(family)
    model = make(family, loss)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = loss.probabilities(model(**inputs).logits)[0].tolist()
    for source in (str(tmp_path), model):
        shown = by_class(probability_pipeline(source, top_k=None, **needs)(raw))
        assert shown == pytest.approx(expected, abs=1e-6)
        assert sum(shown) == pytest.approx(1.0)
        plain = by_class(pipeline(TASKS[family], model=source, top_k=None, **needs)(raw))
        softmax = type(loss) in (CrossEntropy, Squentropy) and not loss.label_smoothing
        assert (plain == pytest.approx(expected, abs=1e-3)) == softmax


def test_multi_label_classes_have_probabilities_of_their_own() -> None:
    needs, raw, inputs = tools("bert")
    for loss in (SquareLoss(), CrossEntropy()):
        model = attach_loss(make_model("bert", problem_type="multi_label_classification"), loss)
        with torch.no_grad():
            scores = model(**inputs).logits[0]
        expected = scores.clamp(0, 1) if isinstance(loss, SquareLoss) else scores.sigmoid()
        shown = by_class(probability_pipeline(model, top_k=None, **needs)(raw))
        assert shown == pytest.approx(expected.tolist(), abs=1e-6)


def test_batches() -> None:
    needs, raw, _ = tools("bert")
    classify = probability_pipeline(make("bert", LOSSES[0]), **needs)
    rows = classify([raw, "ten nine eight seven"], batch_size=2)
    assert rows[0]["score"] == pytest.approx(classify(raw)[0]["score"], abs=1e-6)


def test_refusals(tmp_path: Path) -> None:
    needs, *_ = tools("bert")
    with pytest.raises(ValueError, match="hf_squareloss"):
        probability_pipeline(make_model("bert"), **needs)
    with pytest.raises(ValueError, match="fill-mask"):
        probability_pipeline(make_model("bert_masked"), task="fill-mask", **needs)
    with pytest.raises(ValueError, match="token-classification"):
        probability_pipeline(make_model("bert_tokens"), **needs)
