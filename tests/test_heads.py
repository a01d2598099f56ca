"""Which scores belong to which labels, for each family of models."""

from dataclasses import replace
from typing import Any

import ctc_models
import pytest
import torch
from tiny_models import CLASSES, LENGTH, VOCAB, batch_of, make_examples, make_model

from hf_squareloss import CrossEntropy, SquareLoss
from hf_squareloss.heads import Head, base_model

CLASSIFIER, VOCABULARY = Head(num_classes=CLASSES), {"num_classes": VOCAB, "language_model": True}


TASKS = {
    "bert": "text-classification",
    "llama": "text-classification",
    "bart": "text-classification",
    "vit": "image-classification",
    "wav2vec2": "audio-classification",
    "bert_tokens": "token-classification",
}


@pytest.mark.parametrize(
    ("family", "config", "head"),
    [
        *((family, {}, CLASSIFIER) for family in ("bert", "llama", "bart", "vit", "wav2vec2", "bert_tokens")),
        ("bert", {"num_labels": 1}, Head(num_classes=1)),
        ("bert", {"problem_type": "multi_label_classification"}, Head(num_classes=CLASSES, multi_label=True)),
        ("bert_choice", {}, Head()),
        ("bert_masked", {}, Head(**VOCABULARY)),
        ("gpt2_causal", {}, Head(**VOCABULARY, shifts=True)),
        ("bart_seq2seq", {}, Head(**VOCABULARY, keeps_labels=True)),
        ("t5_seq2seq", {}, Head(**VOCABULARY, keeps_labels=True)),
    ],
)
def test_head_of(family: str, config: Any, head: Head) -> None:
    model = make_model(family, **config)
    assert replace(Head.of(model), task=None, auto_class="AutoModel") == head
    assert Head.of(model).task == TASKS.get(family)
    batch = batch_of(make_examples(family))
    labels = batch["labels"] if head.keeps_labels else batch.pop("labels")
    scores, aligned = head.scores_and_labels(model(**batch), labels)
    if not head.multi_label and head.num_classes != 1:
        assert scores.shape[:-1] == aligned.shape
        assert head.num_items(CrossEntropy(), labels) == (aligned != -100).sum()


def test_shift() -> None:
    head, scores = Head(**VOCABULARY, shifts=True), torch.randn(2, LENGTH, VOCAB)
    labels = torch.arange(2 * LENGTH).reshape(2, LENGTH)
    shifted, aligned = head.scores_and_labels({"logits": scores}, labels)
    assert torch.equal(shifted, scores[:, : LENGTH - 1]) and torch.equal(aligned, labels[:, 1:])


def test_module_without_a_config() -> None:
    assert Head.of(torch.nn.Linear(2, 3)) == Head()


def test_fit_resolves_for_the_number_of_classes() -> None:
    assert CLASSIFIER.fit(SquareLoss()) == SquareLoss().resolve(CLASSES)
    assert Head(**VOCABULARY).fit(SquareLoss(k=5.0)) == SquareLoss(k=5.0, M=VOCAB / 10.0)
    assert Head().fit(SquareLoss()) == SquareLoss()
    assert Head(num_classes=CLASSES, multi_label=True).fit(CrossEntropy()).multi_label


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
def test_peft_wrapper_is_looked_through() -> None:
    from peft import LoraConfig, get_peft_model

    model = make_model("gpt2_causal")
    wrapped = get_peft_model(model, LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True))
    assert base_model(wrapped) is model and Head.of(wrapped) == Head.of(model)


def test_outputs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="return_dict"):
        CLASSIFIER.scores_and_labels((torch.zeros(2, CLASSES),), torch.zeros(2))
    with pytest.raises(ValueError, match="return_dict"):
        CLASSIFIER.scores_and_labels({"start_logits": torch.zeros(2, CLASSES)}, torch.zeros(2))
    with pytest.raises(ValueError, match="classes"):
        CLASSIFIER.scores_and_labels({"logits": torch.zeros(2, CLASSES + 1)}, torch.zeros(2))


WAVLM_MASKS = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")  # transformers 5.23's WavLM


@WAVLM_MASKS
@pytest.mark.parametrize("family", ctc_models.FAMILIES)
def test_every_ctc_family(family: str) -> None:
    """Cross-entropy per utterance adds up to the model's own summed loss: frames, labels and blank are the family's."""
    model = ctc_models.make_ctc_model(family, ctc_loss_reduction="sum")
    inputs = ctc_models.make_utterances(model)
    head, own = Head.of(model), model(**inputs).loss
    assert head.blank is not None and head.keeps_labels and head.task == "automatic-speech-recognition"
    assert head.num_classes == ctc_models.VOCAB and head.auto_class == "AutoModelForCTC"
    for loss in (CrossEntropy(), SquareLoss()):
        fitted = head.fit(loss)
        with head.computing(fitted, model):
            outputs = model(**inputs)
        values = outputs["loss"]
        assert values.shape == (3,)
        torch.testing.assert_close(head.total(fitted, outputs, inputs["labels"]), values.sum())
        if isinstance(loss, CrossEntropy):
            torch.testing.assert_close(values.sum(), own)
        else:
            assert (values - own).abs().min() > 1e-3
    assert head.num_items(fitted, inputs["labels"]) == 3
    torch.testing.assert_close(model(**inputs).loss, own)  # as if nothing had been


def test_a_loss_function_of_the_users_comes_back() -> None:
    model = ctc_models.make_ctc_model("wav2vec2")
    model.loss_function = mine = lambda **_: torch.tensor(7.0)  # type: ignore[assignment]
    with Head.of(model).computing(CrossEntropy(), model):
        assert model.loss_function is not mine
    assert model.loss_function is mine


def test_utterances_without_an_alignment_count_but_add_nothing() -> None:
    model = ctc_models.make_ctc_model("wav2vec2", ctc_zero_infinity=False)
    inputs = ctc_models.make_utterances(model)
    inputs["labels"] = torch.tensor([[2, 3]]).repeat(3, 50)  # 100 labels in at most 60 frames
    head, loss = Head.of(model), CrossEntropy()
    with head.computing(loss, model):
        values = model(**inputs)["loss"]
    assert (values == 0).all() and head.num_items(loss, inputs["labels"]) == 3


def test_fit_for_ctc() -> None:
    head = Head.of(ctc_models.make_ctc_model("wav2vec2"))
    fitted = head.fit(SquareLoss())
    assert fitted == SquareLoss().for_ctc(ctc_models.VOCAB, blank=0) and fitted.ctc_tau == "posterior"
    assert head.fit(SquareLoss(ctc_tau=0.3)).ctc_tau == 0.3
    with pytest.raises(ValueError, match="class_weights"):
        head.fit(CrossEntropy(class_weights=(1.0,) * ctc_models.VOCAB))
    with pytest.raises(ValueError, match="class_weights"):
        head.fit(CrossEntropy(class_weights=(1.0,) * 3, ctc_tau="posterior"))
    with pytest.raises(ValueError, match="ctc_tau"):
        CLASSIFIER.fit(SquareLoss(ctc_tau=0.3))
