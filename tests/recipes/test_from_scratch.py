"""Configs from a model type and overrides: values, what follows from them, and what is refused."""

from typing import Any

import pytest

from hf_squareloss.recipes.from_scratch import FromScratchArguments, TextFromScratchArguments, make_config


def test_overrides_reach_what_follows_from_them() -> None:
    config = make_config("llama", ["hidden_size=64,num_attention_heads=4"], vocab_size=50)
    assert (config.hidden_size, config.head_dim, config.num_key_value_heads, config.vocab_size) == (64, 16, 4, 50)
    assert make_config("gpt2", ["vocab_size=7"], vocab_size=50).vocab_size == 7


def test_unknown_types_and_names() -> None:
    with pytest.raises(ValueError, match="no model type is called 'no_such'.*convnet"):
        make_config("no_such")
    with pytest.raises(ValueError, match="gpt2 has no entry 'hiden_size'"):
        make_config("gpt2", ["hiden_size=8"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"vocabulary": "characters", "word_vectors": "glove.txt"}, "word_vectors would be ignored"),
        ({"vocabulary": "letters"}, "words, characters"),
    ],
)
def test_arguments_that_would_be_ignored(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextFromScratchArguments(**values)


def test_a_loaded_model_must_be_what_is_described() -> None:
    given = FromScratchArguments(model_type="gpt2", config_overrides=["n_embd=8"])
    given.require_same(make_config("gpt2", ["n_embd=8"]))
    FromScratchArguments().require_same(make_config("bert"))
    for other, reason in (
        (make_config("gpt2", ["n_embd=16"]), "n_embd=8 would be ignored"),
        (make_config("bert"), "n_embd"),
    ):
        with pytest.raises(ValueError, match=reason):
            given.require_same(other)
