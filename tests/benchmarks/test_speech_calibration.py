"""benchmarks/speech_calibration.py: alignments against every path, the n-gram model by hand, all of it when tiny."""

import importlib
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Wav2Vec2CTCTokenizer

from hf_squareloss import SquareLoss, attach_loss, load_loss
from hf_squareloss.inference import calibrate
from hf_squareloss.models import BLSTMConfig, BLSTMForCTC

speech: Any = importlib.import_module("speech_calibration")
render: Any = importlib.import_module("render_speech_calibration")


@pytest.mark.parametrize("labels", [[1], [1, 2], [1, 1], [2, 1]])
def test_the_alignment_is_the_likeliest_of_all_paths(labels: list[int]) -> None:
    log_p = torch.randn(5, 3, generator=torch.Generator().manual_seed(len(labels) + labels[0])).log_softmax(-1)

    def value(path: tuple[int, ...]) -> float:
        merged = [c for c, _ in itertools.groupby(path) if c != 0]
        return sum(log_p[t, c].item() for t, c in enumerate(path)) if merged == labels else -math.inf

    best = max(itertools.product(range(3), repeat=5), key=value)
    assert speech.align(log_p, labels, 0).tolist() == list(best)


def test_the_n_gram_model_counts_contexts_and_backs_off() -> None:
    model = speech.Letters([[1, 2, 1, 2]], 3)
    smoothing = speech.SMOOTHING
    after_one = np.log(np.array([smoothing, smoothing, 2 + smoothing]) / (2 + 3 * smoothing))
    assert model.log_p((1,)) == pytest.approx(after_one)
    after_two_one = np.log(np.array([smoothing, smoothing, 1 + smoothing]) / (1 + 3 * smoothing))
    assert model.log_p((2, 2, 1)) == pytest.approx(after_two_one)  # (2, 2, 1) was not seen, (2, 1) once
    assert np.exp(model.log_p(())).sum() == pytest.approx(1.0)
    assert model.weighted(0.5, 2.0)((1,)) == pytest.approx(0.5 * after_one + 2.0)


def test_two_ways_on_a_tiny_model(tmp_path: Path) -> None:
    Path(tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "a": 1, "b": 2, "|": 3, "<unk>": 4}))
    tokenizer = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", pad_token="<pad>", word_delimiter_token="|")
    torch.manual_seed(0)
    config = BLSTMConfig(vocab_size=5, feature_projection_input_dim=3, hidden_size=8, num_hidden_layers=1)
    model = attach_loss(BLSTMForCTC(config), SquareLoss()).eval()
    for name in ("train", "validation", "test"):
        for i in range(2):
            np.save(tmp_path / f"{name}{i}.npy", np.random.default_rng(i).normal(size=(24, 3)).astype("f4"))
        lines = [f"{name}{i}.npy\t{text}" for i, text in enumerate(("ab", "b a"))]
        (tmp_path / f"{name}.tsv").write_text("\n".join(["audio\ttext", *lines]) + "\n")
    rows = speech.read_list(tmp_path / "validation.tsv")
    scores = torch.stack([speech.scores_of(model, features) for features, _ in rows])
    labels = torch.tensor([[1, 2, -100], [2, 3, 1]])
    T = calibrate(load_loss(model), scores, labels, frames=torch.tensor([8, 8]), blank=0).calibration
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    files = [word for n in ("train", "validation", "test") for word in (f"--{n}_file", str(tmp_path / f"{n}.tsv"))]
    speech.main([f"{tmp_path / 'model'}=3", *files, "--output", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    (one,) = found["models"]
    assert one["seed"] == 3 and one["loss"] == "square" and set(one["ways"]) == {"link", "T", "T, undone"}
    assert T is not None and one["T"] == pytest.approx(T.T, rel=1e-3)
    frames = {way: values["frames"] for way, values in one["ways"].items()}
    assert frames["link"]["nll"] != frames["T"]["nll"] and all(0 <= f["ece"] <= 1 for f in frames.values())
    assert all(values["weight"] in speech.WEIGHTS for values in one["ways"].values())
    table = render.speech_section(found)
    assert table.count("| square |") == 3 and f"{frames['T']['nll']:.3f}" in table
