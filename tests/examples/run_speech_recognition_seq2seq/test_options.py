"""examples/run_speech_recognition_seq2seq.py in this process: its options."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
import torch
import transformers as tf
from example_scripts import QUIET, load_example
from seq2seq_runs import RATE, SHORT, sound, texts, weights, write_list

script = load_example("run_speech_recognition_seq2seq")


def test_a_killed_run_resumes_to_the_same_weights(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    options = ["--learning_rate", "3e-3", "--max_steps", "4", "--save_steps", "2", "--max_train_samples", "16"]
    run(*options, "--do_train", name="whole")
    first = run(*options, "--do_train", name="killed")
    assert "train_loss" in first
    for name in ("checkpoint-4", "model.safetensors", "train_results.json", "all_results.json"):
        path = tmp_path / "killed" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(*options, "--do_train", name="killed")
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert "train_loss" not in run(*options, "--do_train", name="killed")  # done: trains no more
    with pytest.raises(ValueError, match="already holds a run with loss="):
        run(*options, "--loss", "cross_entropy", name="killed")
    with pytest.raises(ValueError, match="learning_rate"):
        run(*options, "--learning_rate", "1e-4", name="killed")


def test_evaluation_without_generation(run: Callable[..., dict[str, float]]) -> None:
    found = run(*SHORT, "--do_train", "--do_eval", "--predict_with_generate", "False", "--eval_strategy", "epoch")
    assert np.isfinite(found["eval_loss"]) and "eval_wer" not in found
    with pytest.raises(ValueError, match="predict_with_generate"):
        run("--do_predict", "--predict_with_generate", "False", name="other")


def test_evaluation_between_epochs_generates(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    run(*SHORT, "--do_train", "--do_eval", "--eval_strategy", "steps", "--eval_steps", "1")
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert sum("eval_wer" in entry for entry in history) >= 2


def test_a_data_set_by_name(whisper: str, tmp_path: Path) -> None:
    for split, count in (("train", 16), ("validation", 4)):
        rows: dict[str, list[Any]] = {"audio": [], "sentence": []}
        for i in range(count):
            content = io.BytesIO()
            soundfile.write(content, sound(["abc"[i % 3]])[::2], RATE // 2, format="WAV")  # of another rate
            rows["audio"].append({"bytes": content.getvalue(), "path": f"{i}.wav"})
            rows["sentence"].append("abc"[i % 3])
        datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "data" / f"{split}.parquet")
    argv = ["--dataset_name", str(tmp_path / "data"), "--text_column_name", "sentence", "--config_name", whisper]
    found = script.main([*argv, "--output_dir", str(tmp_path / "out"), *QUIET, *SHORT])
    assert (found["train_samples"], found["eval_samples"]) == (16, 4) and "test_wer" not in found


def test_frozen_parts(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    for name, options in (("start", ["--learning_rate", "0"]), ("frozen", ["--freeze_encoder"])):
        run(*SHORT, "--do_train", *options, name=name)
    before, after = weights(tmp_path / "start"), weights(tmp_path / "frozen")
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(hit for name, hit in same.items() if "encoder." in name and "decoder." not in name)
    assert not all(hit for name, hit in same.items() if "decoder." in name)
    with pytest.raises(ValueError, match="freeze_feature_encoder would be ignored"):
        run(*SHORT, "--freeze_feature_encoder", name="other")


def test_only_so_many_samples_seconds_and_tokens(run: Callable[..., dict[str, float]], files: list[str]) -> None:
    everything, short = texts(files[1]), [text for text in texts(files[1]) if len(text) == 1]
    found = run("--max_steps", "1", "--save_strategy", "no", "--max_duration_in_seconds", "0.3", "--do_train")
    assert found["train_samples"] == len(short) < len(everything)
    found = run("--max_steps", "1", "--save_strategy", "no", "--max_label_length", "4", "--do_train", name="tokens")
    assert found["train_samples"] == len(short)  # start, no timestamps, one letter, end
    found = run(*SHORT, name="samples")
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (16, 4, 4)


def test_spec_augment_changes_the_training(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    plain = run(*SHORT, "--do_train", name="plain")
    masked = run(*SHORT, "--do_train", "--apply_spec_augment", name="masked")
    assert masked["train_loss"] != plain["train_loss"]
    assert tf.AutoConfig.from_pretrained(tmp_path / "masked").apply_spec_augment


def test_upper_case_is_kept_on_request(run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path) -> None:
    folder = Path(files[1]).parent
    upper = write_list(folder, "upper.tsv", [(f"train{i}.wav", text.upper()) for i, text in enumerate(texts(files[1]))])
    run(*SHORT, "--do_train", "--train_file", upper, "--validation_file", upper, "--test_file", upper)
    assert "a" in tf.AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    kept = ["--train_file", upper, "--validation_file", upper, "--test_file", upper, "--do_lower_case", "False"]
    run(*SHORT, "--do_train", *kept, name="kept")
    assert {"A", "B", "C"} < set(tf.AutoTokenizer.from_pretrained(tmp_path / "kept").get_vocab())
