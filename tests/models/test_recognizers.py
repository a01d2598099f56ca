"""The recurrent CTC models: right lengths, blind to padding, and at home in transformers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCTC

from hf_squareloss import attach_loss, blstm, ctc_loss, load_loss
from hf_squareloss.models import BLSTMConfig, BLSTMForCTC, VGGBLSTMPConfig, VGGBLSTMPEncoder, VGGBLSTMPForCTC

LENGTHS = torch.tensor([31, 12, 20])
LABELS = torch.tensor([[1, 2, 2], [3, -100, -100], [4, 5, -100]])
Model = BLSTMForCTC | VGGBLSTMPForCTC


def blstm_model(**changes: Any) -> BLSTMForCTC:
    torch.manual_seed(0)
    small = {"vocab_size": 7, "feature_projection_input_dim": 4, "hidden_size": 8}
    return BLSTMForCTC(BLSTMConfig(**{**small, **changes})).eval()


def vgg_model(**changes: Any) -> VGGBLSTMPForCTC:
    torch.manual_seed(0)
    small = {"vocab_size": 7, "feature_projection_input_dim": 5, "conv_dims": [4, 6], "hidden_size": 8}
    small |= {"projection_size": 9, "num_hidden_layers": 2}
    return VGGBLSTMPForCTC(VGGBLSTMPConfig(**{**small, **changes})).eval()


both = pytest.mark.parametrize("make", [blstm_model, vgg_model])


def batch(model: Model, seed: int = 0) -> dict[str, Tensor]:
    features = model.config.feature_projection_input_dim
    inputs = torch.randn(3, 31, features, generator=torch.Generator().manual_seed(seed))
    return {"input_features": inputs, "attention_mask": (torch.arange(31) < LENGTHS.unsqueeze(1)).long()}


@pytest.mark.parametrize("stack", [1, 3, 4])
def test_stacked_frames(stack: int) -> None:
    recogniser = blstm_model(stack_frames=stack)
    assert recogniser(**batch(recogniser)).logits.shape == (3, 31 // stack, 7)
    assert recogniser._get_feat_extract_output_lengths(LENGTHS).tolist() == [n // stack for n in (31, 12, 20)]


@pytest.mark.parametrize(("dims", "frames"), [([4], [16, 6, 10]), ([4, 6], [8, 3, 5]), ([4, 6, 6], [4, 2, 3])])
def test_pooled_frames(dims: list[int], frames: list[int]) -> None:
    recogniser = vgg_model(conv_dims=dims)
    assert recogniser(**batch(recogniser)).logits.shape == (3, frames[0], 7)
    assert recogniser._get_feat_extract_output_lengths(LENGTHS).tolist() == frames


@both
def test_padding_and_company_change_nothing(make: Callable[[], Model]) -> None:
    recogniser = make()
    inputs = batch(recogniser)
    logits, frames = recogniser(**inputs).logits, recogniser._get_feat_extract_output_lengths(LENGTHS).tolist()
    other = torch.where(inputs["attention_mask"].bool().unsqueeze(-1), inputs["input_features"], 1e3)
    assert torch.equal(recogniser(other, inputs["attention_mask"]).logits[1, : frames[1]], logits[1, : frames[1]])
    for i, length in enumerate(LENGTHS.tolist()):
        alone = recogniser(inputs["input_features"][i : i + 1, :length]).logits
        torch.testing.assert_close(alone[0], logits[i, : frames[i]])


def test_both_directions_reach_every_frame() -> None:
    recogniser = blstm_model(stack_frames=1, num_hidden_layers=1)
    stock = stock_layer(recogniser.forward_layers[0], recogniser.backward_layers[0])
    features = batch(recogniser)["input_features"][:1]
    centred = features - features.mean(1, keepdim=True)
    states = stock(centred / features.std(1, keepdim=True, unbiased=False))[0]
    torch.testing.assert_close(recogniser(features).logits, recogniser.lm_head(states))


def stock_layer(ahead: nn.Module, back: nn.Module) -> nn.LSTM:
    """torch's own layer in both directions with these weights."""
    size, hidden = ahead.input_size, ahead.hidden_size
    stock = nn.LSTM(size, hidden, batch_first=True, bidirectional=True)  # type: ignore[arg-type]
    for suffix, layer in (("", ahead), ("_reverse", back)):
        for name, parameter in layer.named_parameters():
            getattr(stock, name + suffix).data.copy_(parameter)
    return stock


def test_the_encoder_is_convolutions_and_projected_layers_of_torch() -> None:
    encoder = vgg_model().encoder
    features = torch.randn(2, 13, 5)
    states = features.unsqueeze(1)
    for first, second in encoder.blocks:  # type: ignore[misc]
        states = F.max_pool2d(second(first(states).relu()).relu(), 2, ceil_mode=True)
    states = states.permute(0, 2, 1, 3).flatten(2)
    layers = [*zip(encoder.forward_layers, encoder.backward_layers, encoder.projections, strict=True)]
    for depth, (ahead, back, projection) in enumerate(layers):
        states = projection(stock_layer(ahead, back)(states)[0])
        states = states.tanh() if depth < len(layers) - 1 else states
    torch.testing.assert_close(encoder(features), states)


def test_the_papers_size() -> None:
    encoder = VGGBLSTMPEncoder(input_size=83)
    assert [layer.hidden_size for layer in encoder.forward_layers] == [320] * 6
    assert encoder.forward_layers[0].input_size == 128 * 21
    assert encoder(torch.randn(1, 9, 83)).shape == (1, 3, 320)


@both
def test_constant_features_stay_finite(make: Callable[[], Model]) -> None:
    recogniser = make()
    width = recogniser.config.feature_projection_input_dim
    assert recogniser(torch.full((1, 9, width), 3.0)).logits.isfinite().all()


@both
def test_own_loss_is_torchs(make: Callable[[], Model]) -> None:
    recogniser = make()
    outputs = recogniser(**batch(recogniser), labels=LABELS)
    log_probabilities = outputs.logits.log_softmax(-1).transpose(0, 1)
    frames = recogniser._get_feat_extract_output_lengths(LENGTHS)
    torch.testing.assert_close(
        outputs.loss,
        F.ctc_loss(log_probabilities, LABELS.clamp_min(0), frames, (LABELS != -100).sum(1), zero_infinity=True),
    )


@both
def test_attached_loss_and_reload(make: Callable[[], Model], tmp_path: Path) -> None:
    recogniser = attach_loss(make(), "square")
    outputs = recogniser(**batch(recogniser), labels=LABELS)
    frames = recogniser._get_feat_extract_output_lengths(LENGTHS)
    expected = ctc_loss(outputs.logits, LABELS, frames, loss=load_loss(recogniser)).mean()
    torch.testing.assert_close(outputs.loss, expected)
    recogniser.save_pretrained(tmp_path)
    again = AutoModelForCTC.from_pretrained(tmp_path)
    assert type(again).__name__ == type(make()).__name__ and load_loss(again) == load_loss(recogniser)
    torch.testing.assert_close(again(**batch(again)).logits, outputs.logits)


@both
def test_learns(make: Callable[[], Model]) -> None:
    recogniser = attach_loss(make(), "square").train()
    optimizer, before = torch.optim.Adam(recogniser.parameters(), 0.03), [p.clone() for p in recogniser.parameters()]
    values = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = recogniser(**batch(recogniser), labels=LABELS).loss
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.5 * values[0]
    assert all(not torch.equal(a, b) for a, b in zip(before, recogniser.parameters(), strict=True))


def test_the_old_name() -> None:
    assert blstm.BLSTMForCTC is BLSTMForCTC
