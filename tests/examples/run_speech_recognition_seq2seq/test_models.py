"""examples/run_speech_recognition_seq2seq.py in this process: other models than a small Whisper, and refusals."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import transformers as tf
from example_scripts import QUIET, load_example
from seq2seq_runs import RATE, SHORT, SPEECH2TEXT, WHISPER, save_multilingual_whisper, sound, write_features, write_list
from torch import Tensor

from hf_squareloss import probability_pipeline

script = load_example("run_speech_recognition_seq2seq")


# ---- other models ---------------------------------------------------------------------------------------------------
def test_a_multilingual_whisper_gets_its_language_and_task(
    run: Callable[..., dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ["--model_name_or_path", save_multilingual_whisper(tmp_path / "model")]
    labels: list[Tensor] = []

    class Recorder(script.SpeechCollator):
        def __call__(self, rows: Any) -> Any:
            batch = super().__call__(rows)
            labels.append(batch["labels"])
            return batch

    monkeypatch.setattr(script, "SpeechCollator", Recorder)
    run(*SHORT, "--language", "german", "--task", "translate", source=source)
    tokenizer = tf.AutoTokenizer.from_pretrained(tmp_path / "out")
    first = tokenizer.convert_ids_to_tokens(labels[0][0].tolist()[:3])
    assert first == ["<|de|>", "<|translate|>", "<|notimestamps|>"]  # the model itself puts the start before them
    saved = tf.GenerationConfig.from_pretrained(tmp_path / "out").to_dict()
    assert (saved["language"], saved["task"]) == ("german", "translate")
    with pytest.raises(ValueError, match="not multilingual"):
        run(*SHORT, "--language", "german", name="other")


def test_speech2text_on_stored_features(tmp_path: Path) -> None:
    tf.Speech2TextConfig(**SPEECH2TEXT).save_pretrained(tmp_path / "config")
    options = ["--config_name", str(tmp_path / "config"), *write_features(tmp_path), *QUIET, "--save_strategy", "no"]
    learn = ["--learning_rate", "1e-2", "--num_train_epochs", "40", "--max_duration_in_seconds", "20"]
    found = script.main([*options, *learn, "--output_dir", str(tmp_path / "out")])
    assert found["eval_wer"] == 0.0  # it says the one thing that it was taught
    found = script.main(
        [
            *["--model_name_or_path", str(tmp_path / "out"), *options[2:], "--do_eval"],
            *["--output_dir", str(tmp_path / "again"), "--generation_num_beams", "2"],
        ]
    )
    assert found["eval_wer"] == 0.0


def test_speech2text_on_waveforms(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    tf.Speech2TextConfig(**{**SPEECH2TEXT, "input_feat_per_channel": 16}).save_pretrained(tmp_path / "config")
    tf.Speech2TextFeatureExtractor(feature_size=16, num_mel_bins=16).save_pretrained(tmp_path / "config")
    found = run(*SHORT, source=["--config_name", str(tmp_path / "config")])
    assert np.isfinite(found["eval_loss"]) and found["eval_wer"] > 0
    transcribe: Any = probability_pipeline(str(tmp_path / "out"))
    assert isinstance(transcribe(sound(["a"]))["text"], str)


# ---- refusals -------------------------------------------------------------------------------------------------------
def test_what_is_missing_is_named(whisper: str, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for argv, message in (
        (["--config_name", whisper], "--dataset_name NAME.*--train_file.*run_speech_recognition_ctc.py"),
        (files, "--model_name_or_path, or --config_name"),
        (["--config_name", whisper, *files, "--dataset_name", "some/data"], "exclude each other"),
        (["--config_name", whisper, *files, "--forced_decoder_ids", "1 2"], "--language and --task"),
        (["--config_name", whisper, *files, "--suppress_tokens", "1"], "generation_config.json"),
        (["--config_name", whisper, *files, "--loss", "sqare"], "did you mean 'square'"),
    ):
        with pytest.raises(SystemExit) as exit:
            script.main([*argv, "--output_dir", "out"])
        assert exit.value.code == 2
        assert re.search(message, capsys.readouterr().err)


def test_bad_utterances_are_named(run: Callable[..., dict[str, float]], files: list[str]) -> None:
    folder = Path(files[1]).parent
    soundfile.write(folder / "long.wav", np.tile(sound(["a"]), 5), RATE)
    np.save(folder / "long.npy", np.tile(sound(["a"]), 5))
    soundfile.write(folder / "empty.wav", np.zeros(0, np.float32), RATE)
    np.save(folder / "nan.npy", np.full(8000, np.nan, np.float32))
    for audio, text, message in (
        ("long.wav", "a", r"validation row 2 \(.*long.wav\): 1.31 seconds"),
        ("long.npy", "a", r"validation row 2 \(.*long.npy\): 1.31 seconds"),
        ("empty.wav", "a", r"row 2 \(.*empty.wav\): .*zero length"),
        ("nan.npy", "a", r"row 2 \(.*nan.npy\): NaN"),
        ("train0.wav", "a d", r"row 2 \(.*train0.wav\): the tokenizer gives back .* for 'a d'"),
        ("train0.wav", "a " * 20, r"row 2 \(.*train0.wav\): the transcript has 41 tokens, more than the model's 24"),
    ):
        bad = write_list(folder, "bad.tsv", [("train1.wav", "a"), (audio, text)])
        with pytest.raises(ValueError, match=message):
            run(*SHORT, "--validation_file", bad)
    silence = write_list(folder, "silence.tsv", [("train1.wav", "a b c"), ("train0.wav", " ")])
    assert run(*SHORT, "--validation_file", silence, name="silence")["eval_samples"] == 2
    with pytest.raises(ValueError, match=r"train row 2 \(.*train0.wav\): the transcript is empty"):
        run(*SHORT, "--train_file", silence)
    skipped = run(*SHORT, "--train_file", silence, "--skip_bad_utterances", name="skipped")
    assert skipped["train_samples"] == 1
    # Left out of training, long audio does no harm; nor do long transcripts.
    train = write_list(folder, "mixed.tsv", [("train1.wav", "a b c"), ("long.wav", "a"), ("train0.wav", "a " * 20)])
    limits = ["--max_duration_in_seconds", "1", "--max_label_length", "24"]
    assert run(*SHORT, "--train_file", train, *limits, "--do_train", name="mixed")["train_samples"] == 1


def test_models_that_do_not_fit_are_refused(
    run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path
) -> None:
    made = save_multilingual_whisper(tmp_path / "model")
    small = tf.WhisperConfig(**WHISPER, vocab_size=9)
    small.save_pretrained(tmp_path / "small")
    tf.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(tmp_path / "small")
    source = ["--config_name", str(tmp_path / "small"), "--tokenizer_name", made]
    with pytest.raises(ValueError, match="vocabulary only 9"):
        run(*SHORT, source=source)
    tf.Speech2TextConfig(**SPEECH2TEXT).save_pretrained(tmp_path / "features")
    source = ["--config_name", str(tmp_path / "features")]
    with pytest.raises(ValueError, match=r"train\d+.wav\): a waveform, but there is no feature extractor"):
        run(*SHORT, source=source)
    with pytest.raises(ValueError, match="apply_spec_augment would be ignored"):
        run(*SHORT, "--apply_spec_augment", source=source)
    with pytest.raises(ValueError, match="expects 8 dims, got 5"):
        features = write_features(tmp_path, dims=5)
        run(*SHORT, *features, "--test_file", features[1], source=source)
    with pytest.raises(ValueError, match="max_label_length=1 leaves no training data"):
        run(*SHORT, "--max_label_length", "1")
    with pytest.raises(ValueError, match="no train split: give --train_file"):
        argv = ["--config_name", made, *files[2:], "--do_eval", "--output_dir", str(tmp_path / "none"), *QUIET]
        script.main(argv)
