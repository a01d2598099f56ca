"""Low-rank adapters for the scripts: what is trained, what is saved, what is refused."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import transformers as tf
from tiny_models import DISTILBERT

from hf_squareloss.recipes.cli import parse_arguments
from hf_squareloss.recipes.lora import LoraArguments

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21, 5.24


def loaded(folder: Path) -> tuple[Any, Any]:
    """A DistilBERT classifier of which the files hold the encoder alone: pre_classifier and classifier are new."""
    torch.manual_seed(0)
    tf.DistilBertModel(tf.DistilBertConfig(**DISTILBERT)).save_pretrained(folder)
    return tf.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3, output_loading_info=True)


def test_new_parts_are_trained_and_saved_whole(tmp_path: Path) -> None:
    model, info = loaded(tmp_path / "base")
    lora = LoraArguments(use_lora=True, lora_r=4, lora_alpha=2, lora_dropout=0.1)
    wrapped = lora.wrap(model, info, train=True, task_type="SEQ_CLS")
    trained = {name for name, p in wrapped.named_parameters() if p.requires_grad}
    assert trained and all("lora_" in name or "modules_to_save" in name for name in trained)
    assert {part for part in ("pre_classifier", "classifier") if any(f".{part}.mod" in n for n in trained)} == {
        *("pre_classifier", "classifier")
    }
    assert not any("classifier" in name and "lora_" in name for name in trained)
    config = wrapped.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 2, 0.1)
    batch = {"input_ids": torch.arange(3, 9)[None]}
    wrapped.save_pretrained(tmp_path / "adapter")
    torch.manual_seed(1)  # other new parts
    base = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", num_labels=3)
    again = peft.PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits, wrapped.eval()(**batch).logits)


def test_modules_by_name(tmp_path: Path) -> None:
    model, info = loaded(tmp_path)
    options: dict[str, Any] = {"lora_target_modules": ["q_lin"], "lora_modules_to_save": ["out_lin"]}
    wrapped = LoraArguments(use_lora=True, **options).wrap(model, info, train=True)
    trained = [name for name, p in wrapped.named_parameters() if p.requires_grad]
    adapted = {name.split(".lora_")[0].split(".")[-1] for name in trained if "lora_" in name}
    assert adapted == {"q_lin"} and any("out_lin.modules_to_save" in name for name in trained)


def test_without_it_the_model_is_as_it_was(tmp_path: Path) -> None:
    model, info = loaded(tmp_path)
    assert LoraArguments().wrap(model, info, train=True) is model
    assert LoraArguments(use_lora=True).wrap(model, info, train=False) is model
    assert all(p.requires_grad for p in model.parameters())


def test_batch_norms_are_saved_with_their_statistics(tmp_path: Path) -> None:
    """Frozen they would still move in training; and what has no linear layer is refused."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"embedding_size": 8, "hidden_sizes": [8], "depths": [1], "layer_type": "basic"}
    tf.ResNetForImageClassification(tf.ResNetConfig(**sizes)).save_pretrained(tmp_path / "base")
    load: Any = tf.AutoModelForImageClassification.from_pretrained
    model, info = load(tmp_path / "base", output_loading_info=True)
    with pytest.raises(ValueError, match="a ResNetForImageClassification has no linear layer .*lora_target_modules"):
        LoraArguments(use_lora=True).wrap(model, info, train=True)
    lora = LoraArguments(use_lora=True, lora_target_modules=["convolution"])
    wrapped = lora.wrap(model, info, train=True).train()
    images = 3 * torch.randn(8, 3, 16, 16) + 1
    before = wrapped.eval()(pixel_values=images).logits
    wrapped.train()(pixel_values=images)  # nothing is trained: the statistics alone move
    after = wrapped.eval()(pixel_values=images).logits
    wrapped.save_pretrained(tmp_path / "adapter")
    again = load(tmp_path / "adapter").eval()
    assert not torch.allclose(before, after) and torch.allclose(again(pixel_values=images).logits, after)


def test_an_adapter_is_trained_on(tmp_path: Path) -> None:
    model, info = loaded(tmp_path / "base")
    first = LoraArguments(use_lora=True, lora_r=2).wrap(model, info, train=True, task_type="SEQ_CLS").eval()
    for parameter in first.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    first.save_pretrained(tmp_path / "ours")
    adapter = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours", num_labels=3)
    again = LoraArguments(use_lora=True).wrap(adapter, info, train=True, task_type="SEQ_CLS").eval()
    batch = {"input_ids": torch.arange(3, 9)[None]}
    torch.testing.assert_close(again(**batch).logits, first(**batch).logits)
    trained, expected = ({n for n, p in m.named_parameters() if p.requires_grad} for m in (again, first))
    assert isinstance(again, peft.PeftModel) and trained == expected and not again.peft_config["default"].inference_mode


def test_refusals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, info = loaded(tmp_path / "base")
    with pytest.raises(ValueError, match="use_lora needs a trained model"):
        LoraArguments(use_lora=True).wrap(model, None, train=True)
    LoraArguments(use_lora=True).wrap(model, info, train=True, task_type="SEQ_CLS").save_pretrained(tmp_path / "ours")
    adapter = tf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "ours", num_labels=3)
    with pytest.raises(ValueError, match="the model is an adapter.*merge it first"):
        LoraArguments().wrap(adapter, info, train=True)
    with pytest.raises(ValueError, match="lora_r=4 would be ignored: the model has an adapter"):
        LoraArguments(use_lora=True, lora_r=4).wrap(adapter, info, train=True)
    for argv, words in (
        (["--lora_r", "4"], "lora_r=4 would be ignored without use_lora"),
        (["--use_lora", "--lora_r", "0"], "lora_r must be at least 1"),
        (["--use_lora", "--lora_dropout", "1"], r"lora_dropout must be in \[0, 1\)"),
    ):
        with pytest.raises(SystemExit):
            parse_arguments([LoraArguments], argv)
        assert words.replace("\\", "") in capsys.readouterr().err
