"""examples/run_audio_classification.py in this process: from folders of notes to predictions, once and again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
import yaml
from ctc_runs import FEATURE_MODEL, WAVEFORM_MODEL, write_model
from example_scripts import load_example, predictions, results
from note_files import CLASSES, SHORT, weights
from scipy.signal import resample_poly
from transformers import AutoModelForAudioClassification, Wav2Vec2FeatureExtractor

from hf_squareloss import load_loss, probability_pipeline
from hf_squareloss.recipes import sound_rows
from hf_squareloss.recipes.speech_demo import RATE

DIMS = "feature_projection_input_dim"


@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_notes_are_learnt(loss: str, learnt: dict[str, Path]) -> None:
    found = results(learnt[loss])
    assert found["eval_accuracy"] > 0.9 and found["test_accuracy"] > 0.9
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (96, 24, 24)
    assert {"eval_ece", "eval_brier", "eval_nll", "eval_f1"} <= found.keys()
    assert load_loss(learnt[loss]).name == loss
    names = json.loads((learnt[loss] / "config.json").read_text())["id2label"]
    assert tuple(names.values()) == CLASSES


def test_a_pipeline_gives_the_probabilities_of_the_file(learnt: dict[str, Path], folders: list[str]) -> None:
    lines = [line.split("\t") for line in (learnt["square"] / "test_predictions.tsv").read_text().splitlines()]
    assert lines[0] == ["index", "prediction", *(f"p({name})" for name in CLASSES)]
    files = sorted(Path(folders[-1]).rglob("*.wav"))
    classify: Any = probability_pipeline(str(learnt["square"]), device="cpu", top_k=None)
    for file, line in zip(files[::4], lines[1::4], strict=True):
        signal, rate = soundfile.read(file, dtype="float32")
        found = {answer["label"]: answer["score"] for answer in classify({"raw": signal, "sampling_rate": rate})}
        assert [found[name] for name in CLASSES] == pytest.approx([float(p) for p in line[2:]], abs=1e-4)
    right = [file.parent.name == line[1] for file, line in zip(files, lines[1:], strict=True)]
    assert sum(right) / len(right) == results(learnt["square"])["test_accuracy"]


def test_the_card_says_how_to_load_it(learnt: dict[str, Path], folders: list[str]) -> None:
    card = (learnt["square"] / "README.md").read_text()
    values = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert values["pipeline_tag"] == "audio-classification" and "base_model" not in values
    assert "AutoModelForAudioClassification.from_pretrained" in card
    assert folders[1] not in card and str(learnt["square"].parent) not in card


def test_the_same_command_again_trains_no_more(run: Callable[..., dict[str, float]]) -> None:
    steps = ["--max_steps", "2", "--save_steps", "2"]
    assert "train_runtime" in run(*steps) and "train_runtime" not in run(*steps)
    with pytest.raises(ValueError, match="max_length_seconds="):
        run(*steps, "--max_length_seconds", "0.1")


def test_a_resumed_run_is_the_uninterrupted_one(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    """Its random cuts too, in the middle of an epoch of 12 steps."""
    steps = ["--max_steps", "20", "--save_steps", "5", "--do_train", "--max_length_seconds", "0.06"]
    run(*steps, name="whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for folder in (tmp_path / "cut").glob("checkpoint-*"):
        if int(folder.name.rpartition("-")[2]) > 15:
            shutil.rmtree(folder)
    (tmp_path / "cut" / "model.safetensors").unlink()
    run(*steps, name="cut")
    assert torch.equal(weights(tmp_path / "cut"), weights(tmp_path / "whole"))
    run(*steps[:-1], "0.2", name="other")
    assert not torch.equal(weights(tmp_path / "other"), weights(tmp_path / "whole"))


def test_other_rates_give_about_the_same_answers(
    run: Callable[..., dict[str, float]], learnt: dict[str, Path], folders: list[str], tmp_path: Path
) -> None:
    for file in Path(folders[-1]).rglob("*.wav"):
        signal, rate = soundfile.read(file, dtype="float32")
        (tmp_path / "fast" / file.parent.name).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "fast" / file.parent.name / file.name, resample_poly(signal, 2, 1), 2 * rate)
    saved = ["--model_name_or_path", str(learnt["square"])]
    found = run("--do_predict", model=saved, data=["--test_dir", str(tmp_path / "fast")])
    assert found["test_accuracy"] == results(learnt["square"])["test_accuracy"]
    assert predictions(tmp_path / "out") == predictions(learnt["square"])


def test_weights_by_name_and_a_frozen_encoder(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    run(*SHORT, "--class_weights", "c=3,b=2,a=1", "--freeze_feature_encoder")
    assert load_loss(tmp_path / "out").class_weights == (1.0, 2.0, 3.0)


CONFORMER = [f"{name}={json.dumps(value)}" for name, value in FEATURE_MODEL.items() if name not in ("model_type", DIMS)]
SPECTROGRAM = [
    *("hidden_size=16", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=16"),
    *("max_length=32", "num_mel_bins=32"),
]


@pytest.mark.parametrize(
    ("model", "words"), [("wav2vec2-bert", CONFORMER), ("audio-spectrogram-transformer", SPECTROGRAM)]
)
def test_models_of_spectrograms_from_scratch(
    model: str, words: list[str], run: Callable[..., dict[str, float]]
) -> None:
    given = ["--model_type", model, "--config_overrides", *words]
    assert run(*SHORT, "--max_train_samples", "16", model=given)["test_samples"] == 24


def test_training_sounds_are_cut_to_what_the_model_hears(
    run: Callable[..., dict[str, float]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    longest = []

    class Rows(sound_rows.SoundRows):
        def __getitem__(self, index: int) -> dict[str, Any]:
            row = super().__getitem__(index)
            longest.append((self._most, len(row["waveform"])))
            return row

    monkeypatch.setattr(load_example("run_audio_classification"), "SoundRows", Rows)
    words = ["hidden_size=16", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=16"]
    words += ["max_length=20", "num_mel_bins=32"]  # 20 windows of 25 ms, one every 10: 215 ms
    run(*SHORT, model=["--model_type", "audio-spectrogram-transformer", "--config_overrides", *words])
    assert max(length for most, length in longest if most is not None) == round(0.215 * 16_000)
    assert max(length for most, length in longest if most is None) > 0.215 * 16_000
    assert "sounds of the validation split are longer than the 0.215 seconds" in capsys.readouterr().out


def test_without_a_mask_nothing_depends_on_the_batch(
    run: Callable[..., dict[str, float]], folders: list[str], tmp_path: Path
) -> None:
    """Group norm over time, as in wav2vec2-base: padding would change what is heard, and so T and the predictions."""
    files = sorted(Path(folders[-1]).rglob("*.wav"))
    lengths = {len(soundfile.read(file)[0]) for file in files}
    assert max(lengths) > 2 * min(lengths)
    (tmp_path / "model").mkdir()
    name = write_model(tmp_path / "model", WAVEFORM_MODEL | {"classifier_proj_size": 16, "feat_extract_norm": "group"})
    Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=False).save_pretrained(name)
    found = {}
    for size in ("1", "24"):
        run(*SHORT, "--per_device_eval_batch_size", size, name=f"out{size}", model=["--config_name", name])
        T = load_loss(tmp_path / f"out{size}").calibration
        written = (tmp_path / f"out{size}" / "test_predictions.tsv").read_text().splitlines()[1:]
        assert T is not None and len(written) == 24
        found[size] = [T.T, *(float(value) for line in written for value in line.split("\t")[2:])]
    assert found["1"] == pytest.approx(found["24"], abs=2e-5)
    model: Any = AutoModelForAudioClassification.from_pretrained(tmp_path / "out1")
    sounds = [torch.from_numpy(soundfile.read(file, dtype="float32")[0]) for file in files]
    together = model(torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True)).logits.softmax(-1)
    assert (together.flatten() - torch.tensor(found["1"][1:])).abs().max() > 1e-3  # what must not be taken
