"""Which scores belong to which labels, for each family of models."""

from dataclasses import replace
from typing import Any

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
    assert replace(Head.of(model), task=None) == head
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


def test_ctc_is_refused() -> None:
    with pytest.raises(ValueError, match="CTC"):
        Head.of(make_model("wav2vec2_ctc"))


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
