"""A tiny model of every CTC family in transformers, with inputs: seeded, offline, without dropout or masking."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCTC, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING_NAMES

VOCAB, BINS = 11, 8
NONE = {"hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "layerdrop": 0.0}
SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
# 20 samples a frame.
WAVEFORM: dict[str, Any] = {
    **{**SHAPE, **NONE, "vocab_size": VOCAB, "conv_dim": (8, 8), "conv_kernel": (10, 3), "conv_stride": (5, 4)},
    **{"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2},
    **{"feat_proj_dropout": 0.0, "final_dropout": 0.0, "mask_time_prob": 0.0},
}
MEL_ENCODER = {**SHAPE, "num_mel_bins": BINS, "subsampling_conv_channels": 4, "conv_kernel_size": 3, **NONE}
_CONFIGS: dict[str, dict[str, Any]] = {
    "sew": {**WAVEFORM, "squeeze_factor": 2},
    "sew-d": {**WAVEFORM, "squeeze_factor": 2, "position_buckets": 8, "max_position_embeddings": 64},
    "unispeech-sat": {**WAVEFORM, "num_codevectors_per_group": 4},
    "wav2vec2-conformer": {**WAVEFORM, "conv_depthwise_kernel_size": 3},
    "wav2vec2-bert": {
        **{**SHAPE, **NONE, "vocab_size": VOCAB, "feature_projection_input_dim": BINS, "mask_time_prob": 0.0},
        **{
            "conv_depthwise_kernel_size": 3,
            "feat_proj_dropout": 0.0,
            "final_dropout": 0.0,
            "conformer_conv_dropout": 0.0,
        },
    },
    "granite_speech5_ctc": {
        **{"vocab_size": VOCAB, "pad_token_id": 0},
        # Its count of frames takes every subsample_layers for a layer that there is (transformers 5.24).
        "encoder_config": {
            **{**SHAPE, "vocab_size": VOCAB, "num_mel_bins": BINS // 4, "context_size": 8, "subsample_layers": [0]}
        },
    },
    "omniasr_ctc": {
        **{"vocab_size": VOCAB, "pad_token_id": 1},
        "audio_config": {name: value for name, value in WAVEFORM.items() if name != "vocab_size"},
    },
    "parakeet_ctc": {"vocab_size": VOCAB, "pad_token_id": VOCAB - 1, "encoder_config": MEL_ENCODER},
    "lasr_ctc": {"vocab_size": VOCAB, "pad_token_id": VOCAB - 1, "encoder_config": MEL_ENCODER},
}
FAMILIES = sorted(MODEL_FOR_CTC_MAPPING_NAMES)


def make_ctc_model(family: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A randomly initialised model; `changes` go to its config."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(family, **{**_CONFIGS.get(family, WAVEFORM), **changes})
    return AutoModelForCTC.from_config(config).eval()


def make_utterances(model: PreTrainedModel, seed: int = 1) -> dict[str, Tensor]:
    """A batch of three utterances of different lengths with their labels."""
    random = torch.Generator().manual_seed(seed)
    waveform = model.main_input_name == "input_values"
    length, unit = (1200, 1) if waveform else (96, BINS)
    lengths = torch.tensor([length, length // 2, length * 3 // 4])
    mask = (torch.arange(length) < lengths.unsqueeze(1)).long()
    inputs = torch.randn(3, length, *((unit,) if unit > 1 else ()), generator=random)
    labels = torch.tensor([[2, 3, 3, 4], [5, -100, -100, -100], [6, 7, -100, -100]])
    if model.config.model_type == "omniasr_ctc":  # one channel, and its own name for the mask
        return {"input_values": inputs.unsqueeze(1), "padding_mask": mask, "labels": labels}
    return {model.main_input_name: inputs, "attention_mask": mask, "labels": labels}
