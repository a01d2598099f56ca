"""Tones, a small Whisper, and runs of examples/run_speech_recognition_seq2seq.py on them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import transformers as tf
from example_scripts import QUIET, load_example
from seq2seq_runs import FEW, LEARN, WHISPER, write_tones

script = load_example("run_speech_recognition_seq2seq")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="session")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the config and the feature extractor of a small Whisper, for models from scratch."""
    folder = tmp_path_factory.mktemp("whisper")
    tf.WhisperConfig(**WHISPER).save_pretrained(folder)
    tf.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(whisper: str, files: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Run the script on the tones; its last arguments win."""

    def with_defaults(*argv: str, name: str = "out", source: list[str] | None = None) -> dict[str, float]:
        source = ["--config_name", whisper] if source is None else source
        return script.main([*source, *files, "--output_dir", str(tmp_path / name), *QUIET, *FEW, *argv])

    return with_defaults


@pytest.fixture(scope="session")
def learnt(whisper: str, files: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with each loss: train, evaluate, predict."""
    folders = {loss: tmp_path_factory.mktemp(loss) / "tones" for loss in ("square", "cross_entropy")}
    for loss, epochs in (("square", "20"), ("cross_entropy", "14")):
        out = ["--output_dir", str(folders[loss]), "--loss", loss, "--generation_num_beams", "3"]
        script.main(["--config_name", whisper, *files, *out, *QUIET, *LEARN, "--num_train_epochs", epochs])
    return folders
