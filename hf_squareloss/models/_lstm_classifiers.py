"""Recurrent text classifiers: a bidirectional LSTM with attention, or with convolutions, over it."""

from __future__ import annotations

from dataclasses import field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_squareloss.models._recurrence import backwards, both_directions


class LSTMAttentionConfig(PreTrainedConfig):
    """Sizes of an `LSTMAttentionForSequenceClassification`.

    The seed paper (Hui & Belkin, arXiv 2006.07322) trains LSTMs with attention on texts with settings of the
    literature. Those were not at hand here: the attention is that of Yang et al. (NAACL 2016, Hierarchical Attention
    Networks), one level of it, and the other sizes are usual ones, of no publication together.

    Attributes:
        embedding_size: of the word vectors; 300 as those of GloVe.
        hidden_size: width of each direction of each layer.
        hidden_dropout_prob: on the word vectors and before the classes.
        pad_token_id: a token with a vector of zeros.
    """

    model_type = "lstm_attention"

    vocab_size: int = 20_000
    embedding_size: int = 300
    hidden_size: int = 128
    num_hidden_layers: int = 1
    hidden_dropout_prob: float = 0.5
    pad_token_id: int | None = 0


class LSTMCNNConfig(LSTMAttentionConfig):
    """Sizes of an `LSTMCNNForSequenceClassification`.

    As `LSTMAttentionConfig`, for the seed paper's LSTM + CNN. The widths and number of the filters and the
    dropout are those of Kim (EMNLP 2014, arXiv 1408.5882); the LSTM below them has usual sizes, of no publication.

    Attributes:
        filter_sizes: each filter sees so many words.
        num_filters: of each size.
    """

    model_type = "lstm_cnn"

    filter_sizes: list[int] = field(default_factory=lambda: [3, 4, 5])
    num_filters: int = 100


class _LSTMForSequenceClassification(PreTrainedModel):
    """Tokens (B, T) -> logits (B, num_labels). What is padding does not change the logits, on either side of a text."""

    base_model_prefix = "encoder"

    def __init__(self, config: LSTMAttentionConfig, width: int) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, padding_idx=config.pad_token_id)
        sizes = [config.embedding_size] + [2 * config.hidden_size] * (config.num_hidden_layers - 1)
        self.forward_layers = nn.ModuleList(nn.LSTM(size, config.hidden_size, batch_first=True) for size in sizes)
        self.backward_layers = nn.ModuleList(nn.LSTM(size, config.hidden_size, batch_first=True) for size in sizes)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.classifier = nn.Linear(width, int(config.num_labels or 1))

    def _init_weights(self, module: nn.Module) -> None:
        """torch's own initial values, but for the word vectors, whose entries begin as small as GloVe's."""
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
            if module.padding_idx is not None:
                with torch.no_grad():
                    module.weight[module.padding_idx].zero_()
        elif isinstance(module, nn.Linear | nn.LSTM | nn.Conv1d):
            module.reset_parameters()

    def summary(self, states: Tensor, mask: Tensor) -> Tensor:
        """States (B, T, 2 hidden_size), zero in the padding, and mask (B, T), True on words -> (B, width)."""
        raise NotImplementedError

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None, **kwargs: Any
    ) -> SequenceClassifierOutput:
        """labels (B,) are class indices; the loss is transformers' own or an attached loss."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if input_ids.shape[1] == 0:  # empty texts alone
            input_ids, mask = F.pad(input_ids, (0, 1), value=self.config.pad_token_id), F.pad(mask, (0, 1))
        order = mask.long().argsort(dim=1, descending=True, stable=True)  # words first, whichever side is padded
        lengths = mask.sum(1).long().clamp_min(1)  # a text without words is one of padding
        states = self.dropout(self.embed_tokens(input_ids.gather(1, order)))
        turned = backwards(lengths, states.shape[1])
        for ahead, back in zip(self.forward_layers, self.backward_layers, strict=True):
            states = both_directions(ahead, back, states, turned)
        words = torch.arange(states.shape[1], device=lengths.device) < lengths.unsqueeze(1)
        logits = self.classifier(self.dropout(self.summary(states * words.unsqueeze(-1), words)))
        loss = None if labels is None else self.loss_function(labels, logits, self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class LSTMAttentionForSequenceClassification(_LSTMForSequenceClassification):
    """A text as the mean of its LSTM states h_t weighted by a_t = softmax_t(u . tanh(W h_t + b)).

    Source: Yang et al., NAACL 2016, equations 5 to 7.
    """

    config_class = LSTMAttentionConfig

    def __init__(self, config: LSTMAttentionConfig) -> None:
        width = 2 * config.hidden_size
        super().__init__(config, width)
        self.projection = nn.Linear(width, width)
        self.context = nn.Linear(width, 1, bias=False)
        self.post_init()

    def summary(self, states: Tensor, mask: Tensor) -> Tensor:
        scores = self.context(torch.tanh(self.projection(states))).squeeze(-1)
        weights = scores.masked_fill(~mask, -torch.inf).float().softmax(-1).to(states.dtype)
        return (weights.unsqueeze(-1) * states).sum(1)


class LSTMCNNForSequenceClassification(_LSTMForSequenceClassification):
    """A text as the largest value of each filter over its LSTM states: max_t relu(w . h_{t - n/2 .. t + n/2} + b).

    A filter of n words is centred on each word of the text, with zeros before its first word and behind its last.
    """

    config_class = LSTMCNNConfig

    def __init__(self, config: LSTMCNNConfig) -> None:
        super().__init__(config, len(config.filter_sizes) * config.num_filters)
        self.filters = nn.ModuleList(
            nn.Conv1d(2 * config.hidden_size, config.num_filters, size) for size in config.filter_sizes
        )
        self.post_init()

    def summary(self, states: Tensor, mask: Tensor) -> Tensor:
        words, found = states.transpose(1, 2), []
        for layer in self.filters:
            size = int(layer.kernel_size[0])  # type: ignore[index,arg-type]
            values = layer(F.pad(words, (size // 2, (size - 1) // 2))).relu()  # (B, num_filters, T)
            found.append(values.masked_fill(~mask.unsqueeze(1), 0.0).amax(-1))
        return torch.cat(found, -1)
