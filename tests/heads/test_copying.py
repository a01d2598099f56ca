"""Which language models see the token that they are to predict."""

from typing import Any

import pytest
import torch
import transformers as tf
from transformers import AutoModelForCausalLM

import hf_squareloss.models  # noqa: F401  (its model types are registered by the import)
from hf_squareloss.heads import Head, refuse_copying

WIDTH: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
DECODER: dict[str, Any] = {"d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 32}


def make(model_type: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    config = tf.AutoConfig.for_model(model_type, vocab_size=20, **changes)
    return AutoModelForCausalLM.from_config(config).eval()


def copies(model: Any) -> bool:
    """Whether the scores for a token depend on it."""
    ids = torch.tensor([[5, 6, 7, 8]])
    other = torch.tensor([[5, 6, 7, 9]])
    last = -2 if Head.of(model).shifts else -1
    with torch.no_grad():
        return not torch.allclose(model(ids).logits[:, last], model(other).logits[:, last], atol=1e-6)


@pytest.mark.parametrize(
    ("model_type", "changes"),
    [
        ("gpt2", {"n_embd": 16, "n_layer": 1, "n_head": 2}),
        ("llama", WIDTH),
        ("gpt_neox", WIDTH),
        ("lstm", {}),
        ("bert", WIDTH | {"is_decoder": True}),
        ("roberta", WIDTH | {"is_decoder": True}),
    ],
)
def test_models_that_predict_are_taken(model_type: str, changes: dict[str, Any]) -> None:
    model = make(model_type, **changes)
    assert not copies(model)
    refuse_copying(model)


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("bert", WIDTH, "is_decoder = False.*is_decoder=true"),
        ("roberta", WIDTH, "is_decoder = False.*is_decoder=true"),
        ("bert-generation", WIDTH, "is_decoder = False"),
        ("bart", DECODER, "BartForCausalLM would learn to copy"),
        ("xlnet", {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}, "XLNetLMHeadModel would learn to copy"),
    ],
)
def test_models_that_copy_are_refused(model_type: str, changes: dict[str, Any], message: str) -> None:
    model = make(model_type, **changes)
    assert copies(model)
    with pytest.raises(ValueError, match=message):
        refuse_copying(model)
