"""Changes of a config from the command line."""

import pytest
from transformers import ResNetConfig

from hf_squareloss.recipes.config_overrides import override_config


def test_values_of_every_type() -> None:
    config = ResNetConfig()
    words = ["depths=[1,2],hidden_sizes=[16,32]", "layer_type=basic", "downsample_in_first_stage=true"]
    override_config(config, [*words, "embedding_size=8"])
    assert (config.depths, config.hidden_sizes, config.layer_type) == ([1, 2], [16, 32], "basic")
    assert config.downsample_in_first_stage is True and config.embedding_size == 8


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("depth=[1]", "resnet has no entry 'depth'"),
        ("embedding_size", "expected NAME=VALUE"),
        ("embedding_size=small", "embedding_size is 64 .* got 'small'"),
        ("embedding_size=0.5", "embedding_size is 64"),
        ("embedding_size=true", "embedding_size is 64"),
        ("depths=3", "depths is"),
        ("downsample_in_first_stage=1", "downsample_in_first_stage is False"),
    ],
)
def test_what_does_not_fit_is_named(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override_config(ResNetConfig(), [word])
