"""The temporal convolutional net: its formula, what a position can know of, its loss, and that it learns."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from hf_squareloss import SquareLoss, attach_loss, square_loss
from hf_squareloss.models import TCNNConfig, TCNNForImageClassification


def net(**values: Any) -> TCNNForImageClassification:
    torch.manual_seed(0)
    sizes = {"num_channels": 1, "hidden_size": 6, "num_hidden_layers": 2, "kernel_size": 3, "num_labels": 3}
    return TCNNForImageClassification(TCNNConfig(**{**sizes, **values})).eval()


def naive_convolution(states: Tensor, layer: Any) -> Tensor:
    """One sequence (inputs, T), in loops."""
    weight = torch.stack([g * v / v.square().sum().sqrt() for g, v in zip(layer.gain, layer.direction, strict=True)])
    size, found = weight.shape[2], []
    for t in range(states.shape[1]):
        value = layer.bias.clone()
        for i in range(size):
            place = t - (size - 1 - i) * layer.dilation
            if place >= 0:
                value = value + weight[:, :, i] @ states[:, place]
        found.append(value)
    return torch.stack(found, 1)


def test_it_is_the_formula() -> None:
    model, image = net(), torch.randn(1, 4, 5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # the gains are no longer the lengths
        states = image.reshape(1, 20)
        for depth, block in enumerate(model.blocks):
            parts: Any = block
            assert [layer.dilation for layer in parts.layers[::3]] == [2**depth] * 2
            inner = naive_convolution(naive_convolution(states, parts.layers[0]).relu(), parts.layers[3]).relu()
            kept = states if depth else parts.shortcut.weight[:, :, 0] @ states + parts.shortcut.bias[:, None]
            states = (kept + inner).relu()
        torch.testing.assert_close(model(image[None]).logits[0], model.classifier(states[:, -1]))


def test_a_position_knows_of_what_came_before_it_as_far_as_documented() -> None:
    model, pixels = net(hidden_size=16), torch.randn(1, 1, 40)
    reach = 1 + 2 * (3 - 1) * (2**2 - 1)
    sequence = torch.nn.Sequential(*model.blocks)
    other = pixels.clone()
    other[0, 0, 12] += 1
    change = (sequence(pixels) - sequence(other)).abs().sum(1)[0]
    assert (change[:12] == 0).all() and (change[12 + reach :] == 0).all()
    assert (change[12 : 12 + reach] > 0).all()


def test_dropout_is_of_whole_channels() -> None:
    model = net(hidden_dropout_prob=0.5).train()
    block: Any = model.blocks[0]
    states = block.layers[2](torch.ones(4, 6, 9))
    assert set(states.unique().tolist()) == {0.0, 2.0} and (states == states[:, :, :1]).all()


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 5)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    assert net(num_channels=3)(torch.randn(4, 3, *size)).logits.shape == (4, 3)


@pytest.mark.parametrize("shape", [(4, 3, 8, 8), (1, 8, 8)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected images"):
        net()(torch.randn(shape))


def test_it_begins_as_torchs_own_convolution() -> None:
    layer: Any = net(hidden_size=200).blocks[1].layers[0]  # type: ignore[index,union-attr]
    torch.manual_seed(1)
    torchs = torch.nn.Conv1d(200, 200, 3)
    for ours, theirs in ((layer.direction, torchs.weight), (layer.bias, torchs.bias)):
        assert ours.abs().max().item() == pytest.approx(theirs.abs().max().item(), rel=0.02)  # type: ignore[union-attr]
        assert ours.std().item() == pytest.approx(theirs.std().item(), rel=0.1)  # type: ignore[union-attr]
    assert torch.allclose(layer.gain * layer.direction / layer._length(), layer.direction)


def test_its_loss_is_cross_entropy_or_the_attached_one() -> None:
    model: PreTrainedModel = net()
    images, labels = torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 2, 1])
    found = model(images, labels=labels)
    assert torch.allclose(found.loss, torch.nn.functional.cross_entropy(found.logits, labels))
    attach_loss(model, SquareLoss(k=1.0, M=1.0))
    assert torch.allclose(model(images, labels=labels).loss, square_loss(found.logits, labels).mean())


def test_it_learns_which_of_two_colours_comes_first() -> None:
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.zeros(128, 2, 36), torch.arange(128) % 2
    for image, label in zip(images, labels.tolist(), strict=True):
        first, second = torch.randperm(36, generator=generator)[:2].sort().values.tolist()
        image[label, first] = image[1 - label, second] = 1.0
    images = images.view(128, 2, 6, 6)
    model = net(num_channels=2, num_labels=2, hidden_size=16, num_hidden_layers=4, hidden_dropout_prob=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(images, labels=labels).loss.backward()
        optimizer.step()
    assert (model(images).logits.argmax(-1) == labels).float().mean() > 0.95
