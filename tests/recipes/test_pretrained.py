"""Whole models, and adapters whose base model has another head, or a `load_adapter` of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from ctc_runs import WAVEFORM_MODEL
from safetensors.torch import load_file

from hf_squareloss import attach_loss, load_config
from hf_squareloss.config import complete_adapter, write_adapter
from hf_squareloss.recipes.lora import LoraArguments
from hf_squareloss.recipes.pretrained import load_pretrained

AUTO: Any = tf.AutoModelForAudioClassification


def save(folder: Path, num_labels: int) -> Any:
    torch.manual_seed(num_labels)
    config = tf.AutoConfig.for_model(**WAVEFORM_MODEL, num_labels=num_labels)
    AUTO.from_config(config).save_pretrained(folder)


def test_a_whole_model(tmp_path: Path) -> None:
    save(tmp_path, 3)
    model, info = load_pretrained(AUTO, str(tmp_path), tf.AutoConfig.from_pretrained(tmp_path))
    assert torch.equal(model.classifier.weight, load_file(tmp_path / "model.safetensors")["classifier.weight"])
    assert not info["missing_keys"] and not info["mismatched_keys"]
    config = tf.AutoConfig.from_pretrained(tmp_path, num_labels=5)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        load_pretrained(AUTO, str(tmp_path), config)
    _, info = load_pretrained(AUTO, str(tmp_path), config, ignore_mismatched_sizes=True)
    assert info["mismatched_keys"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21, transformers 5.24
def test_an_adapter_has_the_head_of_its_own_classes(tmp_path: Path) -> None:
    save(tmp_path / "base", 3)
    config = tf.AutoConfig.from_pretrained(tmp_path / "base", num_labels=5)
    base, info = load_pretrained(AUTO, str(tmp_path / "base"), config, ignore_mismatched_sizes=True)
    attach_loss(base, "square")
    wrapped = LoraArguments(use_lora=True).wrap(base, info, train=True).eval()
    for parameter in wrapped.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    write_adapter(wrapped)
    wrapped.save_pretrained(tmp_path / "adapter")
    complete_adapter(wrapped, tmp_path / "adapter")
    sounds = torch.randn(2, 800)
    expected = wrapped(input_values=sounds).logits
    for revision in ({}, {"revision": "main", "cache_dir": None, "token": None, "dtype": torch.float32}):
        config = load_config(tmp_path / "adapter")
        model, info = load_pretrained(AUTO, str(tmp_path / "adapter"), config, **revision)
        assert torch.allclose(model.eval()(input_values=sounds).logits, expected, atol=1e-6)
        assert not info["missing_keys"] and expected.shape == (2, 5)
    with pytest.raises(ValueError, match="adapter_attn_dim"):  # then from_pretrained would do
        AUTO.from_pretrained(
            tmp_path / "adapter", config=load_config(tmp_path / "adapter"), ignore_mismatched_sizes=True
        )
