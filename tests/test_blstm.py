"""The recurrent CTC model: right lengths, blind to padding, and at home in transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCTC

from hf_squareloss import attach_loss, ctc_loss, load_loss
from hf_squareloss.blstm import BLSTMConfig, BLSTMForCTC

LENGTHS = torch.tensor([31, 12, 20])


def model(**changes: Any) -> BLSTMForCTC:
    torch.manual_seed(0)
    small = {"vocab_size": 7, "feature_projection_input_dim": 4, "hidden_size": 8}
    return BLSTMForCTC(BLSTMConfig(**{**small, **changes})).eval()


def batch(seed: int = 0) -> dict[str, Tensor]:
    features = torch.randn(3, 31, 4, generator=torch.Generator().manual_seed(seed))
    return {"input_features": features, "attention_mask": (torch.arange(31) < LENGTHS.unsqueeze(1)).long()}


@pytest.mark.parametrize("stack", [1, 3, 4])
def test_frames(stack: int) -> None:
    recogniser = model(stack_frames=stack)
    assert recogniser(**batch()).logits.shape == (3, 31 // stack, 7)
    assert recogniser._get_feat_extract_output_lengths(LENGTHS).tolist() == [n // stack for n in (31, 12, 20)]


def test_padding_and_company_change_nothing() -> None:
    recogniser, inputs = model(), batch()
    logits = recogniser(**inputs).logits
    other = torch.where(inputs["attention_mask"].bool().unsqueeze(-1), inputs["input_features"], 1e3)
    assert torch.equal(recogniser(other, inputs["attention_mask"]).logits[1, :4], logits[1, :4])
    for i, length in enumerate(LENGTHS.tolist()):
        alone = recogniser(inputs["input_features"][i : i + 1, :length]).logits
        torch.testing.assert_close(alone[0], logits[i, : length // 3])


def test_both_directions_reach_every_frame() -> None:
    recogniser = model(stack_frames=1, num_hidden_layers=1)
    layers = [recogniser.forward_layers[0], recogniser.backward_layers[0]]
    stock = torch.nn.LSTM(4, 8, batch_first=True, bidirectional=True)
    for suffix, layer in zip(("", "_reverse"), layers, strict=True):
        for name, parameter in layer.named_parameters():
            getattr(stock, name + suffix).data.copy_(parameter)
    features = batch()["input_features"][:1]
    centred = features - features.mean(1, keepdim=True)
    states = stock(centred / features.std(1, keepdim=True, unbiased=False))[0]
    torch.testing.assert_close(recogniser(features).logits, recogniser.lm_head(states))


def test_constant_features_stay_finite() -> None:
    assert model()(torch.full((1, 9, 4), 3.0)).logits.isfinite().all()


def test_own_loss_is_torchs() -> None:
    labels = torch.tensor([[1, 2, 2], [3, -100, -100], [4, 5, -100]])
    outputs = model()(**batch(), labels=labels)
    log_probabilities = outputs.logits.log_softmax(-1).transpose(0, 1)
    expected = F.ctc_loss(log_probabilities, labels.clamp_min(0), LENGTHS // 3, (labels != -100).sum(1))
    torch.testing.assert_close(outputs.loss, expected)


def test_attached_loss_and_reload(tmp_path: Path) -> None:
    labels = torch.tensor([[1, 2, 2], [3, -100, -100], [4, 5, -100]])
    recogniser = attach_loss(model(), "square")
    outputs = recogniser(**batch(), labels=labels)
    expected = ctc_loss(outputs.logits, labels, LENGTHS // 3, loss=load_loss(recogniser)).mean()
    torch.testing.assert_close(outputs.loss, expected)
    recogniser.save_pretrained(tmp_path)
    again = AutoModelForCTC.from_pretrained(tmp_path)
    assert isinstance(again, BLSTMForCTC) and load_loss(again) == load_loss(recogniser)
    torch.testing.assert_close(again(**batch()).logits, outputs.logits)


def test_learns() -> None:
    recogniser = attach_loss(model(), "square").train()
    optimizer, before = torch.optim.Adam(recogniser.parameters(), 0.03), [p.clone() for p in recogniser.parameters()]
    labels, values = torch.tensor([[1, 2, 2], [3, -100, -100], [4, 5, -100]]), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = recogniser(**batch(), labels=labels).loss
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.5 * values[0]
    assert all(not torch.equal(a, b) for a, b in zip(before, recogniser.parameters(), strict=True))
