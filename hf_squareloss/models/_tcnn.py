"""A temporal convolutional net over the pixels of an image, one after the other: the seed paper's TCNN on MNIST."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad
from transformers import PreTrainedConfig
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from hf_squareloss.models._initial_values import TorchInitialized


class TCNNConfig(PreTrainedConfig):
    """Sizes of a `TCNNForImageClassification`.

    The seed paper (arXiv 2006.07322) trains a temporal convolutional net (Bai et al., arXiv 1803.01271, section 3) on
    MNIST. Its own sizes are not published; the defaults are those that Bai et al.'s program (locuslab/TCN,
    mnist_pixel) has for the pixels of MNIST as a sequence.

    Attributes:
        num_channels: of the images.
        hidden_size: the width of every block.
        num_hidden_layers: blocks; the dilation doubles from one to the next. The last position hears of
            1 + 2 (kernel_size - 1) (2^blocks - 1) pixels: by default of 3,061, while MNIST has 784.
        kernel_size: positions that a convolution reads.
        hidden_dropout_prob: of whole channels, after each convolution.
    """

    model_type = "tcnn"

    num_channels: int = 3
    hidden_size: int = 25
    num_hidden_layers: int = 8
    kernel_size: int = 7
    hidden_dropout_prob: float = 0.05


class TCNNForImageClassification(TorchInitialized):
    """Images (B, num_channels, H, W) of any size, read row by row as H W positions -> logits (B, num_labels)."""

    config_class = TCNNConfig
    base_model_prefix = "tcnn"
    main_input_name = "pixel_values"
    input_modalities = "image"

    def __init__(self, config: TCNNConfig) -> None:
        super().__init__(config)
        widths = [config.num_channels, *[config.hidden_size] * config.num_hidden_layers]
        self.blocks = nn.ModuleList(
            ResidualBlock(*pair, config.kernel_size, 2**depth, config.hidden_dropout_prob)
            for depth, pair in enumerate(zip(widths, widths[1:], strict=False))
        )
        self.classifier = nn.Linear(widths[-1], config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """labels (B,) are class indices; the loss is transformers' cross-entropy or an attached loss.

        Raises:
            ValueError: images of another number of channels.
        """
        channels = self.config.num_channels
        if pixel_values.ndim != 4 or pixel_values.shape[1] != channels:
            raise ValueError(f"expected images (B, {channels}, H, W), got {tuple(pixel_values.shape)}")
        states = pixel_values.flatten(2)
        for block in self.blocks:
            states = block(states)
        logits = self.classifier(states[:, :, -1])
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


class ResidualBlock(nn.Module):
    """(B, inputs, T) -> (B, outputs, T): relu(x + F(x)), F twice a causal convolution, ReLU and dropout of channels.

    x goes through a convolution over one position where it has another width (Bai et al., section 3.4).
    """

    def __init__(self, inputs: int, outputs: int, size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in (inputs, outputs):
            layers += [CausalConvolution(width, outputs, size, dilation), nn.ReLU(), nn.Dropout1d(dropout)]
        self.layers = nn.Sequential(*layers)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv1d(inputs, outputs, 1)

    def forward(self, states: Tensor) -> Tensor:
        return (self.shortcut(states) + self.layers(states)).relu()


class CausalConvolution(nn.Module):
    """(B, inputs, T) -> (B, outputs, T): y_t = b + sum_i w_i x_{t - (size - 1 - i) dilation}, zeros before the start.

    Weight normalization: w = g v / |v| for each output (Salimans & Kingma, arXiv 1602.07868). It begins as torch's own
    convolution.
    """

    def __init__(self, inputs: int, outputs: int, size: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.direction = nn.Parameter(torch.empty(outputs, inputs, size))
        self.gain = nn.Parameter(torch.empty(outputs, 1, 1))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = 1 / math.sqrt(self.direction[0].numel())
        nn.init.uniform_(self.direction, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)
        with torch.no_grad():
            self.gain.copy_(self._length())

    def forward(self, states: Tensor) -> Tensor:
        before = (self.direction.shape[2] - 1) * self.dilation
        weight = self.gain * self.direction / self._length()
        return conv1d(pad(states, (before, 0)), weight, self.bias, dilation=self.dilation)

    def _length(self) -> Tensor:
        return self.direction.norm(dim=(1, 2), keepdim=True)
