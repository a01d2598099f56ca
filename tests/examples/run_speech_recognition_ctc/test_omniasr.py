"""examples/run_speech_recognition_ctc.py on OmniASR: waveforms with a channel, a mask of another name."""

from pathlib import Path
from typing import Any

import torch
import transformers as tf
from ctc_runs import LEARN, rows_of, write_melodies
from example_scripts import QUIET, load_example

from hf_squareloss.recipes.audio import read_audio
from hf_squareloss.recipes.speech_encoding import SpeechCollator

run_ctc = load_example("run_speech_recognition_ctc")
AUDIO: dict[str, Any] = {
    **{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
    **{"conv_dim": [32, 32], "conv_kernel": [40, 4], "conv_stride": [20, 4], "layerdrop": 0.0, "hidden_dropout": 0.0},
    **{"activation_dropout": 0.0, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2},
}


def test_it_is_trained_and_transcribes(tmp_path: Path) -> None:
    tf.OmniASRCTCConfig(audio_config=AUDIO).save_pretrained(tmp_path / "config")
    tf.OmniASRFeatureExtractor(sampling_rate=8000).save_pretrained(tmp_path / "config")
    files = write_melodies(tmp_path, {"train": 64, "validation": 8})
    out = ["--output_dir", str(tmp_path / "out"), *QUIET, *LEARN, "--loss", "square"]
    found = run_ctc.main(["--config_name", str(tmp_path / "config"), *files, *out])
    assert found["eval_cer"] < 0.5
    model = tf.OmniASRForCTC.from_pretrained(tmp_path / "out").eval()
    extractor = tf.AutoFeatureExtractor.from_pretrained(tmp_path / "out")
    path, _ = rows_of(files, "validation")[0]
    signal, _ = read_audio({"path": path, "bytes": None})
    inputs = extractor(signal, sampling_rate=8000)
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


def test_a_batch_is_what_the_extractor_makes() -> None:
    extractor = tf.OmniASRFeatureExtractor(sampling_rate=8000)
    signals = [torch.randn(50).numpy(), torch.randn(30).numpy()]
    expected = extractor(signals, sampling_rate=8000)
    singles = [extractor(signal, sampling_rate=8000)["input_values"][0, 0].numpy() for signal in signals]
    batch = SpeechCollator("input_values", channel=True)([{"input_values": signal} for signal in singles])
    assert batch.keys() == expected.keys() == {"input_values", "padding_mask"}
    for name, values in batch.items():
        torch.testing.assert_close(values, expected[name], check_dtype=False)
    plain = SpeechCollator("input_values")([{"input_values": signal} for signal in singles])
    assert plain["input_values"].shape == (2, 50) and "attention_mask" in plain
