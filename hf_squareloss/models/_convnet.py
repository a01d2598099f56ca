"""A small convolutional net for small images."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from hf_squareloss.models._initial_values import TorchInitialized


class ConvNetConfig(PreTrainedConfig):
    """Sizes of a `ConvNetForImageClassification`.

    Its parts are published: pairs of 3 x 3 convolutions and maximum pooling (VGG, arXiv 1409.1556), batch norm (arXiv
    1502.03167), the mean over positions before the classes (Network in Network, arXiv 1312.4400), dropout (arXiv
    1207.0580). Their widths are of no publication: they were chosen here, for training in a minute on one core.

    Attributes:
        num_channels: of the images.
        hidden_sizes: the width of each block; the positions become four times fewer from block to block.
        hidden_dropout_prob: before the classes.
    """

    model_type = "convnet"

    num_channels: int = 3
    hidden_sizes: list[int] = field(default_factory=lambda: [32, 64, 128])
    hidden_dropout_prob: float = 0.2


class ConvNetForImageClassification(TorchInitialized):
    """Images (B, num_channels, H, W) of any size from 2^(blocks - 1) pixels -> logits (B, num_labels)."""

    config_class = ConvNetConfig
    base_model_prefix = "convnet"
    main_input_name = "pixel_values"
    input_modalities = "image"

    def __init__(self, config: ConvNetConfig) -> None:
        super().__init__(config)
        widths = [config.num_channels, *config.hidden_sizes]
        self.blocks = nn.ModuleList(_block(*pair) for pair in zip(widths, widths[1:], strict=False))
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(widths[-1], config.num_labels)  # type: ignore[arg-type]
        self.post_init()

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, **kwargs: Any
    ) -> ImageClassifierOutputWithNoAttention:
        """labels (B,) are class indices; the loss is transformers' cross-entropy or an attached loss.

        Raises:
            ValueError: images of another number of channels, or too small.
        """
        channels, least = self.config.num_channels, 2 ** (len(self.blocks) - 1)
        if pixel_values.ndim != 4 or pixel_values.shape[1] != channels or min(pixel_values.shape[2:]) < least:
            raise ValueError(
                f"expected images (B, {channels}, H, W) of at least {least} x {least} pixels, "
                f"got {tuple(pixel_values.shape)}"
            )
        states = pixel_values
        for depth, block in enumerate(self.blocks):
            states = block(self.pool(states) if depth else states)
        logits = self.classifier(self.dropout(states.mean((2, 3))))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inputs, outputs):
        layers += [nn.Conv2d(width, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)
