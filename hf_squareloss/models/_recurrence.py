"""Recurrent layers in both directions over padded sequences: what follows a sequence in its batch changes nothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def normalized(features: Tensor, mask: Tensor) -> Tensor:
    """Features (B, T, d) with mean 0 and variance 1 over the frames that mask (B, T) keeps of each; 0 elsewhere."""
    kept = mask.unsqueeze(-1).to(features.dtype)
    frames = kept.sum(1, keepdim=True).clamp_min(1.0)
    centred = (features - (features * kept).sum(1, keepdim=True) / frames) * kept
    return centred / (centred.square().sum(1, keepdim=True) / frames).sqrt().clamp_min(1e-5)


def backwards(lengths: Tensor, frames: int) -> Tensor:
    """(B, T) indices that read each sequence from its end and leave the padding in place."""
    order = torch.arange(frames, device=lengths.device).expand(len(lengths), -1)
    last = lengths.unsqueeze(1) - 1
    return torch.where(order <= last, last - order, order)


def reordered(states: Tensor, order: Tensor) -> Tensor:
    """States (B, T, d) at the frames order (B, T)."""
    return states.gather(1, order.unsqueeze(-1).expand_as(states))


def both_directions(ahead: nn.Module, back: nn.Module, states: Tensor, order: Tensor) -> Tensor:
    """States (B, T, d) through one LSTM forwards and one from each sequence's end: (B, T, 2 h).

    `order` is that of `backwards`. Unlike torch's packed sequences it takes no lengths to the host.
    """
    backward = reordered(back(reordered(states, order))[0], order)
    return torch.cat([ahead(states)[0], backward], dim=-1)


def mask_of(features: Tensor, attention_mask: Tensor | None) -> Tensor:
    """attention_mask (B, T), or all frames where there is none."""
    return torch.ones_like(features[..., 0], dtype=torch.long) if attention_mask is None else attention_mask
