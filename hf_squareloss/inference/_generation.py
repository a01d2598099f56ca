"""Log probabilities of the loss's own, in the place where `generate` takes the softmax of raw scores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_squareloss.config import base_model, load_loss
from hf_squareloss.losses import Loss


def log_probabilities(scores: Tensor, loss: Loss | PreTrainedModel) -> Tensor:
    """Natural logarithms (..., C) of the probabilities that a loss implies, from raw scores (..., C).

    log p = log loss.probabilities(scores): finite, and exp(log p) sums to one.

    This is what decoders and language models expect where their documentation says "logits", as
    `Wav2Vec2ProcessorWithLM.batch_decode` does.

    Args:
        scores: raw scores (..., C), any floating type.
        loss: a loss, or a model whose config names one (see `load_loss`).

    Returns:
        (..., C) in float32 or float64.

    Raises:
        ValueError: a model whose config names no loss.

    Example:
        >>> import torch
        >>> from hf_squareloss import SquareLoss
        >>> log_probabilities(torch.tensor([0.25, 0.75]), SquareLoss(k=1.0, M=1.0))
        tensor([-1.3863, -0.2877])
        >>> processor.batch_decode(log_probabilities(outputs.logits, model).numpy())  # doctest: +SKIP
    """
    if not isinstance(loss, Loss):
        loss = load_loss(loss)
    return loss.probabilities(scores).log()


_GENERATING: WeakSet[nn.Module] = WeakSet()
_RAW: WeakSet[nn.Module] = WeakSet()  # of these, the ones whose scores a loss is about to see


@contextmanager
def probability_generation(model: nn.Module, loss: Loss | None = None) -> Iterator[None]:
    """While it is open, `model.generate` sees log probabilities of the model's own loss in place of raw scores.

    transformers takes the log_softmax of a model's scores in beam search and their softmax in sampling, which is wrong
    for the square loss; log probabilities pass both unchanged. So beams, samples, penalties, thresholds and returned
    scores are right. Losses whose scores are logits (cross-entropy) are left as they are. A forward with `labels`
    keeps its raw scores, which a loss needs: trainers may evaluate inside.

    Args:
        model: a causal language model or an encoder-decoder (a PEFT wrapper is looked through).
        loss: the loss that its scores are of; None takes the one that its config names.

    Raises:
        ValueError: a model that cannot generate, or no loss given and none in its config.

    Example:
        >>> with probability_generation(model):  # doctest: +SKIP
        ...     tokens = model.generate(**inputs, num_beams=5)
    """
    given: Any = model
    model = base_model(model)
    if not isinstance(model, PreTrainedModel) or not model.can_generate():
        raise ValueError(f"{type(model).__name__} cannot generate: give a language model or an encoder-decoder")
    loss = load_loss(given) if loss is None else loss  # of the adapter that is active
    exact = loss.scores_are_logits and not loss.label_smoothing and loss.class_weights is None
    exact = exact and loss.calibration is None
    if exact or model in _GENERATING:
        yield
        return

    def link(module: nn.Module, args: Any, kwargs: dict[str, Any], outputs: Any) -> None:
        if kwargs.get("labels") is None and module not in _RAW:
            outputs["logits"] = log_probabilities(outputs["logits"], loss)

    _GENERATING.add(model)
    handle = model.register_forward_hook(link, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
        _GENERATING.discard(model)


@contextmanager
def raw_scores(model: nn.Module) -> Iterator[None]:
    """Within `probability_generation`, let the model's forwards give raw scores: without labels, but for a loss."""
    model = base_model(model)
    _RAW.add(model)
    try:
        yield
    finally:
        _RAW.discard(model)
