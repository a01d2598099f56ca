"""Classes of frames become transcripts, in batches of any padding, and their errors are counted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ctc_models import make_ctc_model
from torch import nn
from transformers import EvalPrediction, Wav2Vec2BertConfig, Wav2Vec2BertForCTC

from hf_squareloss import SquareLossTrainingArguments
from hf_squareloss.heads import ctc_frames
from hf_squareloss.recipes.ctc_data import character_tokenizer
from hf_squareloss.recipes.ctc_transcripts import GreedyTrainer, greedy_transcripts, transcript_metrics
from hf_squareloss.recipes.speech_encoding import SpeechCollator

TOKENIZER = character_tokenizer(["ab c"], unk_token="[UNK]", pad_token="[PAD]", word_delimiter_token="|")
A, B, C, SPACE, _, BLANK = range(6)


def test_repeats_are_merged_then_blanks_dropped() -> None:
    frames = [[A, A, BLANK, A, B, B], [C, SPACE, A, -100, -100, -100], [BLANK] * 6]
    assert greedy_transcripts(frames, tokenizer=TOKENIZER, blank=BLANK) == ["aab", "c a", ""]


def test_the_blank_is_the_model_s() -> None:
    """OmniASR has a blank beside its token for padding: between equal neighbours it keeps them apart."""
    frames = [[C, A, A, C, A, B], [C, C, B, -100, -100, -100]]
    assert greedy_transcripts(frames, tokenizer=TOKENIZER, blank=C) == ["aab", "b"]


def test_error_rates_and_exact_matches() -> None:
    frames = np.array([[A, BLANK, A, B], [C, SPACE, A, -100]])
    references = np.array([[A, A, C], [C, SPACE, A]])  # "aac" and "c a"
    prediction = EvalPrediction(frames, references)
    found = transcript_metrics(prediction, tokenizer=TOKENIZER, blank=BLANK, names=["wer", "cer"])
    assert found == pytest.approx({"wer": 1 / 3, "cer": 1 / 6, "exact_match": 1 / 2})
    assert set(transcript_metrics(prediction, tokenizer=TOKENIZER, blank=BLANK, names=["cer"])) == {
        "cer",
        "exact_match",
    }


def test_a_padded_batch_gives_the_classes_of_its_utterances_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        **{"vocab_size": 6, "pad_token_id": BLANK, "feature_projection_input_dim": 4, "conv_depthwise_kernel_size": 3},
        **{"left_max_position_embeddings": 4, "right_max_position_embeddings": 4, "add_adapter": True},
        **{"output_hidden_size": 16, "adapter_stride": 2},
    }
    model = Wav2Vec2BertForCTC(Wav2Vec2BertConfig(**sizes)).eval()
    nn.init.normal_(model.lm_head.weight, std=3.0)
    args = SquareLossTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    trainer = GreedyTrainer(model, args)
    lengths = torch.tensor([24, 10])
    inputs: dict[str, Any] = {"input_features": torch.randn(2, 24, 4)}
    mask = (torch.arange(24) < lengths[:, None]).long()
    _, classes, _ = trainer.prediction_step(model, {**inputs, "attention_mask": mask}, False)
    frames = ctc_frames(model, lengths).tolist()
    assert (classes != -100).sum(-1).tolist() == frames and frames[1] < frames[0] < 24
    for row, length, kept, found in zip(inputs["input_features"], lengths, frames, classes, strict=True):
        alone = model(input_features=row[None, :length]).logits[0].argmax(-1)
        assert found[:kept].tolist() == alone.tolist()
    _, unmasked, _ = trainer.prediction_step(model, inputs, False)
    assert (unmasked != -100).all()
    loss, nothing, _ = trainer.prediction_step(model, {**inputs, "labels": torch.ones(2, 1).long()}, True)
    assert loss is not None and nothing is None  # only the loss is asked for


def test_without_a_mask_utterances_are_decoded_as_alone(tmp_path: Path) -> None:
    """Group norm over time: padding changes every frame, so that cutting it off behind the model is not enough."""
    torch.manual_seed(0)
    model: Any = make_ctc_model("wav2vec2", feat_extract_norm="group", vocab_size=6, pad_token_id=BLANK)
    nn.init.normal_(model.lm_head.weight, std=3.0)
    lengths, texts = [1200, 410, 1200, 800], [[A, B], [C], [B, B, A], [A]]
    rows = [{"input_values": np.random.randn(n), "labels": y} for n, y in zip(lengths, texts, strict=True)]
    args = SquareLossTrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to="none", per_device_eval_batch_size=4, max_steps=2,
        remove_unused_columns=False, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    collate = SpeechCollator("input_values", attention_mask=False, input_lengths=True)
    trainer = GreedyTrainer(model, args, data_collator=collate, train_dataset=rows)  # type: ignore[arg-type]
    predicted: Any = trainer.predict(rows)  # type: ignore[arg-type]
    found, labels, metrics = predicted
    alone = [trainer.predict([row]) for row in rows]  # type: ignore[arg-type,list-item]
    frames, longest = ctc_frames(model, torch.tensor(lengths)).tolist(), found.shape[1]
    assert (found != -100).sum(-1).tolist() == frames and longest == max(frames)
    expected = [model(torch.tensor(row["input_values"][None]).float()).logits[0].argmax(-1).tolist() for row in rows]
    assert [row[row != -100].tolist() for row in found] == expected
    assert metrics["test_loss"] == pytest.approx(np.mean([(one.metrics or {})["test_loss"] for one in alone]), rel=1e-6)
    assert labels.tolist() == [y + [-100] * (3 - len(y)) for y in texts]
    batch = collate(rows)  # type: ignore[arg-type]
    padded = model(batch["input_values"]).logits.argmax(-1)  # what must not be taken
    assert any(row[:n].tolist() != e for row, n, e in zip(padded, frames, expected, strict=True))
    trainer.train()  # the lengths go before the model
    assert trainer.state.global_step == 2
