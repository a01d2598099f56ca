"""The recipe in examples/speechbrain as its users run it: on tones that spell letters, and on stored features."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

RECIPE = Path(__file__).parents[2] / "examples" / "speechbrain"
RATE = 8000
TONES = {"a": 500.0, "b": 1200.0, "c": 2400.0}  # Hz
EPOCHS = 2
SMALL = f"""
--characters abc --number_of_epochs {EPOCHS} --batch_size 4 --num_buckets 2 --lr 0.005 --dropout 0.0
--cnn_channels [2,2] --rnn_neurons 16 --dnn_neurons 16 --dec_neurons 16 --emb_size 8 --beam_size 2 --device cpu
""".split()


def spelled(text: str, generator: np.random.Generator) -> np.ndarray:
    """A tenth of a second of each letter's tone, with silence between and noise over all."""
    times = np.arange(RATE // 10) / RATE
    silence = np.zeros(RATE // 20)
    parts = [part for letter in text for part in (0.5 * np.sin(2 * np.pi * TONES[letter] * times), silence)]
    waveform = np.concatenate(parts)
    return (waveform + 0.01 * generator.standard_normal(len(waveform))).astype("float32")


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 utterances of two to four letters to train on and 6 to test."""
    folder, generator = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    for split, number in (("train", 48), ("test", 6)):
        rows = ["path\ttext"]
        for i in range(number):
            text = "".join(generator.choice(list(TONES), generator.integers(2, 5)))
            soundfile.write(folder / f"{split}{i}.wav", spelled(text, generator), RATE)
            rows.append(f"{split}{i}.wav\t{text}")
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return folder


def command(data: Path, output: Path, *options: str) -> list[str]:
    given = ["--data_folder", str(data), "--output_folder", str(output), "--sample_rate", str(RATE), *SMALL, *options]
    return [sys.executable, str(RECIPE / "train.py"), str(RECIPE / "hparams" / "train.yaml"), *given]


def run(data: Path, output: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(command(data, output, *options), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return json.loads((output / "results.json").read_text())


def run_and_kill(data: Path, output: Path, *options: str) -> None:
    """Kills a run when it has done its first epoch."""
    log = output / "log.txt"
    process = subprocess.Popen(command(data, output, *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not (log.exists() and "Going into epoch 2" in log.read_text()):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()


def losses(results: dict[str, Any]) -> list[float]:
    return [epoch["train_loss"] for epoch in results["epochs"]]


def test_trains_on_waveforms_and_resumes_as_if_never_killed(tones: Path, tmp_path: Path) -> None:
    options = ("--loss", "square", "--loss_parameters", "k=2", "--test_tsv", "test.tsv")
    whole = run(tones, tmp_path / "whole", *options)
    assert whole["settings"]["loss"] == {"loss": "square", "k": 2.0, "M": 1.0}  # auto: √(C / (4 k)), at least 1
    assert whole["settings"]["ctc_loss"] == {"loss": "cross_entropy"}
    classes = len("abc") + 3  # with blank, begin and end
    # Zero scores cost k M^2 / C with the square loss and log C with cross-entropy, beside the same loss of CTC.
    assert whole["settings"]["seq_scale"] == pytest.approx(math.log(classes) / (2.0 / classes), rel=1e-5)
    assert [epoch["epoch"] for epoch in whole["epochs"]] == list(range(1, EPOCHS + 1))
    assert losses(whole)[-1] < 0.9 * losses(whole)[0]
    assert {"CER", "WER", "loss", "epoch"} == set(whole["test"])
    error_rates = {epoch["epoch"]: epoch["valid"]["CER"] for epoch in whole["epochs"]}
    assert error_rates[whole["test"]["epoch"]] == min(error_rates.values())

    run_and_kill(tones, tmp_path / "killed", *options)
    killed = json.loads((tmp_path / "killed" / "results.json").read_text())
    assert 1 <= len(killed["epochs"]) < EPOCHS and killed["test"] is None
    unfinished = tmp_path / "killed" / "save" / "CKPT+unfinished"  # killed while it wrote this one
    unfinished.mkdir()
    (unfinished / "CKPT.yaml").write_text(f"end-of-epoch: true\nunixtime: {time.time()}\nCER: 0.0\nepoch: 99\n")
    resumed = run(tones, tmp_path / "killed", *options)
    assert losses(resumed) == pytest.approx(losses(whole), rel=1e-5)
    assert resumed["test"] == pytest.approx(whole["test"], rel=1e-5)


def test_trains_on_stored_features_with_other_losses(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = ["path\ttext"]
    for i in range(24):
        text = "".join(generator.choice(list("abc"), 3))
        frames = np.repeat([np.eye(8)["abc".index(letter)] for letter in text], 20, axis=0)
        np.save(tmp_path / f"{i}.npy", (frames + 0.1 * generator.standard_normal(frames.shape)).astype("float32"))
        rows.append(f"{i}.npy\t{text}")
    (tmp_path / "train.tsv").write_text("\n".join(rows) + "\n")
    options = ("--feature_dim", "8", "--loss", "squentropy", "--ctc_loss", "square", "--seq_scale", "0.5")
    results = run(tmp_path, tmp_path / "run", *options)
    assert results["settings"]["seq_scale"] == 0.5
    assert results["settings"]["ctc_loss"]["loss"] == "square"
    assert losses(results)[-1] < losses(results)[0]
    assert len(json.loads((tmp_path / "run" / "valid.json").read_text())) == 2  # a tenth held out

    refused = command(tmp_path, tmp_path / "run", *options, "--seed", "1")
    done = subprocess.run(refused, capture_output=True, text=True, check=False)
    assert done.returncode and "other seed" in done.stdout + done.stderr


def test_the_papers_acoustic_model_trains(tones: Path, tmp_path: Path) -> None:
    vgg = run(tones, tmp_path / "vgg", "--acoustic_model", "vgg_blstmp")
    values = losses(vgg)
    assert len(values) == EPOCHS and values[-1] < values[0]
    assert values != losses(run(tones, tmp_path / "crdnn"))


def test_another_acoustic_model_is_refused(tones: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        command(tones, tmp_path, "--acoustic_model", "crnn"), capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "crnn" in done.stderr
