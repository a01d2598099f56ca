"""Evaluation row by row where a batch says its lengths: what a model says of a row, and T, are the row's alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ctc_models import make_ctc_model
from ctc_runs import WAVEFORM_MODEL
from torch import nn
from transformers import AutoModelForAudioClassification, Wav2Vec2Config

from hf_squareloss import SquareLossTrainingArguments
from hf_squareloss.recipes.ctc_transcripts import GreedyTrainer
from hf_squareloss.recipes.speech_encoding import SpeechCollator
from hf_squareloss.recipes.unpadded import UnpaddedTrainer

A, B, C, BLANK = 0, 1, 2, 5


def test_without_a_mask_calibration_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    found = []
    for size in (1, 4):
        torch.manual_seed(0)
        model: Any = make_ctc_model("wav2vec2", feat_extract_norm="group", vocab_size=6, pad_token_id=BLANK)
        nn.init.normal_(model.lm_head.weight, std=3.0)
        lengths, texts = [1200, 410, 500, 800], [[A, B], [C], [B, B, A], [A]]
        generator = np.random.default_rng(0)
        rows = [{"input_values": generator.normal(size=n), "labels": y} for n, y in zip(lengths, texts, strict=True)]
        args = SquareLossTrainingArguments(
            output_dir=str(tmp_path), use_cpu=True, report_to="none", per_device_eval_batch_size=size, max_steps=1,
            learning_rate=1e-4, remove_unused_columns=False, save_strategy="no", disable_tqdm=True,
        )  # fmt: skip
        collate = SpeechCollator("input_values", attention_mask=False, input_lengths=True)
        trainer = GreedyTrainer(model, args, data_collator=collate, train_dataset=rows, eval_dataset=rows)  # type: ignore[arg-type]
        trainer.train()
        assert trainer.loss.calibration is not None
        found.append(trainer.loss.calibration.T)
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_classes_of_sounds_are_those_of_each_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    values = {name: value for name, value in WAVEFORM_MODEL.items() if name != "model_type"}
    config = Wav2Vec2Config(**{**values, "feat_extract_norm": "group", "classifier_proj_size": 16, "num_labels": 3})
    model: Any = AutoModelForAudioClassification.from_config(config).eval()
    nn.init.normal_(model.classifier.weight, std=3.0)
    sounds, labels = [torch.randn(n) for n in (1200, 410, 800)], torch.tensor([2, 0, 1])
    padded = torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True)
    batch: Any = {"input_values": padded, "labels": labels}
    lengths = {"input_lengths": torch.tensor([len(sound) for sound in sounds])}
    args = SquareLossTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    trainer = UnpaddedTrainer(model, args)
    loss, scores, kept = trainer.prediction_step(model, batch | lengths, False)
    alone = torch.cat([model(sound[None]).logits for sound in sounds])
    assert torch.allclose(scores, alone, atol=1e-5) and kept.tolist() == labels.tolist()
    assert loss == pytest.approx(trainer.loss(alone, labels).mean().item(), rel=1e-5)
    _, together, _ = trainer.prediction_step(model, batch, False)
    assert (together - alone).abs().max() > 1e-2  # what must not be taken
    loss, nothing, _ = trainer.prediction_step(model, batch | lengths, True)
    assert loss is not None and nothing is None
