"""Models that transformers does not have, the seed paper's other kinds. Importing this package registers them.

From then on `AutoConfig` and the Auto class of their task know them, and they are saved, loaded and pushed like others.
"""

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
)

from hf_squareloss.models._blstm import BLSTMConfig, BLSTMForCTC
from hf_squareloss.models._convnet import ConvNetConfig, ConvNetForImageClassification
from hf_squareloss.models._lstm_classifiers import (
    LSTMAttentionConfig,
    LSTMAttentionForSequenceClassification,
    LSTMCNNConfig,
    LSTMCNNForSequenceClassification,
)
from hf_squareloss.models._lstm_language_model import LSTMConfig, LSTMForCausalLM
from hf_squareloss.models._tcnn import TCNNConfig, TCNNForImageClassification
from hf_squareloss.models._vgg_blstmp import VGGBLSTMPConfig, VGGBLSTMPEncoder, VGGBLSTMPForCTC

# One line for each model: the Auto class of its task, its config, its class.
_MODELS = (
    (AutoModelForImageClassification, ConvNetConfig, ConvNetForImageClassification),
    (AutoModelForImageClassification, TCNNConfig, TCNNForImageClassification),
    (AutoModelForSequenceClassification, LSTMAttentionConfig, LSTMAttentionForSequenceClassification),
    (AutoModelForSequenceClassification, LSTMCNNConfig, LSTMCNNForSequenceClassification),
    (AutoModelForCausalLM, LSTMConfig, LSTMForCausalLM),
    (AutoModelForCTC, BLSTMConfig, BLSTMForCTC),
    (AutoModelForCTC, VGGBLSTMPConfig, VGGBLSTMPForCTC),
)

for _auto_class, _config, _model in _MODELS:
    AutoConfig.register(_config.model_type, _config)
    _auto_class.register(_config, _model)

MODEL_TYPES = tuple(dict.fromkeys(config.model_type for _, config, _ in _MODELS))

__all__ = [
    "MODEL_TYPES",
    "BLSTMConfig",
    "BLSTMForCTC",
    "ConvNetConfig",
    "ConvNetForImageClassification",
    "LSTMAttentionConfig",
    "LSTMAttentionForSequenceClassification",
    "LSTMCNNConfig",
    "LSTMCNNForSequenceClassification",
    "LSTMConfig",
    "LSTMForCausalLM",
    "TCNNConfig",
    "TCNNForImageClassification",
    "VGGBLSTMPConfig",
    "VGGBLSTMPEncoder",
    "VGGBLSTMPForCTC",
]
