"""`--train_adapter_only`: one language's adapter in a shared encoder."""

from pathlib import Path

import ctc_runs
import pytest
import torch
from example_scripts import QUIET, load_example
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCTC, Wav2Vec2ForCTC

ctc = load_example("run_speech_recognition_ctc")


@pytest.fixture
def base(tmp_path: Path) -> str:
    """A model with adapter layers and the default vocabulary."""
    torch.manual_seed(0)
    folder = ctc_runs.write_model(tmp_path / "model", {**ctc_runs.WAVEFORM_MODEL, "adapter_attn_dim": 4})
    AutoModelForCTC.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


def options(base: str, tmp_path: Path) -> list[str]:
    files = ctc_runs.write_melodies(tmp_path, {"train": 32, "validation": 4})
    model = ["--model_name_or_path", base, "--ignore_mismatched_sizes", "--learning_rate", "1e-2"]
    return [*model, *files, "--output_dir", str(tmp_path / "out"), *QUIET, "--max_steps", "4", "--save_strategy", "no"]


def test_only_the_adapter_and_the_head_learn(base: str, tmp_path: Path) -> None:
    ctc.main([*options(base, tmp_path), "--train_adapter_only", "--target_language", "toy"])
    before, after = load_file(Path(base) / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    adapter = load_file(tmp_path / "out/adapter.toy.safetensors")
    trained = {name for name in after if "adapter_layer" in name or name.startswith("lm_head.")}
    assert adapter.keys() == trained and all(torch.equal(adapter[name], after[name]) for name in trained)
    assert all(torch.equal(before[name], after[name]) for name in after.keys() - trained)
    assert all(not torch.equal(before[name], after[name]) for name in trained if "adapter_layer.linear" in name)
    # As transformers loads a language: into a model that has another head.
    model = Wav2Vec2ForCTC.from_pretrained(tmp_path / "out", target_lang="toy")
    assert torch.equal(model.lm_head.weight, adapter["lm_head.weight"])


def test_a_model_without_adapter_layers(base: str, tmp_path: Path) -> None:
    plain = ctc_runs.write_model(tmp_path / "plain", ctc_runs.WAVEFORM_MODEL)
    AutoModelForCTC.from_config(AutoConfig.from_pretrained(plain)).save_pretrained(plain)
    given = [*options(plain, tmp_path), "--train_adapter_only", "--target_language", "toy"]
    with pytest.raises(ValueError, match="no adapter layers; --adapter_attn_dim 16"):
        ctc.main(given)
    ctc.main([*given, "--adapter_attn_dim", "3"])
    adapter = load_file(tmp_path / "out/adapter.toy.safetensors")
    assert adapter["wav2vec2.encoder.layers.0.adapter_layer.linear_1.weight"].shape == (3, 32)


@pytest.mark.parametrize(
    ("given", "words"),
    [(["--train_adapter_only"], "needs --target_language"), (["--target_language", "toy"], "would be ignored")],
)
def test_what_does_not_fit_together(
    given: list[str], words: str, base: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        ctc.main([*options(base, tmp_path), *given])
    assert words in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21, transformers 5.24
def test_two_kinds_of_adapters(base: str, tmp_path: Path) -> None:
    given = ["--train_adapter_only", "--target_language", "toy", "--use_lora"]
    with pytest.raises(ValueError, match="exclude each other"):
        ctc.main([*options(base, tmp_path), *given])
