"""examples/run_speech_recognition_ctc.py in this process: from melodies to transcripts and cards, once and again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from ctc_runs import FEATURE_MODEL, LEARN, LEARNT, SHORT, rows_of, weights, write_melodies, write_model
from example_scripts import QUIET, load_example, predictions, results
from transformers import AutoModelForCTC, AutoProcessor, AutoTokenizer, Wav2Vec2FeatureExtractor, pipeline

from hf_squareloss import load_loss
from hf_squareloss.recipes.speech_demo import RATE

run_ctc = load_example("run_speech_recognition_ctc")


# ---- from files to transcripts --------------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", LEARNT)
def test_melodies_are_learnt(loss: str, learnt: dict[str, Path]) -> None:
    found = results(learnt[loss])
    assert found["test_cer"] < 0.1 and found["eval_cer"] < 0.1, found
    metrics = {"loss", "wer", "cer", "exact_match", "samples"}
    expected = {f"{part}_{metric}" for part in ("eval", "test") for metric in metrics}
    assert set(found) == expected | {"train_loss", "train_samples", "epoch"}
    assert load_loss(learnt[loss]).name == loss


def test_predictions_are_in_the_order_of_the_rows(learnt: dict[str, Path], files: list[str]) -> None:
    truth = [text for _, text in rows_of(files, "test")]
    right = [a == b for a, b in zip(predictions(learnt["square"]), truth, strict=True)]
    assert sum(right) / len(right) == results(learnt["square"])["test_exact_match"] > 0.5


def test_the_pipeline_of_the_saved_model_gives_the_same_transcripts(learnt: dict[str, Path], files: list[str]) -> None:
    recognise: Any = pipeline("automatic-speech-recognition", model=str(learnt["square"]), device="cpu")
    assert isinstance(AutoProcessor.from_pretrained(learnt["square"]).feature_extractor, Wav2Vec2FeatureExtractor)
    for (path, _), expected in zip(rows_of(files, "test")[:8], predictions(learnt["square"])[:8], strict=True):
        signal, rate = soundfile.read(path, dtype="float32")
        assert recognise({"raw": signal, "sampling_rate": rate})["text"] == expected


def test_the_vocabulary_is_in_the_model(learnt: dict[str, Path]) -> None:
    tokenizer = AutoTokenizer.from_pretrained(learnt["square"])
    config = AutoModelForCTC.from_pretrained(learnt["square"]).config
    assert tokenizer.get_vocab() == {"a": 0, "b": 1, "c": 2, "|": 3, "[UNK]": 4, "[PAD]": 5}
    assert (config.vocab_size, config.pad_token_id) == (6, 5)


def test_the_card_tells_of_this_run(learnt: dict[str, Path]) -> None:
    card = (learnt["square"] / "README.md").read_text()
    assert "automatic-speech-recognition" in card
    assert f"| cer | {results(learnt['square'])['eval_cer']:.4f} |" in card
    assert str(learnt["square"].parent) not in card


@pytest.mark.parametrize("loss", LEARNT)
def test_a_model_is_evaluated_with_its_own_loss_and_vocabulary(
    loss: str, learnt: dict[str, Path], files: list[str], tmp_path: Path
) -> None:
    arguments = ["--model_name_or_path", str(learnt[loss]), *files, "--output_dir", str(tmp_path), *QUIET]
    found = run_ctc.main([*arguments, "--do_eval", "--do_predict", "--per_device_eval_batch_size", "5"])
    for name in ("eval_loss", "eval_cer", "test_wer"):
        assert found[name] == pytest.approx(results(learnt[loss])[name], rel=1e-3), (
            name
        )  # near zero, with other padding
    assert predictions(tmp_path) == predictions(learnt[loss])


def test_fine_tuning_keeps_the_body_and_can_keep_the_head(
    learnt: dict[str, Path], files: list[str], tmp_path: Path
) -> None:
    start = ["--model_name_or_path", str(learnt["square"]), *files, *QUIET, *SHORT, "--learning_rate", "1e-9"]
    found = run_ctc.main([*start, "--output_dir", str(tmp_path / "same"), "--freeze_feature_encoder"])
    assert found["eval_cer"] == results(learnt["square"])["eval_cer"]
    before = AutoModelForCTC.from_pretrained(learnt["square"]).wav2vec2.feature_extractor.state_dict()
    after = AutoModelForCTC.from_pretrained(tmp_path / "same").wav2vec2.feature_extractor.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    own = [*start, "--tokenizer_name_or_path", str(learnt["square"]), "--output_dir", str(tmp_path / "own")]
    assert run_ctc.main(own)["eval_cer"] == results(learnt["square"])["eval_cer"]


def test_stored_features(tmp_path: Path) -> None:
    options = write_melodies(tmp_path / "data", {"train": 128, "validation": 16, "test": 16}, features=True)
    model = write_model(tmp_path / "model", FEATURE_MODEL, rate=None)
    arguments = ["--config_name", f"{model}/config.json", *options, "--output_dir", str(tmp_path / "out"), *QUIET]
    found = run_ctc.main([*arguments, *LEARN, *LEARNT["square"], "--stack_frames", "2"])
    assert found["test_cer"] < 0.15
    with pytest.raises(ValueError, match=r"train row 1 \(.*npy\): the model expects 8 dims, got 4 features"):
        run_ctc.main([*arguments, "--output_dir", str(tmp_path / "other")])


def test_another_rate_is_resampled(learnt: dict[str, Path], files: list[str], tmp_path: Path) -> None:
    lines = ["audio,text"]
    for i, (path, text) in enumerate(rows_of(files, "test")):
        signal = soundfile.read(path, dtype="float32")[0]
        soundfile.write(tmp_path / f"{i}.wav", np.repeat(signal, 2), 2 * RATE)
        lines.append(f"{i}.wav,{text}")
    (tmp_path / "test.csv").write_text("\n".join(lines) + "\n")
    run_ctc.main(
        [
            *["--model_name_or_path", str(learnt["square"]), "--test_file", str(tmp_path / "test.csv")],
            *["--output_dir", str(tmp_path / "out"), "--do_predict", *QUIET],
        ]
    )
    assert results(tmp_path / "out")["test_cer"] < 0.15


def test_hidden_test_texts(learnt: dict[str, Path], files: list[str], tmp_path: Path) -> None:
    paths = [path for path, _ in rows_of(files, "test")]
    (tmp_path / "hidden.csv").write_text("\n".join(["audio", *paths]) + "\n")
    arguments = ["--model_name_or_path", str(learnt["square"]), "--test_file", str(tmp_path / "hidden.csv")]
    found = run_ctc.main([*arguments, "--output_dir", str(tmp_path / "out"), "--do_predict", *QUIET])
    assert "test_cer" not in found and predictions(tmp_path / "out") == predictions(learnt["square"])


# ---- again ----------------------------------------------------------------------------------------------------------
def test_a_run_is_resumed_as_if_it_had_never_stopped(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    arguments = ["--num_train_epochs", "2", "--save_steps", "8", "--train_sampling_strategy", "group_by_length"]
    run(*arguments, name="whole")
    run(*arguments, name="cut")
    for file in ("checkpoint-24", "checkpoint-32"):
        for path in sorted((tmp_path / "cut" / file).glob("**/*")):
            path.unlink()
    (tmp_path / "cut" / "config.json").unlink()
    assert "train_loss" in run(*arguments, name="cut")
    assert torch.equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_a_folder_with_another_run_is_refused(run: Callable[..., dict[str, float]]) -> None:
    run("--max_steps", "1")
    with pytest.raises(ValueError, match="mask_time_prob|seed"):
        run("--max_steps", "1", "--seed", "7")
    with pytest.raises(ValueError, match="already holds a run with loss="):
        run("--max_steps", "1", "--loss", "cross_entropy")


def test_data_count_by_their_content(files: list[str], run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    listed = Path(files[1])
    moved = tmp_path / "moved"
    shutil.copytree(listed.parent, moved)
    there = ["--train_file", str(moved / listed.name), "--max_steps", "1", "--do_train"]
    run(*there, "--train_file", str(listed))
    assert run(*there) == {}  # the same in another place: it is finished
    rows = (moved / listed.name).read_text()
    first, _, text = rows.splitlines()[1].partition(",")
    (moved / listed.name).write_text(rows.replace(f"{first},{text}", f"{first},{text[::-1]}a", 1))
    with pytest.raises(ValueError, match="training data="):
        run(*there)
    (moved / listed.name).write_text(rows)
    assert run(*there) == {}
    sound = moved / first
    sound.write_bytes(sound.read_bytes()[:-2] + b"\x01\x01")
    with pytest.raises(ValueError, match="training data="):
        run(*there)
