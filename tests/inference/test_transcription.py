"""From audio to text with a CTC model, against transformers' pipeline and every alignment written out."""

import itertools
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from ctc_models import FAMILIES, make_ctc_model, make_utterances
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
    pipeline,
)

from hf_squareloss import attach_loss, load_loss, transcribe
from hf_squareloss.heads import Head
from hf_squareloss.inference import class_tokens, ctc_beam_search, ctc_greedy
from hf_squareloss.recipes.ctc_data import character_tokenizer

RATE = 16_000
MASKED = Wav2Vec2FeatureExtractor(return_attention_mask=True)


def tokenizer_of(letters: str) -> Any:
    """The letters, the space, an unknown one, and the blank, which is the last class."""
    return character_tokenizer([letters], unk_token="[UNK]", pad_token="[PAD]", word_delimiter_token="|")


def speaking(letters: str, loss: str = "square", **changes: Any) -> tuple[Any, Any]:
    """A model whose random scores differ from frame to frame, and its tokenizer."""
    tokenizer = tokenizer_of(letters)
    sizes = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, "feat_extract_norm": "layer"}
    model: Any = make_ctc_model("wav2vec2", **{**sizes, "conv_bias": True, "do_stable_layer_norm": True, **changes})
    with torch.no_grad():
        model.lm_head.weight *= 40.0
    return attach_loss(model, loss), tokenizer


def recordings(*lengths: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    waves = [generator.normal(size=length) * np.sin(np.arange(length) / 40) for length in lengths]
    return [wave.astype(np.float32) for wave in waves]


# ---- against others -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_the_likeliest_path_is_the_pipeline_s_text(loss: str) -> None:
    model, tokenizer = speaking("abcdefgh", loss)
    audio = recordings(1200, 640, 3000)
    found = transcribe(model, audio, tokenizer=tokenizer, feature_extractor=MASKED, sampling_rate=RATE)
    stock: Any = pipeline(
        "automatic-speech-recognition", model=model, tokenizer=tokenizer, feature_extractor=MASKED, device="cpu"
    )
    assert found == [stock(wave.copy())["text"] for wave in audio]
    assert len(set(found)) == 3 and all(len(set(text)) > 2 for text in found)
    processor = Wav2Vec2Processor(MASKED, tokenizer)
    assert transcribe(model, audio, processor, sampling_rate=RATE) == found
    assert transcribe(model, [torch.from_numpy(wave) for wave in audio], processor, sampling_rate=RATE) == found
    assert transcribe(model, audio, processor, sampling_rate=RATE, batch_size=2) == found
    assert transcribe(model, [], processor, sampling_rate=RATE) == []


def best_labelling(p: Tensor, blank: int, bonus: Any = None) -> tuple[int, ...]:
    """The labels whose alignments have the largest sum of probabilities, one alignment at a time."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    table = p.double().numpy()
    for path in itertools.product(range(p.shape[1]), repeat=len(p)):
        labels = tuple(c for c, _ in itertools.groupby(path) if c != blank)
        found[labels] += table[range(len(p)), path].prod()
    return max(found, key=lambda labels: found[labels] * (1 if bonus is None else bonus(labels)))


@pytest.mark.parametrize("loss", ["square", "cross_entropy", "focal"])
def test_a_wide_beam_is_the_best_of_all_labellings(loss: str) -> None:
    model, tokenizer = speaking("a", loss)
    audio, blank = recordings(100, 120, 145), tokenizer.pad_token_id
    options: dict[str, Any] = {"tokenizer": tokenizer, "feature_extractor": MASKED, "sampling_rate": RATE}
    found = transcribe(model, audio, **options, beam_size=1000)
    few = transcribe(model, audio, **options, beam_size=1000, language_model=lambda prefix: np.full(4, -3.0))
    for wave, text, shorter in zip(audio, found, few, strict=True):
        with torch.no_grad():
            scores = model(**MASKED(wave, sampling_rate=RATE, return_tensors="pt")).logits[0]
        p = load_loss(model).probabilities(scores)
        expected = [best_labelling(p, blank), best_labelling(p, blank, lambda labels: np.exp(-3.0 * len(labels)))]
        assert [text, shorter] == [tokenizer.decode(list(labels), group_tokens=False) for labels in expected]
    assert "".join(found) > "".join(few) or found != few


def test_equal_neighbours_stay_two_letters() -> None:
    """The tokenizer would merge them a second time."""
    model, tokenizer = speaking("ab")
    path = torch.tensor([[4, 0, 0, 4, 0, 4, 1, 4]])
    scores = torch.nn.functional.one_hot(path, 5).float()

    class Fixed(type(model)):  # type: ignore[misc]
        def forward(self, **inputs: Any) -> Any:
            return {"logits": scores}

    fixed: Any = Fixed(model.config)
    for size in (None, 8):
        texts = transcribe(fixed, {"input_values": torch.zeros(1, 160)}, tokenizer=tokenizer, beam_size=size)
        assert texts == ["aab"]


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # transformers 5.24's WavLM
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_s_frames_and_blank(family: str) -> None:
    """The frames that the model's own loss is computed over."""
    model: Any = make_ctc_model(family)
    batch = make_utterances(model)
    seen: dict[str, Any] = {}

    def record(logits: Tensor, labels: Tensor, logit_lengths: Tensor, blank_token_id: int, **_: Any) -> Tensor:
        seen.update(lengths=logit_lengths, blank=blank_token_id)
        return logits.sum()

    model.loss_function = record
    with torch.no_grad():
        scores = model(**batch).logits
    mask = batch.get("attention_mask", batch.get("padding_mask"))
    assert mask is not None
    own = dict(seen)  # the beam search below needs the loss back
    expected = ctc_greedy(scores, own["lengths"], blank=own["blank"])
    assert ctc_greedy(scores, model=model, attention_mask=mask) == expected
    assert ctc_greedy(scores, model=model, input_lengths=mask.sum(-1)) == expected
    del model._loss_function
    attach_loss(model, "square")
    beams = ctc_beam_search(scores, loss=model, attention_mask=mask, beam_size=2)
    assert beams == ctc_beam_search(scores, own["lengths"], loss=load_loss(model), blank=own["blank"], beam_size=2)
    assert Head.of(model).blank == own["blank"]


# ---- inputs ---------------------------------------------------------------------------------------------------------
def test_the_model_s_inputs_and_their_mask() -> None:
    model, tokenizer = speaking("abcdefgh")
    audio = recordings(1200, 640)
    inputs = dict(MASKED(audio, sampling_rate=RATE, padding=True, return_tensors="pt"))
    alone = transcribe(model, audio, tokenizer=tokenizer, feature_extractor=MASKED, sampling_rate=RATE)
    labels = torch.zeros(2, 3, dtype=torch.long)
    assert transcribe(model, {**inputs, "labels": labels}, tokenizer=tokenizer) == alone
    no_mask = transcribe(model, {"input_values": inputs["input_values"]}, tokenizer=tokenizer)
    assert no_mask[0] == alone[0] and no_mask[1] != alone[1]  # the control: padding is read there


def test_a_model_without_a_mask_counts_its_frames_by_the_waveform() -> None:
    """What follows the shorter recording in the batch is not read."""
    model, tokenizer = speaking("abcdefgh", feat_extract_norm="group", do_stable_layer_norm=False)
    unmasked = Wav2Vec2FeatureExtractor(return_attention_mask=False)
    audio = recordings(1200, 640)
    inputs = unmasked(audio, sampling_rate=RATE, padding=True, return_tensors="pt")
    with torch.no_grad():
        scores = model(**inputs).logits
    expected = ctc_greedy(scores, model=model, input_lengths=torch.tensor([1200, 640]))
    found = transcribe(model, audio, tokenizer=tokenizer, feature_extractor=unmasked, sampling_rate=RATE, batch_size=2)
    assert found == [tokenizer.decode(labels, group_tokens=False) for labels in expected]
    assert expected[1] != ctc_greedy(scores, model=model)[1]


def test_the_model_is_as_before_and_has_no_dropout() -> None:
    model, tokenizer = speaking("abcdefgh", hidden_dropout=0.9)
    model.train()
    model.lm_head.eval()
    options: dict[str, Any] = {"tokenizer": tokenizer, "feature_extractor": MASKED, "sampling_rate": RATE}
    texts = [transcribe(model, recordings(1200), **options) for _ in range(2)]
    assert texts[0] == texts[1]
    assert model.training and model.wav2vec2.training and not model.lm_head.training


# ---- language models ------------------------------------------------------------------------------------------------
class Decoder:
    """Stands in for pyctcdecode's: remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[np.ndarray, int]] = []

    def decode(self, logits: np.ndarray, beam_width: int) -> str:
        self.given.append((logits, beam_width))
        return f"text {len(self.given)}"


def test_a_decoder_of_words_gets_the_loss_s_own_probabilities() -> None:
    model, tokenizer = speaking("abcdefgh")
    decoder, audio = Decoder(), recordings(1200, 640)
    options: dict[str, Any] = {"tokenizer": tokenizer, "feature_extractor": MASKED, "sampling_rate": RATE}
    assert transcribe(model, audio, **options, language_model=decoder, batch_size=2) == ["text 1", "text 2"]
    with torch.no_grad():
        scores = model(**MASKED(audio[0], sampling_rate=RATE, return_tensors="pt")).logits[0]
    p = torch.from_numpy(decoder.given[0][0]).exp()
    torch.testing.assert_close(p, load_loss(model).probabilities(scores), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(p, scores.softmax(-1), atol=0.01)
    assert len(decoder.given[1][0]) < len(decoder.given[0][0])  # no padding
    transcribe(model, audio, **options, language_model=decoder, beam_size=7)
    assert [width for _, width in decoder.given] == [100, 100, 7, 7]


def test_an_n_gram_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = speaking("ab", vocab_size=6)
    options: dict[str, Any] = {"tokenizer": tokenizer, "feature_extractor": MASKED, "sampling_rate": RATE}
    with pytest.raises(ValueError, match="there is no language model .*none.arpa"):
        transcribe(model, recordings(640), **options, language_model=tmp_path / "none.arpa")
    file = tmp_path / "words.arpa"
    file.write_text("")
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pyctcdecode kenlm"):
        transcribe(model, recordings(640), **options, language_model=str(file))
    made: list[Any] = []
    stand_in = ModuleType("pyctcdecode")
    stand_in.build_ctcdecoder = lambda *given: made.append(given) or Decoder()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kenlm", ModuleType("kenlm"))
    monkeypatch.setitem(sys.modules, "pyctcdecode", stand_in)
    assert transcribe(model, recordings(640), **options, language_model=str(file)) == ["text 1"]
    assert made == [(["a", "b", " ", "[UNK]", "", "[5]"], str(file))] == [(class_tokens(model, tokenizer), str(file))]


# ---- refused --------------------------------------------------------------------------------------------------------
def test_what_cannot_be_transcribed_is_refused() -> None:
    model, tokenizer = speaking("ab")
    processor, audio = Wav2Vec2Processor(MASKED, tokenizer), recordings(640)
    sizes: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 8}
    other: Any = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=8))
    inputs = {"input_values": torch.zeros(1, 640)}
    cases = (
        ((other, audio, processor), {}, "takes a CTC model, got BertForSequenceClassification.*probability_pipeline"),
        ((model, audio), {}, "needs a processor, or a tokenizer"),
        ((model, audio, processor), {"tokenizer": tokenizer}, "processor excludes"),
        ((model, audio, processor), {}, "waveforms need a sampling_rate"),
        ((model, audio), {"tokenizer": tokenizer, "sampling_rate": RATE}, "waveforms need a feature_extractor"),
        ((model, audio, processor), {"beam_size": 0, "sampling_rate": RATE}, "beam_size must be 1 or more"),
        ((model, audio, processor), {"batch_size": 0, "sampling_rate": RATE}, "batch_size must be 1 or more"),
        ((model, audio[0], processor), {"sampling_rate": RATE}, "list of waveforms"),
        ((model, [audio], processor), {"sampling_rate": RATE}, r"shape \(samples,\)"),
        ((model, inputs, processor), {"sampling_rate": RATE}, "sampling_rate would be ignored"),
        ((model, audio, processor), {"sampling_rate": 8000}, "sampling rate"),
    )
    for given, options, message in cases:
        refused(message, *given, **options)


def refused(message: str, *given: Any, **options: Any) -> None:
    with pytest.raises(ValueError, match=message):
        transcribe(*given, **options)


def test_a_blank_or_lengths_that_contradict_the_model_are_refused() -> None:
    model, tokenizer = speaking("ab")
    scores, mask = torch.zeros(2, 8, 5), torch.ones(2, 160, dtype=torch.long)
    blank = tokenizer.pad_token_id
    assert ctc_greedy(scores, model=model, blank=blank) == [[0], [0]]
    for call in (
        lambda **options: ctc_greedy(scores, model=model, **options),
        lambda **options: ctc_beam_search(scores, loss=model, **options),
    ):
        with pytest.raises(ValueError, match="model's blank is 4, got blank=0"):
            call(blank=0)
        with pytest.raises(ValueError, match="give one of"):
            call(attention_mask=mask, logit_lengths=torch.tensor([8, 8]))
        with pytest.raises(ValueError, match="give one of"):
            call(attention_mask=mask, input_lengths=mask.sum(-1))
    with pytest.raises(ValueError, match="only a model knows"):
        ctc_greedy(scores, attention_mask=mask)
    with pytest.raises(ValueError, match="only a model knows"):
        ctc_beam_search(scores, loss=load_loss(model), input_lengths=mask.sum(-1))
    model.config.pad_token_id = None
    with pytest.raises(ValueError, match="names no blank: give blank="):
        ctc_greedy(scores, model=model)
    assert ctc_greedy(scores, model=model, blank=4) == [[0], [0]]
