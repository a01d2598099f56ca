"""Language models and their gradients on scores, for the tests of heads that do without them."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
from tiny_models import (
    GPT2,
    VOCAB,
    GradientRecorder,
    arguments,
    make_examples,
    make_model,
)
from torch import Tensor, nn

from hf_squareloss import SquareLoss, SquareLossTrainer

SQUARE = SquareLoss(k=2.0, M=3.0)
DECODER = {
    **{"vocab_size": VOCAB, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "num_mel_bins": 4},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
    **{"max_source_positions": 20, "max_target_positions": 20, "suppress_tokens": None, "begin_suppress_tokens": None},
}


class OnScores(SquareLossTrainer):
    """The plain path."""

    def _refusal_of_fused_head(self) -> str:
        return "the test says so"


def gradient_of(trainer: type[tf.Trainer], model: Any, examples: Any, folder: Path, **changes: Any) -> Tensor:
    recorder = GradientRecorder()
    sizes = {"per_device_train_batch_size": 8, "max_steps": 1}
    options: dict[str, Any] = {"loss": changes.pop("loss", SQUARE), "callbacks": [recorder]}
    trainer(model, arguments(folder, **sizes, **changes), train_dataset=examples, **options).train()
    return recorder.gradient


def audio_examples() -> list[dict[str, Tensor]]:
    random = torch.Generator().manual_seed(0)
    labels = [example["labels"] for example in make_examples("bart_seq2seq")]
    return [{"input_features": torch.randn(4, 40, generator=random), "labels": label} for label in labels]


def tiny(model_class: Any, config: Any, **changes: Any) -> Any:
    torch.manual_seed(0)
    return model_class(type(config)(**{**config.to_dict(), **changes})).eval()


def gpt2(model_class: type[tf.GPT2LMHeadModel] = tf.GPT2LMHeadModel) -> Any:
    return tiny(model_class, tf.GPT2Config(**GPT2))


def adapted_head(**options: Any) -> Any:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["lm_head"], init_lora_weights=False, **options)
    torch.manual_seed(0)
    return peft.get_peft_model(make_model("gpt2_causal"), config)


class Changed(tf.GPT2LMHeadModel):
    """Scores that are changed where they lie, and where a change of large positive ones alone would show nothing."""

    change: Any = staticmethod(lambda scores: scores.mul_(2.0))

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs) -> Any:  # type: ignore[override]
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        outputs.logits = self.change(outputs.logits)
        return outputs


class Scaled(tf.GPT2LMHeadModel):
    """Scores that training alone will change."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, input_ids=None, attention_mask=None, labels=None, **kwargs) -> Any:  # type: ignore[override]
        outputs: Any = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        outputs.logits = self.scale * outputs.logits
        return outputs
