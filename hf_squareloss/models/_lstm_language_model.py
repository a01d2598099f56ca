"""A recurrent language model, of characters or of words."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput


class LSTMConfig(PreTrainedConfig):
    """Sizes of an `LSTMForCausalLM`, for characters; chosen here, of no publication.

    Attributes:
        embedding_size: of the token vectors.
        hidden_size: width of each layer.
        hidden_dropout_prob: on the token vectors, between layers and before the scores.
        pad_token_id: a token with a vector of zeros.
        use_cache: generation reads the text anew for each token; there is no cache to be used.
    """

    model_type = "lstm"

    vocab_size: int = 256
    embedding_size: int = 64
    hidden_size: int = 256
    num_hidden_layers: int = 1
    hidden_dropout_prob: float = 0.0
    pad_token_id: int | None = 0
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    use_cache: bool = False


class LSTMForCausalLM(PreTrainedModel, GenerationMixin):
    """Tokens (B, T) -> logits (B, T, vocab_size), of which that at t is for token t + 1.

    Padding on either side of a text does not change its logits.
    """

    config_class = LSTMConfig
    base_model_prefix = "decoder"

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        self.lstm = nn.LSTM(
            config.embedding_size,
            config.hidden_size,
            config.num_hidden_layers,
            batch_first=True,
            dropout=config.hidden_dropout_prob if config.num_hidden_layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own initial values."""
        if isinstance(module, nn.Embedding | nn.Linear | nn.LSTM):
            module.reset_parameters()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **kwargs: Any
    ) -> CausalLMOutput:
        """labels (B, T) are the tokens themselves, -100 where ignored; the loss shifts them."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        order = mask.long().argsort(dim=1, descending=True, stable=True)  # the text first, whichever side is padded
        states = self.dropout(self.embed_tokens(input_ids.gather(1, order)))
        states = self.dropout(self.lstm(states)[0])
        back = order.argsort(dim=1).unsqueeze(-1).expand_as(states)
        logits = self.lm_head(states.gather(1, back))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutput(loss=loss, logits=logits)
