"""examples/run_audio_classification.py with data that cannot be used: each is named, before anything is trained."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from example_scripts import results
from note_files import SHORT

Run = Callable[..., dict[str, float]]


@pytest.fixture
def train(folders: list[str], tmp_path: Path) -> Path:
    """A copy of the training folder, to be spoilt."""
    return Path(shutil.copytree(folders[1], tmp_path / "train"))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (None, "train row 1 .*000.wav.: the audio cannot be read"),
        (0, "train row 1 .*000.wav.: the audio has zero length"),
        (30, "train row 1 .*000.wav.: 30 samples are too few: the model makes no frame of them"),
    ],
)
def test_sounds_that_cannot_be_used(samples: int | None, message: str, run: Run, train: Path) -> None:
    file = train / "a" / "000.wav"
    if samples is None:
        file.write_bytes(b"no sound")
    else:
        soundfile.write(file, np.zeros(samples, np.float32), 8000)
    with pytest.raises(ValueError, match=message):
        run(*SHORT, "--train_dir", str(train))


def test_bad_sounds_can_be_left_out(run: Run, train: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (train / "a" / "000.wav").write_bytes(b"no sound")
    run(*SHORT, "--train_dir", str(train), "--skip_bad_utterances", "--do_train")
    assert results(tmp_path / "out")["train_samples"] == 95
    assert "Left out: train row 1" in capsys.readouterr().out


def test_short_sounds_of_validation_can_be_left_out(
    run: Run, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation = Path(shutil.copytree(folders[3], tmp_path / "validation"))
    soundfile.write(validation / "a" / "000.wav", np.zeros(30, np.float32), 8000)
    with pytest.raises(ValueError, match="validation row 1 .*000.wav.: 30 samples are too few"):
        run(*SHORT, "--validation_dir", str(validation))
    run(*SHORT, "--validation_dir", str(validation), "--skip_bad_utterances", "--do_train", "--do_eval")
    assert results(tmp_path / "out")["eval_samples"] == 23
    assert "Left out: validation row 1" in capsys.readouterr().out


def test_folders_of_nothing(run: Run, train: Path) -> None:
    shutil.rmtree(train / "b")
    (train / "b").mkdir()
    with pytest.raises(ValueError, match="the class folder 'b' has no audio file"):
        run(*SHORT, "--train_dir", str(train))


def test_validation_of_other_folders(run: Run, train: Path) -> None:
    (train / "b").rename(train / "z")
    with pytest.raises(ValueError, match="the validation split has labels that the training labels do not have: z"):
        run(*SHORT, "--validation_dir", str(train))
    for file in list(train.rglob("*.wav")):
        file.rename(train / file.name)
    with pytest.raises(ValueError, match="the validation folder .*.wav lies in no class's folder"):
        run(*SHORT, "--validation_dir", str(train))


def test_sounds_that_are_no_waveforms(run: Run, train: Path) -> None:
    for array, message in (
        (np.zeros((5, 4), np.float32), r"aaa.npy\): features \(5, 4\), but the model takes waveforms"),
        (np.full(900, np.nan, np.float32), r"aaa.npy\): NaN or infinite values, first at sample 0"),
    ):
        np.save(train / "a" / "aaa.npy", array)
        with pytest.raises(ValueError, match=message):
            run(*SHORT, "--train_dir", str(train))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class_weights", "a=1,b=2"], "no weight for c"),
        (["--max_length_seconds", "0"], "max_length_seconds must be positive"),
        (["--train_file", "x.csv"], "exclude each other"),
        (["--audio_root", "x"], "audio_root would be ignored"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], message: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((ValueError, SystemExit)) as error:
        run(*SHORT, *options)
    assert message in (str(error.value) + capsys.readouterr().err)


def test_a_part_that_a_model_lacks(run: Run) -> None:
    words = ["hidden_size=16", "num_hidden_layers=1", "num_attention_heads=2", "intermediate_size=16", "max_length=32"]
    words.append("num_mel_bins=32")
    model = ["--model_type", "audio-spectrogram-transformer", "--config_overrides", *words]
    with pytest.raises(ValueError, match="freeze_feature_encoder would be ignored: a ASTFor"):
        run(*SHORT, "--freeze_feature_encoder", model=model)
