"""A small recogniser for stored features: bidirectional LSTM layers and a CTC head, the paper's kind of acoustic model.

transformers has no recurrent CTC model; its own families take far more data to train from scratch.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import CausalLMOutput

from hf_squareloss.models._initial_values import TorchInitialized
from hf_squareloss.models._recurrence import backwards, both_directions, mask_of, normalized


class BLSTMConfig(PreTrainedConfig):
    """Sizes of a `BLSTMForCTC`.

    Attributes:
        feature_projection_input_dim: features per frame (as Wav2Vec2BertConfig calls it).
        stack_frames: so many neighbouring frames become one, which divides the frame rate by that number.
        hidden_size: width of each direction of each layer.
        pad_token_id: the blank.
    """

    model_type = "blstm"

    vocab_size: int = 32
    feature_projection_input_dim: int = 13
    stack_frames: int = 3
    hidden_size: int = 128
    num_hidden_layers: int = 2
    hidden_dropout: float = 0.2
    pad_token_id: int | None = 0


class BLSTMForCTC(TorchInitialized):
    """Features (B, T, d) with attention_mask (B, T) -> logits (B, T // stack_frames, vocab_size).

    Each utterance's features are brought to mean 0 and variance 1 first. What follows an utterance in its batch does
    not change its logits: the backward direction reads each utterance from its own end.
    """

    config_class = BLSTMConfig
    base_model_prefix = "blstm"
    main_input_name = "input_features"

    def __init__(self, config: BLSTMConfig) -> None:
        super().__init__(config)
        width = 2 * config.hidden_size
        sizes = [config.feature_projection_input_dim * config.stack_frames] + [width] * (config.num_hidden_layers - 1)
        self.forward_layers = nn.ModuleList(nn.LSTM(size, config.hidden_size, batch_first=True) for size in sizes)
        self.backward_layers = nn.ModuleList(nn.LSTM(size, config.hidden_size, batch_first=True) for size in sizes)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.lm_head = nn.Linear(width, config.vocab_size)
        self.post_init()

    def _get_feat_extract_output_lengths(self, input_lengths: Tensor) -> Tensor:
        return input_lengths // self.config.stack_frames

    def forward(
        self, input_features: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **kwargs: Any
    ) -> CausalLMOutput:
        """labels (B, U) are padded with -100; the loss is `ctc_loss` of transformers or of an attached loss."""
        mask = mask_of(input_features, attention_mask)
        states = _stacked(normalized(input_features, mask), self.config.stack_frames)
        lengths = self._get_feat_extract_output_lengths(mask.sum(-1))
        order = backwards(lengths, states.shape[1])
        for ahead, back in zip(self.forward_layers, self.backward_layers, strict=True):
            states = self.dropout(both_directions(ahead, back, states, order))
        logits = self.lm_head(states)
        loss = None
        if labels is not None:
            loss = self.loss_function(
                logits=logits,
                labels=labels,
                logit_lengths=lengths,
                blank_token_id=self.config.pad_token_id,
                reduction="mean",
                zero_infinity=True,
            )
        return CausalLMOutput(loss=loss, logits=logits)


def _stacked(features: Tensor, count: int) -> Tensor:
    """(B, T, d) -> (B, T // count, count * d)."""
    batch, frames, width = features.shape
    return features[:, : frames // count * count].reshape(batch, frames // count, count * width)
