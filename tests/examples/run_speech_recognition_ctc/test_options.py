"""examples/run_speech_recognition_ctc.py in this process: its options, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from ctc_runs import FEATURE_MODEL, SHORT, rows_of, write_melodies, write_model
from example_scripts import QUIET, load_example, predictions, results
from transformers import AutoModelForCTC, AutoTokenizer, Wav2Vec2Config, Wav2Vec2FeatureExtractor

from hf_squareloss.recipes.speech_demo import RATE

run_ctc = load_example("run_speech_recognition_ctc")


# ---- options --------------------------------------------------------------------------------------------------------
def test_dropouts_and_spec_augment_are_in_the_config(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    given = {"mask_time_prob": 0.1, "mask_time_length": 2, "hidden_dropout": 0.2, "layerdrop": 0.3}
    run(*SHORT, *[text for name, value in given.items() for text in (f"--{name}", str(value))])
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {name: config[name] for name in given} == given


def test_options_that_would_be_ignored_are_refused(tmp_path: Path) -> None:
    options = write_melodies(tmp_path / "data", {"train": 4, "validation": 4}, features=True)
    model = write_model(tmp_path / "model", FEATURE_MODEL, rate=None)
    arguments = ["--config_name", model, *options, "--output_dir", str(tmp_path / "out"), "--stack_frames", "2", *QUIET]
    for option in (["--freeze_feature_encoder"], ["--max_duration_in_seconds", "3"]):
        with pytest.raises(ValueError, match="would be ignored|cannot be limited"):
            run_ctc.main([*arguments, *option])
    parakeet = {"model_type": "parakeet_ctc", "encoder_config": {"num_hidden_layers": 1, "hidden_size": 16}}
    (tmp_path / "parakeet.json").write_text(json.dumps(parakeet))
    with pytest.raises(ValueError, match="hidden_dropout=0.1 would be ignored: the config of a parakeet_ctc"):
        run_ctc.main([*arguments, "--config_name", str(tmp_path / "parakeet.json"), "--hidden_dropout", "0.1"])


def test_characters_are_left_out_and_metrics_chosen(
    run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path
) -> None:
    (tmp_path / "train.csv").write_text("".join(f"{a},{b}\n" for a, b in [["audio", "text"], *rows_of(files, "train")]))
    marked = (tmp_path / "train.csv").read_text().replace(".wav,", ".wav,?!")
    (tmp_path / "train.csv").write_text(marked)
    own = ["--train_file", str(tmp_path / "train.csv")]
    found = run(*SHORT, *own, "--chars_to_ignore", "!", "?", "--eval_metrics", "cer")
    assert "eval_cer" in found and "eval_wer" not in found
    assert set(AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()) == {*"abc|", "[UNK]", "[PAD]"}
    run(*SHORT, *own, name="all")
    assert {"!", "?"} < AutoTokenizer.from_pretrained(tmp_path / "all").get_vocab().keys()


def test_only_so_many_samples(run: Callable[..., dict[str, float]]) -> None:
    found = run(*SHORT, "--max_train_samples", "12", "--max_eval_samples", "7", "--max_predict_samples", "1000")
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (12, 7, 24)


def test_a_json_file_of_arguments(
    run: Callable[..., dict[str, float]], model: str, files: list[str], tmp_path: Path
) -> None:
    values = {name.removeprefix("--"): value for name, value in zip(files[::2], files[1::2], strict=True)}
    values |= {"config_name": model, "output_dir": str(tmp_path / "json"), "max_steps": 2, "eval_metrics": ["cer"]}
    values |= {"use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "loss": "squentropy"}
    (tmp_path / "arguments.json").write_text(json.dumps(values))
    run_ctc.main([str(tmp_path / "arguments.json")])
    run(*SHORT, "--loss", "squentropy", "--eval_metrics", "cer")
    assert results(tmp_path / "json") == results(tmp_path / "out")


def test_segments_silence_and_a_validation_split_cut_off(
    files: list[str], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A manifest of segments of one file, some without words."""
    pieces = [soundfile.read(name)[0] for name, _ in rows_of(files, "train")[:8]]
    soundfile.write(tmp_path / "all.wav", np.concatenate(pieces), RATE)
    lines, start = [], 0.0
    for piece, (_, text) in zip(pieces, rows_of(files, "train"), strict=False):
        seconds = len(piece) / RATE
        lines.append({"audio": "all.wav", "offset": start, "duration": seconds, "text": text})
        start += seconds
    (tmp_path / "train.json").write_text("\n".join(map(json.dumps, lines)))
    silent = [{**line, "text": ""} for line in lines[:1]]
    (tmp_path / "test.json").write_text("\n".join(map(json.dumps, silent)))
    given = ["--train_file", str(tmp_path / "train.json"), "--test_file", str(tmp_path / "test.json"), *SHORT, *QUIET]
    longest = max(len(piece) for piece in pieces) / RATE
    limits = ["--max_duration_in_seconds", str(longest), "--train_val_split", "0.25"]
    found = run_ctc.main(["--config_name", model, *given, *limits, "--output_dir", str(tmp_path / "out")])
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (6, 2, 1)
    assert "Left out of training" not in capsys.readouterr().out  # each is as long as its segment
    assert np.isfinite(found["test_loss"])


def test_a_folder_with_metadata(files: list[str], model: str, tmp_path: Path) -> None:
    for split in ("train", "dev"):
        (tmp_path / split).mkdir()
        lines = ["file_name,text"]
        for i, (name, text) in enumerate(rows_of(files, "train")[:6]):
            (tmp_path / split / f"{i}.wav").write_bytes(Path(name).read_bytes())
            lines.append(f"{i}.wav,{text}")
        (tmp_path / split / "metadata.csv").write_text("\n".join(lines) + "\n")
    given = ["--config_name", model, "--dataset_name", str(tmp_path), *SHORT, *QUIET]
    found = run_ctc.main([*given, "--output_dir", str(tmp_path / "out")])
    assert (found["train_samples"], found["eval_samples"]) == (6, 6)


def test_a_model_without_a_mask_hears_no_padding(
    run: Callable[..., dict[str, float]], learnt: dict[str, Path], tmp_path: Path
) -> None:
    """Weights that have learnt, with the norm of a model that takes no mask: batches may not change what it says."""
    config = json.loads(Path(learnt["square"], "config.json").read_text())
    model = AutoModelForCTC.from_config(Wav2Vec2Config(**{**config, "feat_extract_norm": "group"}))
    model.load_state_dict(AutoModelForCTC.from_pretrained(learnt["square"]).state_dict(), strict=False)
    model.save_pretrained(tmp_path / "group")
    AutoTokenizer.from_pretrained(learnt["square"]).save_pretrained(tmp_path / "group")
    Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=False).save_pretrained(tmp_path / "group")
    given = ["--model_name_or_path", str(tmp_path / "group"), "--do_predict"]
    together, alone = (run(*SHORT, *given, "--per_device_eval_batch_size", size, name=size) for size in ("24", "1"))
    assert predictions(tmp_path / "24") == predictions(tmp_path / "1")
    for name in ("wer", "cer", "loss"):
        assert together[f"test_{name}"] == pytest.approx(alone[f"test_{name}"], rel=1e-5)
    assert len(set(predictions(tmp_path / "1"))) > 4


def test_clips_shorter_than_the_mask_are_named_before_training(
    run: Callable[..., dict[str, float]], files: list[str], model: str, tmp_path: Path
) -> None:
    masked = {**json.loads(Path(model, "config.json").read_text()), "apply_spec_augment": True, "mask_time_prob": 0.05}
    masked["mask_time_length"] = 8
    source = ["--config_name", write_model(tmp_path / "model", masked)]
    short = bad_row(files, tmp_path / "data", np.zeros(640), "a")  # 7 frames
    with pytest.raises(ValueError, match=r"row 9 .*bad.wav\): .* 7 frames, SpecAugment masks 8"):
        run(*source, *short)
    for way_out in (["--mask_time_length", "5"], ["--min_duration_in_seconds", "0.1"], ["--skip_bad_utterances"]):
        assert run(*source, *short, *way_out, name=way_out[0])["train_samples"] in (8, 9)


# ---- bad input ------------------------------------------------------------------------------------------------------
def bad_row(files: list[str], folder: Path, signal: np.ndarray, text: str, name: str = "bad.wav") -> list[str]:
    """The training list with one more utterance."""
    folder.mkdir(exist_ok=True)
    if name.endswith(".npy"):
        np.save(folder / name, signal)
    else:
        soundfile.write(folder / name, signal, RATE)
    lines = ["audio,text", *(",".join(row) for row in rows_of(files, "train")[:8]), f"{folder / name},{text}"]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")
    return ["--train_file", str(folder / "train.csv"), *SHORT]


@pytest.mark.parametrize(
    ("signal", "text", "name", "message"),
    [
        (np.zeros(800), " ", "bad.wav", "the transcript is empty"),
        (np.zeros(0), "a", "bad.wav", "zero length"),
        (np.full(800, np.nan), "a", "bad.npy", "NaN or infinite"),
        (np.zeros((9, 3)), "a", "bad.npy", "takes waveforms"),
        (np.zeros(800), "aa" * 40, "bad.wav", "needs 159 frames .* but the audio gives 9"),
        (np.zeros(20), "a", "bad.wav", "too short"),
    ],
)
def test_bad_utterances_are_refused_by_name(
    signal: np.ndarray,
    text: str,
    name: str,
    message: str,
    run: Callable[..., dict[str, float]],
    files: list[str],
    tmp_path: Path,
) -> None:
    with pytest.raises(ValueError, match=rf"train row 9 \(.*{name}\): .*{message}"):
        run(*bad_row(files, tmp_path / "bad", signal.astype(np.float32), text, name))


def test_too_few_frames_can_be_kept(
    run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(*bad_row(files, tmp_path / "bad", np.zeros(800), "aa" * 40), "--ctc_zero_infinity", "True")
    assert np.isfinite(found["train_loss"])
    assert "1 utterances have too few frames" in capsys.readouterr().out


def test_new_characters_in_validation_are_refused(
    run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path
) -> None:
    path = rows_of(files, "validation")[0][0]
    (tmp_path / "new.csv").write_text(f"audio,text\n{path},abx\n")
    with pytest.raises(ValueError, match=r"validation row 1 \(.*\): the vocabulary does not have 'x'"):
        run(*SHORT, "--validation_file", str(tmp_path / "new.csv"))


def test_a_blank_in_the_transcripts_is_refused(
    run: Callable[..., dict[str, float]], learnt: dict[str, Path], files: list[str], tmp_path: Path
) -> None:
    path = rows_of(files, "validation")[0][0]
    (tmp_path / "new.csv").write_text(f"audio,text\n{path},a[PAD]\n")
    own = ["--tokenizer_name_or_path", str(learnt["square"])]
    tokenizer = AutoTokenizer.from_pretrained(learnt["square"])
    tokenizer.save_pretrained(tmp_path / "cased")
    vocabulary = tokenizer.get_vocab()
    assert vocabulary["[PAD]"] in tokenizer("a[PAD]").input_ids
    with pytest.raises(ValueError, match=r"validation row 1 \(.*\): (the labels contain the blank|the vocabulary)"):
        run(*SHORT, *own, "--validation_file", str(tmp_path / "new.csv"))


def test_features_need_to_know_how_they_are_made(files: list[str], tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", FEATURE_MODEL, rate=None)
    with pytest.raises(ValueError, match="give --feature_extractor_name"):
        run_ctc.main(["--config_name", model, *files, "--output_dir", str(tmp_path / "out"), *QUIET])


def test_a_missing_model_and_two_sources_are_named(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match="--model_name_or_path, or --config_name"):
        run_ctc.main([*files, "--output_dir", str(tmp_path)])
    for argv, message in (
        (["--dataset_name", "a/b"], "exclude each other"),
        (["--eval_metrics", "bleu"], "wer and cer"),
        (["--stack_frames", "0"], "at least 1"),
    ):
        with pytest.raises(SystemExit):
            run_ctc.main([*files, "--output_dir", str(tmp_path), *argv])
        assert message in capsys.readouterr().err
