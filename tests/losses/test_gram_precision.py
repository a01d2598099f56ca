"""The Gram form in low precision, and where hidden states have a bad scale."""

import pytest
import torch
from linear_inputs import Inputs, assert_close, reference, without_scores


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("outlier", [1.0, 1e3])
def test_float32(scale: float, outlier: float, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with one hidden dimension far above the others, as language models have."""
    inputs = Inputs(n=300, c=2000, d=64, dtype=torch.float32)
    with torch.no_grad():
        inputs.hidden.mul_(scale)[:, 0].mul_(outlier)
    ours = inputs.gradients(without_scores, k=15.0, M=30.0)
    monkeypatch.undo()
    assert_close(ours, reference(inputs), 1e-5)


@pytest.mark.parametrize(("d", "dtype"), [(16, torch.float32), (64, torch.float32), (64, torch.bfloat16)])
def test_a_vocabulary_of_250_000(d: int, dtype: torch.dtype, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the narrow product and by blocks."""
    inputs = Inputs(n=64, c=250_000, d=d, dtype=dtype)
    ours = inputs.gradients(without_scores, k="auto", M="auto")
    monkeypatch.undo()
    assert_close(ours, reference(inputs, k="auto", M="auto"), 1e-5 if dtype == torch.float32 else 1e-2)


def test_bfloat16_with_an_outlier(no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(n=300, c=2000, d=64, dtype=torch.bfloat16)
    with torch.no_grad():
        inputs.hidden[:, 0].mul_(1e3)
    ours = inputs.gradients(without_scores, k=15.0, M=30.0)
    monkeypatch.undo()
    assert_close(ours, reference(inputs), 1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
def test_autocast(dtype: torch.dtype, scale: float, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = Inputs(n=300, c=2000, d=64, dtype=torch.float32)
    with torch.no_grad():
        inputs.hidden.mul_(scale)
    with torch.autocast("cpu", dtype=dtype):
        ours = inputs.gradients(without_scores, k=15.0, M=30.0)
    assert ours[0].dtype == torch.float32 and all(gradient.dtype == torch.float32 for gradient in ours[1:])
    monkeypatch.undo()
    tolerance = 1e-2 if dtype == torch.bfloat16 else 1e-5  # float16 is replaced by float32, in backward too
    assert_close(ours, reference(inputs), tolerance)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("c", [300, 3000])
def test_models_in_16_bits(c: int, dtype: torch.dtype, no_scores: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class on half of the items: hundreds of small rows in one sum, whether there are fewer classes or more."""
    inputs = Inputs(n=2000, c=c, d=130, dtype=dtype)
    inputs.labels[::2] = 7
    ours = inputs.gradients(without_scores, k=15.0, M=30.0)
    assert all(gradient.dtype == dtype for gradient in ours[1:])
    monkeypatch.undo()
    assert_close(ours, reference(inputs), 1e-2)
