"""Where a language model cannot do without its scores, the plain path runs and says so once."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from language_models import SQUARE, Changed, OnScores, Scaled, adapted_head, gpt2, gradient_of, tiny
from tiny_models import (
    BART,
    BERT,
    LLAMA,
    VOCAB,
    make_examples,
    make_model,
)
from torch import nn

from hf_squareloss import SquareLossTrainer
from hf_squareloss.heads import FusedHead, Head

pytestmark = pytest.mark.usefixtures("always_gram", "nothing_said")
ESM = {"pad_token_id": 0, "mask_token_id": 1, "token_dropout": False}
GEMMA = {**LLAMA, "head_dim": 8, "final_logit_softcapping": 5.0, "attn_logit_softcapping": None}


class Doubled(tf.GPT2LMHeadModel):
    """Scores that are not those of its output layer."""

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs) -> Any:  # type: ignore[override]
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        outputs.logits = 2.0 * outputs.logits
        return outputs


class Clamped(Changed):
    change = staticmethod(lambda scores: scores.clamp_min(0.0))


class Viewed(tf.GPT2LMHeadModel):
    """Cannot do with the scores of one token."""

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs) -> Any:  # type: ignore[override]
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        outputs.logits = outputs.logits.view(*input_ids.shape, -1)  # type: ignore
        return outputs


class Shorter(tf.GPT2LMHeadModel):
    """An output layer that sees other items than the labels."""

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs) -> Any:  # type: ignore[override]
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        self.lm_head(torch.zeros(2, 3, self.config.n_embd))
        return outputs


def with_another_head(head: nn.Module) -> Any:
    model = gpt2()
    model.lm_head = head
    return model


def zero_at_first() -> Any:
    """Soft-capped scores that cannot be told from others while they are zero."""
    model = tiny(tf.Gemma2ForCausalLM, tf.Gemma2Config(**{**GEMMA, "tie_word_embeddings": False}))
    nn.init.zeros_(model.lm_head.weight)
    return model


def hooked() -> Any:
    model = gpt2()
    model.lm_head.register_forward_hook(lambda module, args, output: output + 1.0)
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: tiny(tf.Gemma2ForCausalLM, tf.Gemma2Config(**GEMMA)), "soft-capping"),
        (zero_at_first, "soft-capping"),
        (lambda: tiny(tf.CohereForCausalLM, tf.CohereConfig(**LLAMA, logit_scale=0.5)), "soft-capping, scaling"),
        (lambda: gpt2(Doubled), "scaling"),
        (lambda: gpt2(Changed), "scaling"),
        (lambda: gpt2(Clamped), "scaling"),
        (lambda: gpt2(Scaled), "parameters that are trained"),
        (lambda: tiny(tf.EsmForMaskedLM, tf.EsmConfig(**BERT, **ESM)), "parameters that are trained"),
        (lambda: gpt2(Viewed), "fails when it gets the scores of one token alone"),
        (lambda: gpt2(Shorter), "does not call its output layer once"),
        (lambda: with_another_head(nn.Sequential(nn.Linear(16, VOCAB))), "container.Sequential"),
        (hooked, "hooks"),
        (lambda: adapted_head(lora_dropout=0.5), "output layer is a peft"),
        (lambda: adapted_head(use_dora=True), "output layer is a peft"),
        (lambda: adapted_head(lora_bias=True), "output layer is a peft"),
    ],
    ids=[
        "gemma2",
        "zero",
        "cohere",
        "doubled",
        "in_place",
        "clamped",
        "scaled",
        "esm",
        "viewed",
        "twice",
        "sequential",
        "hooks",
        "dropout",
        "dora",
        "adapter_bias",
    ],
)
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
@pytest.mark.filterwarnings("ignore:.*tied:UserWarning")  # PEFT: this head shares its weight
@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed but")  # PEFT: one that cannot be merged
def test_the_plain_path_runs_and_says_so_once(
    make: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = gradient_of(SquareLossTrainer, make(), make_examples("gpt2_causal"), tmp_path / "ours")
        gradient_of(SquareLossTrainer, make(), make_examples("gpt2_causal"), tmp_path / "again")
    said = [record.getMessage() for record in caplog.records if "builds the scores" in record.getMessage()]
    assert len(said) == 1 and reason in said[0]
    reference = gradient_of(OnScores, make(), make_examples("gpt2_causal"), tmp_path / "reference")
    assert reference.norm() > 0
    assert torch.equal(ours, reference)


def test_float16_on_an_accelerator(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr("hf_squareloss.heads._fused.in_float16_on_accelerator", lambda hidden: True)
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        gradient_of(SquareLossTrainer, gpt2(), make_examples("gpt2_causal"), tmp_path)
    assert "in float16 on an accelerator" in caplog.text


def test_outputs_without_names_are_refused(tmp_path: Path) -> None:
    class Tuples(tf.GPT2LMHeadModel):
        def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs) -> Any:  # type: ignore[override]
            return super().forward(input_ids, attention_mask=attention_mask, **kwargs).to_tuple()

    with pytest.raises(ValueError, match="return_dict"):
        gradient_of(SquareLossTrainer, gpt2(Tuples), make_examples("gpt2_causal"), tmp_path)


def test_a_model_with_a_bias_after_its_layer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Any:
        model = tiny(tf.BartForConditionalGeneration, tf.BartConfig(**BART))
        model.final_logits_bias.fill_(0.5)
        return model

    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = gradient_of(SquareLossTrainer, make(), make_examples("bart_seq2seq"), tmp_path)
    assert "or a bias" in caplog.text
    assert torch.equal(ours, gradient_of(OnScores, make(), make_examples("bart_seq2seq"), tmp_path))


def test_an_encoder_decoder_that_shifts_inside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Inside(tf.T5ForConditionalGeneration):
        prepare_decoder_input_ids_from_labels = property()  # type: ignore[assignment]

    examples: Any = make_examples("t5_seq2seq")
    config = make_model("t5_seq2seq").config
    model, plain = tiny(Inside, config), tiny(tf.T5ForConditionalGeneration, config)
    plain.load_state_dict(model.state_dict())
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = gradient_of(SquareLossTrainer, model, examples, tmp_path)
    assert "inside its forward" in caplog.text
    assert torch.equal(ours, gradient_of(OnScores, plain, examples, tmp_path))


@pytest.mark.filterwarnings("ignore:Version v4.12.0:FutureWarning")  # of every EncoderDecoderModel with labels
def test_a_decoder_that_is_masked_by_the_labels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def make() -> Any:
        parts = tf.BertConfig(**BERT), tf.BertConfig(**BERT, is_decoder=True, add_cross_attention=True)
        config = tf.EncoderDecoderConfig.from_encoder_decoder_configs(*parts)
        config.pad_token_id, config.decoder_start_token_id, config.vocab_size = 0, 1, VOCAB
        torch.manual_seed(0)
        return tf.EncoderDecoderModel(config)

    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        ours = gradient_of(SquareLossTrainer, make(), make_examples("bart_seq2seq"), tmp_path)
    reference = gradient_of(OnScores, make(), make_examples("bart_seq2seq"), tmp_path)
    assert reference.norm() > 0 and torch.equal(ours, reference)
    assert "masks its decoder" in caplog.text


def test_a_trainer_that_looks_at_the_scores(tmp_path: Path) -> None:
    seen = []

    class Looking(SquareLossTrainer):
        def compute_loss(self, model, inputs, return_outputs=False, **kwargs) -> Any:  # type: ignore[override]
            loss, outputs = super().compute_loss(model, inputs, True, **kwargs)
            seen.append(outputs["logits"].shape)
            return (loss, outputs) if return_outputs else loss

    ours = gradient_of(Looking, gpt2(), make_examples("gpt2_causal"), tmp_path)
    assert seen == [(8, 7, VOCAB)]
    assert torch.equal(ours, gradient_of(OnScores, gpt2(), make_examples("gpt2_causal"), tmp_path))


def test_a_static_graph_keeps_the_scores(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hf_squareloss"):
        gradient_of(SquareLossTrainer, gpt2(), make_examples("gpt2_causal"), tmp_path, ddp_static_graph=True)
    assert "ddp_static_graph" in caplog.text


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21 with transformers 5.23
def test_prefix_tuning_is_refused() -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(gpt2(), peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2))
    assert FusedHead.of(model, Head.of(model), SQUARE) == "prompt and prefix tuning change which tokens there are"


def test_sharded_weights_are_refused() -> None:
    model = gpt2()
    model.lm_head.weight = nn.Parameter(torch.empty(0))
    assert "sharded" in str(FusedHead.of(model, Head.of(model), SQUARE))
