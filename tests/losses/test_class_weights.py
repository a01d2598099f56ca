"""Class weights on a device: made once, and never what a mode or a transform made of them."""

import pickle

import torch
from batches import random_scores
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from hf_squareloss.losses import SquareLoss

WEIGHTS = (1.0, 2.0, 3.0, 4.0, 5.0)


def test_the_same_tensor_again() -> None:
    loss = SquareLoss(class_weights=WEIGHTS)
    cpu, wide = torch.device("cpu"), torch.float64
    assert loss.weights_on(cpu, wide) is loss.weights_on(cpu, wide)
    assert loss.weights_on(cpu, torch.float32).tolist() == list(WEIGHTS)
    assert loss == SquareLoss(class_weights=WEIGHTS) and pickle.loads(pickle.dumps(loss)) == loss


def test_weights_first_needed_on_another_device_or_in_inference_mode() -> None:
    """What is kept from an evaluation can be saved for the backward pass of a training step."""
    scores, labels, loss = random_scores(4, 5), torch.tensor([0, 1, 2, 3]), SquareLoss(class_weights=WEIGHTS)
    with torch.device("meta"):
        first = loss.mean(scores, labels)
    assert first.device.type == "cpu"
    other = SquareLoss(class_weights=WEIGHTS)
    with torch.inference_mode():
        other.mean(scores, labels)
    (gradient,) = torch.autograd.grad(other.mean(scores.requires_grad_(), labels), scores)
    assert gradient.norm() > 0


def test_weights_first_needed_under_a_mode_or_transform() -> None:
    """What these make of a constant does not outlive them."""
    scores, soft = random_scores(5, 5), torch.full((5, 5), 0.2)
    loss = SquareLoss(k=1.5, M=2.5, class_weights=WEIGHTS)
    with FakeTensorMode():
        assert isinstance(loss.weights_on(torch.device("cpu"), torch.float32), FakeTensor)
    gradient = torch.func.grad(lambda f: loss(f, soft).sum())(scores)
    found = loss(scores.requires_grad_(), soft).sum()
    assert type(found) is Tensor
    found.backward()
    torch.testing.assert_close(scores.grad, gradient)
