"""VGG-BLSTMP, the seed paper's acoustic model: convolutions, then bidirectional LSTM layers with projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import CausalLMOutput

from hf_squareloss.models._initial_values import TorchInitialized
from hf_squareloss.models._recurrence import backwards, both_directions, mask_of, normalized


class VGGBLSTMPEncoder(nn.Module):
    """Features (B, T, input_size) -> states (B, ceil(T / 4), projection_size), for two blocks of convolutions.

    Each block is two 3 x 3 convolutions over time and frequency with ReLU, and maximum pooling that halves both,
    rounding up; each layer after them an LSTM in both directions and a linear projection, with tanh between layers.

    Source: the recipes of ESPnet that Hui & Belkin name (arXiv 2006.07322, appendix): "vggblstmp", 6 layers of 320
    units for WSJ. The blocks are the first two of VGG (arXiv 1409.1556), as Hori et al. (arXiv 1706.02737) take them.

    Args:
        input_size: features per frame.
        conv_dims: channels of each block; each halves the frame rate.
        hidden_size: units of each direction of each layer.
        projection_size: of each layer's output.
        num_layers: of the LSTM.
        dropout: of each layer's output; the recipes have none.
    """

    def __init__(
        self,
        input_size: int,
        conv_dims: Sequence[int] = (64, 128),
        hidden_size: int = 320,
        projection_size: int = 320,
        num_layers: int = 6,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels = [1, *conv_dims]
        self.blocks = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)])
            for before, after in zip(channels, channels[1:], strict=False)
        )
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        bands = input_size
        for _ in conv_dims:
            bands = _halved(bands)
        sizes = [channels[-1] * bands] + [projection_size] * (num_layers - 1)
        self.forward_layers = nn.ModuleList(nn.LSTM(size, hidden_size, batch_first=True) for size in sizes)
        self.backward_layers = nn.ModuleList(nn.LSTM(size, hidden_size, batch_first=True) for size in sizes)
        self.projections = nn.ModuleList(nn.Linear(2 * hidden_size, projection_size) for _ in sizes)
        self.dropout = nn.Dropout(dropout)

    def frames(self, lengths: Tensor) -> Tensor:
        """How many states belong to so many frames (any shape, integers)."""
        for _ in self.blocks:
            lengths = _halved(lengths)
        return lengths

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """What follows `lengths` (B,) frames of an utterance does not change its states; None: all frames count."""
        whole = features.new_full((len(features),), features.shape[1], dtype=torch.long)
        frames = whole if lengths is None else lengths
        states = features.unsqueeze(1)
        for block in self.blocks:
            assert isinstance(block, nn.ModuleList)
            for convolution in block:  # padding is zero before each, as beyond the end of an utterance by itself
                states = convolution(states * _inside(frames, states)).relu()
            states = self.pool(states * _inside(frames, states))
            frames = _halved(frames)
        states = states.transpose(1, 2).flatten(2)
        order = backwards(frames, states.shape[1])
        layers = zip(self.forward_layers, self.backward_layers, self.projections, strict=True)
        for depth, (ahead, back, projection) in enumerate(layers):
            states = both_directions(ahead, back, states.tanh() if depth else states, order)
            states = self.dropout(projection(states))
        return states


class VGGBLSTMPConfig(PreTrainedConfig):
    """Sizes of a `VGGBLSTMPForCTC`: see `VGGBLSTMPEncoder`.

    Attributes:
        feature_projection_input_dim: features per frame (as Wav2Vec2BertConfig calls it).
        pad_token_id: the blank.
    """

    model_type = "vgg_blstmp"

    vocab_size: int = 32
    feature_projection_input_dim: int = 80
    conv_dims: list[int] = field(default_factory=lambda: [64, 128])
    hidden_size: int = 320
    projection_size: int = 320
    num_hidden_layers: int = 6
    hidden_dropout: float = 0.0
    pad_token_id: int | None = 0


class VGGBLSTMPForCTC(TorchInitialized):
    """Features (B, T, d) with attention_mask (B, T) -> logits (B, ceil(T / 4), vocab_size).

    Each utterance's features are brought to mean 0 and variance 1 first.
    """

    config_class = VGGBLSTMPConfig
    base_model_prefix = "encoder"
    main_input_name = "input_features"

    def __init__(self, config: VGGBLSTMPConfig) -> None:
        super().__init__(config)
        self.encoder = VGGBLSTMPEncoder(
            config.feature_projection_input_dim,
            config.conv_dims,
            config.hidden_size,
            config.projection_size,
            config.num_hidden_layers,
            config.hidden_dropout,
        )
        self.lm_head = nn.Linear(config.projection_size, config.vocab_size)
        self.post_init()

    def _get_feat_extract_output_lengths(self, input_lengths: Tensor) -> Tensor:
        return self.encoder.frames(input_lengths)

    def forward(
        self, input_features: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **kwargs: Any
    ) -> CausalLMOutput:
        """labels (B, U) are padded with -100; the loss is `ctc_loss` of transformers or of an attached loss."""
        mask = mask_of(input_features, attention_mask)
        lengths = mask.sum(-1)
        logits = self.lm_head(self.encoder(normalized(input_features, mask), lengths))
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                logit_lengths=self._get_feat_extract_output_lengths(lengths),
                blank_token_id=self.config.pad_token_id,
                reduction="mean",
                zero_infinity=True,
            )
        return CausalLMOutput(loss=loss, logits=logits)


def _halved(count: Any) -> Any:
    """Half of it, rounded up: what pooling by two leaves."""
    return (count + 1) // 2


def _inside(lengths: Tensor, states: Tensor) -> Tensor:
    """(B, 1, T, 1): 1 within each utterance, for states (B, channels, T, bands)."""
    inside = torch.arange(states.shape[2], device=states.device) < lengths.unsqueeze(1)
    return inside[:, None, :, None].to(states.dtype)
