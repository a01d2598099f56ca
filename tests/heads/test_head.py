"""Which scores belong to which labels, for each family of models."""

from dataclasses import replace
from typing import Any

import ctc_models
import pytest
import torch
import transformers
from tiny_models import CLASSES, LENGTH, VOCAB, batch_of, make_examples, make_model

from hf_squareloss import CrossEntropy, SquareLoss, attach_loss
from hf_squareloss.config import base_model
from hf_squareloss.heads import Head

CLASSIFIER, VOCABULARY = Head(num_classes=CLASSES), {"num_classes": VOCAB, "language_model": True}


TASKS = {
    "bert": "text-classification",
    "llama": "text-classification",
    "bart": "text-classification",
    "vit": "image-classification",
    "wav2vec2": "audio-classification",
    "bert_tokens": "token-classification",
    "bert_choice": "multiple-choice",
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


SMALL = {
    **{"vocab_size": VOCAB, "hidden_size": 16, "d_model": 16, "num_hidden_layers": 1, "n_layer": 1, "num_layers": 1},
    **{"num_attention_heads": 2, "n_head": 2, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2},
    **{"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "d_inner": 32, "ffn_dim": 32},
    **{"intermediate_size": 32, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
    **{"decoder_start_token_id": 1, "forced_eos_token_id": None, "attention_type": "original_full", "head_dim": 8},
    **{"num_key_value_heads": 2, "word_embed_proj_dim": 16, "num_mel_bins": 4, "max_target_positions": 32},
    **{"suppress_tokens": None, "begin_suppress_tokens": None, "decoder_hidden_size": 16, "n_embd": 16},
    **{"num_decoder_layers": 1, "num_decoder_attention_heads": 2, "num_encoder_layers": 1, "is_decoder": True},
    **{"num_encoder_attention_heads": 2, "ngram": 1, "disable_ngram_loss": True, "eps": 0.0, "dropout": 0.0},
    **{"rotary_dim": 4, "layer_types": None, "use_cache": False, "prompt_types": 4, "prompt_length": 1},
    **{"dim_head": 8, "dim_ff": 32, "decoder_d_model": 16},
}


@pytest.mark.parametrize(
    "name",
    [
        *("BartForCausalLM", "BertLMHeadModel", "BigBirdPegasusForCausalLM", "BlenderbotForCausalLM"),
        *("BlenderbotSmallForCausalLM", "BloomForCausalLM", "CpmAntForCausalLM", "GPT2LMHeadModel", "GPTJForCausalLM"),
        *("GPTNeoXForCausalLM", "LlamaForCausalLM", "MBartForCausalLM", "MarianForCausalLM", "MistralForCausalLM"),
        *("MvpForCausalLM", "OPTForCausalLM", "PLBartForCausalLM", "PegasusForCausalLM", "PhiForCausalLM"),
        *("ProphetNetForCausalLM", "Qwen3ForCausalLM", "RobertaForCausalLM", "TrOCRForCausalLM", "WhisperForCausalLM"),
        *("XGLMForCausalLM", "XLNetLMHeadModel"),
    ],
)
def test_alignment_is_the_familys_own(name: str) -> None:
    """Cross-entropy over what `Head` aligns is the loss that the model computes from the same labels."""
    torch.manual_seed(0)
    model_class = getattr(transformers, name)
    known = model_class.config_class().to_dict()
    model = model_class(model_class.config_class(**{k: v for k, v in SMALL.items() if k in known})).eval()
    ids = torch.randint(5, VOCAB, (2, LENGTH))
    labels = torch.where(torch.rand(2, LENGTH) < 0.2, -100, torch.randint(5, VOCAB, (2, LENGTH)))
    with torch.no_grad():
        outputs = model(input_ids=ids, labels=labels)
    scores, aligned = Head.of(model).scores_and_labels({"logits": outputs.logits}, labels)
    torch.testing.assert_close(CrossEntropy().mean(scores, aligned), outputs.loss)


def test_shift() -> None:
    head, scores = Head(**VOCABULARY, shifts=True), torch.randn(2, LENGTH, VOCAB)
    labels = torch.arange(2 * LENGTH).reshape(2, LENGTH)
    shifted, aligned = head.scores_and_labels({"logits": scores}, labels)
    assert torch.equal(shifted, scores[:, : LENGTH - 1]) and torch.equal(aligned, labels[:, 1:])


def test_module_without_a_config() -> None:
    assert Head.of(torch.nn.Linear(2, 3)) == Head()


def test_fit_resolves_for_the_number_of_classes() -> None:
    assert CLASSIFIER.fit(SquareLoss()) == SquareLoss().resolve(CLASSES)
    assert Head(**VOCABULARY).fit(SquareLoss(k=5.0)) == SquareLoss(k=5.0).resolve(VOCAB)
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
    with pytest.raises(ValueError, match="no `logits`.*dict with start_logits"):
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
        outputs = model(**inputs)
    assert head.unaligned(outputs).all() and head.total(loss, outputs, inputs["labels"]) == 0
    assert head.num_items(loss, inputs["labels"]) == 3


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


def test_distributions_of_a_causal_model_belong_to_the_scores_before() -> None:
    head, scores = Head(**VOCABULARY, shifts=True), torch.randn(2, LENGTH, VOCAB)
    labels = torch.randint(0, VOCAB, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    soft = torch.nn.functional.one_hot(labels, VOCAB).float()
    outputs, loss = {"logits": scores}, CrossEntropy()
    torch.testing.assert_close(head.total(loss, outputs, soft), head.total(loss, outputs, labels))
    assert head.num_items(loss, soft) == head.num_items(loss, labels) == 2 * (LENGTH - 1)


def test_a_head_of_tokens_does_not_heed_what_a_head_of_texts_was_trained_with() -> None:
    saved = {"hf_squareloss": {"loss": "square", "multi_label": True}, "problem_type": "multi_label_classification"}
    model = make_model("bert_tokens", architectures=["BertForSequenceClassification"], **saved)
    assert not Head.of(model).multi_label
    assert Head.of(make_model("bert", architectures=["BertForSequenceClassification"], **saved)).multi_label
    own = make_model("bert_tokens", architectures=["BertForTokenClassification"], **saved)
    assert Head.of(own).multi_label  # tags of which each is a yes or no


def test_a_regression_of_several_values_is_refused() -> None:
    model = make_model("bert", problem_type="regression")
    with pytest.raises(ValueError, match="a regression of 4 values .* is not supported: num_labels=1 is"):
        Head.of(model)
    attach_loss(model := make_model("bert"), "square")
    assert model.config.problem_type == "regression" and Head.of(model).num_classes == 4  # which we wrote ourselves
    assert Head.of(make_model("bert", num_labels=1, problem_type="regression")).num_classes == 1


def test_a_head_of_ones_own_is_told_how_to_say_its_size() -> None:
    model = make_model("bert")
    model.classifier = torch.nn.Linear(16, 3)
    outputs = model(torch.ones(2, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=r"says 4 classes but its scores are \(2, 3\): make its num_labels"):
        Head.of(model).scores_and_labels(outputs, torch.zeros(2).long())
