"""examples/run_speech_recognition_seq2seq.py in this process: families and options that ended in others' tracebacks."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ctc_runs import WAVEFORM_MODEL
from example_scripts import load_example
from seq2seq_runs import SHORT

from hf_squareloss import load_loss
from hf_squareloss.recipes.seq2seq_data import character_tokenizer

tf: Any = import_module("transformers")  # whose classes of configs have few types
script = load_example("run_speech_recognition_seq2seq")


def save_speech_encoder_decoder(folder: Path) -> str:
    tokenizer = character_tokenizer(["a b c"])
    decoder = tf.BertConfig(
        **{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        **{"vocab_size": len(tokenizer), "is_decoder": True, "add_cross_attention": True},
    )
    encoder = tf.Wav2Vec2Config(**{**WAVEFORM_MODEL, "model_type": "wav2vec2"})
    config = tf.SpeechEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    config.pad_token_id, config.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    parts = (
        tf.SpeechEncoderDecoderModel(config=config),
        tokenizer,
        tf.Wav2Vec2FeatureExtractor(return_attention_mask=True),
    )
    for part in parts:
        part.save_pretrained(folder)
    return str(folder)


def test_speech_encoder_decoder(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    model = save_speech_encoder_decoder(tmp_path / "model")
    options = ["--freeze_feature_encoder", "--generation_max_length", "8"]
    found = run(*SHORT, *options, source=["--model_name_or_path", model])
    assert found["eval_loss"] > 0 and load_loss(tmp_path / "out").name == "square"
    before, after = (tf.SpeechEncoderDecoderModel.from_pretrained(f) for f in (model, tmp_path / "out"))
    same = [(a == b).all().item() for a, b in zip(before.parameters(), after.parameters(), strict=True)]
    assert any(same) and not all(same)  # the convolutions are frozen


def test_moonshine_from_scratch(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    config = tf.MoonshineConfig(
        **{"hidden_size": 32, "intermediate_size": 32, "encoder_num_hidden_layers": 1, "decoder_num_hidden_layers": 1},
        **{"encoder_num_attention_heads": 2, "decoder_num_attention_heads": 2, "max_position_embeddings": 24},
    )
    config.save_pretrained(tmp_path / "config")
    tf.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(tmp_path / "config")
    found = run(*SHORT, source=["--config_name", str(tmp_path / "config")])
    assert found["eval_loss"] > 0
    assert tf.GenerationConfig.from_pretrained(tmp_path / "out").max_length == 24


def test_batches_by_length_and_evaluation_in_16_bits(run: Callable[..., dict[str, float]]) -> None:
    plain = run(*SHORT)
    grouped = run(*SHORT, "--train_sampling_strategy", "group_by_length", name="grouped")
    assert grouped["eval_loss"] == pytest.approx(plain["eval_loss"], rel=0.2)
    half = run(*SHORT, "--bf16_full_eval", name="half")
    assert half["eval_loss"] == pytest.approx(plain["eval_loss"], rel=0.02) and half["eval_loss"] != plain["eval_loss"]
