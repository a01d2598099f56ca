"""Pipelines show the loss's own probabilities, where plain ones show something else."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from contract import ONE_EACH, title
from PIL import Image
from tiny_models import CLASSES, make_model
from tiny_tokenizer import make_tokenizer
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    ViTImageProcessor,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
    pipeline,
)
from transformers.pipelines import video_classification

from hf_squareloss import CrossEntropy, Loss, SquareLoss, attach_loss, load_loss, probability_pipeline
from hf_squareloss.inference import ctc_greedy, probability_generation

LOSSES: list[Loss] = [
    SquareLoss(k=2.0, M=3.0),
    *ONE_EACH,
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


@pytest.mark.parametrize("loss", LOSSES, ids=title)
@pytest.mark.parametrize("family", TASKS)
def test_scores_are_the_losses_probabilities(family: str, loss: Loss, tmp_path: Path) -> None:
    needs, raw, inputs = tools(family)
    model = make(family, loss)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        expected = loss.probabilities(model(**inputs).logits)[0].tolist()
    for source in (str(tmp_path), model):
        shown = by_class(probability_pipeline(source, top_k=None, **needs)(raw))  # type: ignore[arg-type]
        assert shown == pytest.approx(expected, abs=1e-6)
        assert sum(shown) == pytest.approx(1.0)
        plain = by_class(pipeline(TASKS[family], model=source, top_k=None, **needs)(raw))  # type: ignore
        softmax = loss.scores_are_logits and not loss.label_smoothing
        assert (plain == pytest.approx(expected, abs=1e-3)) == softmax


def test_multi_label_classes_have_probabilities_of_their_own() -> None:
    needs, raw, inputs = tools("bert")
    for loss in (SquareLoss(), CrossEntropy()):
        model = attach_loss(make_model("bert", problem_type="multi_label_classification"), loss)
        with torch.no_grad():
            scores = model(**inputs).logits[0]
        expected = scores.clamp(0, 1) if isinstance(loss, SquareLoss) else scores.sigmoid()
        shown = by_class(probability_pipeline(model, top_k=None, **needs)(raw))  # type: ignore[arg-type]
        assert shown == pytest.approx(expected.tolist(), abs=1e-6)


def test_batches() -> None:
    needs, raw, _ = tools("bert")
    classify = probability_pipeline(make("bert", LOSSES[0]), **needs)
    rows = classify([raw, "ten nine eight seven"], batch_size=2)
    assert rows[0]["score"] == pytest.approx(classify(raw)[0]["score"], abs=1e-6)  # type: ignore[arg-type, index]


# ---- speech recognition ---------------------------------------------------------------------------------------------
def save_whisper(folder: Path, loss: Loss) -> PreTrainedModel:
    """A random Whisper that hears one second, says letters, and was trained with `loss`."""
    special = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
    vocabulary = {token: i for i, token in enumerate(["<|pad|>", *"abcdefgh", *special])}
    tokenizer = WhisperTokenizer(
        vocab=vocabulary, merges=[], pad_token="<|pad|>", additional_special_tokens=special[1:]
    )
    config = WhisperConfig(
        **{"vocab_size": len(tokenizer), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 8},  # type: ignore
        **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
        **{"max_source_positions": 50, "max_target_positions": 12, "begin_suppress_tokens": None},
        **{"pad_token_id": 0, "bos_token_id": 9, "eos_token_id": 9, "decoder_start_token_id": 10},
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)
    model.generation_config = GenerationConfig(
        max_length=8, pad_token_id=0, bos_token_id=9, eos_token_id=9, decoder_start_token_id=10
    )
    attach_loss(model.eval(), loss)
    for part in (model, tokenizer, WhisperFeatureExtractor(feature_size=8, chunk_length=1)):
        part.save_pretrained(folder)
    return model


@pytest.mark.parametrize("loss", [LOSSES[0], CrossEntropy()], ids=title)
def test_an_encoder_decoder_searches_with_the_losses_probabilities(loss: Loss, tmp_path: Path) -> None:
    model: Any = save_whisper(tmp_path, loss)
    audio = np.random.default_rng(0).standard_normal(12000).astype(np.float32)
    ours: Any = probability_pipeline(str(tmp_path))
    stock: Any = pipeline("automatic-speech-recognition", model=str(tmp_path))
    inputs = ours.feature_extractor(audio, sampling_rate=16000, return_tensors="pt")
    with probability_generation(model):
        expected = model.generate(**inputs, num_beams=5)[0]  # the pipeline's default (5.23)
    text = ours.tokenizer.decode(expected, skip_special_tokens=True)
    assert ours(audio)["text"] == text != ""
    assert (stock(audio)["text"] == text) == isinstance(loss, CrossEntropy)
    assert stock(audio, generate_kwargs={"num_beams": 1}) == ours(audio, generate_kwargs={"num_beams": 1})


class Decoder:
    """Takes the place of a beam search with a language model, as pyctcdecode offers it."""

    def decode_beams(self, logits: np.ndarray) -> list[Any]:
        self.logits = logits
        return [("found",)]


@pytest.mark.parametrize("loss", LOSSES, ids=title)
def test_a_ctc_model_gives_its_largest_scores_or_a_decoder_log_probabilities(loss: Loss, tmp_path: Path) -> None:
    if loss.class_weights is not None:
        loss = CrossEntropy(label_smoothing=0.2)
    letters = [chr(ord("a") + i) for i in range(26)] + [chr(ord("A") + i) for i in range(21)]
    vocabulary = ["<pad>", "<unk>", "|", *letters]
    (tmp_path / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(tmp_path / "vocab.json"), bos_token=None, eos_token=None)  # type: ignore
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=16000)
    model: Any = attach_loss(make_model("wav2vec2_ctc", pad_token_id=0), loss)
    for part in (model, tokenizer, extractor):
        part.save_pretrained(tmp_path)
    audio = np.random.default_rng(0).standard_normal(400).astype(np.float32)
    with torch.no_grad():
        scores = model(**extractor(audio, sampling_rate=16000, return_tensors="pt")).logits
    (labels,) = ctc_greedy(scores, torch.tensor([scores.shape[1]]))
    text = "".join(vocabulary[c] for c in labels).replace("|", " ").strip()
    assert len(text) > 3
    assert pipeline("automatic-speech-recognition", model=str(tmp_path))(audio)["text"].strip() == text  # type: ignore
    assert probability_pipeline(str(tmp_path))(audio)["text"].strip() == text  # type: ignore
    decoder = Decoder()
    assert probability_pipeline(str(tmp_path), decoder=decoder)(audio)["text"] == "found"  # type: ignore
    torch.testing.assert_close(torch.from_numpy(decoder.logits), load_loss(model).probabilities(scores[0]).log())


def test_refusals(tmp_path: Path) -> None:
    needs, *_ = tools("bert")
    with pytest.raises(ValueError, match="hf_squareloss"):
        probability_pipeline(make_model("bert"), **needs)
    with pytest.raises(ValueError, match="fill-mask"):
        probability_pipeline(make_model("bert_masked"), task="fill-mask", **needs)
    with pytest.raises(ValueError, match="token-classification"):
        probability_pipeline(make_model("bert_tokens"), **needs)


# ---- videos ----------------------------------------------------------------------------------------------------------
def video_model(family: str) -> Any:
    size: dict[str, Any] = {"image_size": 16, "num_frames": 2, "hidden_size": 32, "intermediate_size": 32}
    torch.manual_seed(0)
    if family == "vivit":
        layers = {"num_hidden_layers": 1, "num_attention_heads": 2, "tubelet_size": [2, 8, 8]}
        return tf.VivitForVideoClassification(tf.VivitConfig(**size, **layers, num_labels=CLASSES)).eval()
    layers = {"num_spatial_layers": 1, "num_temporal_layers": 1, "num_attention_heads": 2, "tubelet_size": [1, 8, 8]}
    config = tf.VideoPrismVisionConfig(**size, **layers, patch_size=8, num_labels=CLASSES)
    return tf.VideoPrismForVideoClassification(config).eval()


@pytest.mark.parametrize("family", ["vivit", "videoprism"])
def test_videos(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyAV, which opens the files, and torchvision, which video processors need, are not installed for the tests."""
    model, loss = video_model(family), SquareLoss(k=2.0, M=3.0)
    name = "pixel_values" if family == "vivit" else "pixel_values_videos"

    def processor(video: Any, **options: Any) -> Any:
        assert options["num_frames"] == 2
        return tf.BatchFeature({name: video})

    monkeypatch.setattr(video_classification, "requires_backends", lambda *_: None)
    classify: Any = probability_pipeline(attach_loss(model, loss), video_processor=processor, top_k=CLASSES)
    video = torch.randn(1, 2, 3, 16, 16)
    with torch.no_grad():
        expected = loss.probabilities(model(**{name: video}).logits).flatten().tolist()
    shown = {row["label"]: row["score"] for row in classify(video)}
    assert [shown[label] for label in model.config.id2label.values()] == pytest.approx(expected, abs=1e-6)
    assert sum(expected) == pytest.approx(1.0)


@pytest.mark.skipif(find_spec("av") is not None, reason="PyAV is installed")
def test_videos_without_pyav() -> None:
    with pytest.raises(ImportError, match="av"):
        probability_pipeline(attach_loss(video_model("vivit")), video_processor=object())
