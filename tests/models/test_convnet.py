"""The small convolutional net: its shapes, its loss, and that it learns."""

import pytest
import torch
from transformers import PreTrainedModel

from hf_squareloss import SquareLoss, attach_loss, square_loss
from hf_squareloss.models import ConvNetConfig, ConvNetForImageClassification


def net(**values: object) -> ConvNetForImageClassification:
    torch.manual_seed(0)
    return ConvNetForImageClassification(ConvNetConfig(hidden_sizes=[8, 8], **{"num_labels": 3, **values}))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(2, 2), (8, 8), (9, 5), (28, 28)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    assert net(num_channels=1)(torch.randn(4, 1, *size)).logits.shape == (4, 3)


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 3, 1, 8), (3, 8, 8)])
def test_other_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected images"):
        net()(torch.randn(shape))


def test_its_loss_is_cross_entropy_or_the_attached_one() -> None:
    model: PreTrainedModel = net().eval()
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 2, 1])
    found = model(images, labels=labels)
    assert torch.allclose(found.loss, torch.nn.functional.cross_entropy(found.logits, labels))
    attach_loss(model, SquareLoss(k=1.0, M=1.0))
    assert torch.allclose(model(images, labels=labels).loss, square_loss(found.logits, labels).mean())


def test_it_learns_what_a_linear_model_of_single_pixels_could_not() -> None:
    """Bars across or upright at a random place: each pixel alone says nothing."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.zeros(128, 3, 8, 8), torch.arange(128) % 2
    for image, label in zip(images, labels.tolist(), strict=True):
        place = int(torch.randint(8, (1,), generator=generator))
        image[:, place if label else slice(None), slice(None) if label else place] = 1.0
    model = net(num_labels=2, hidden_dropout_prob=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        model(images, labels=labels).loss.backward()
        optimizer.step()
    assert (model.eval()(images).logits.argmax(-1) == labels).float().mean() > 0.98
