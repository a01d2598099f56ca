"""Tiny models made from configs, with data to train them on: seeded, offline, without dropout."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from torch import Tensor

from hf_squareloss import SquareLossTrainer, SquareLossTrainingArguments

VOCAB, CLASSES, LENGTH = 50, 4, 7
SHAPE: dict[str, Any] = {"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
BERT = {**SHAPE, **NO_DROPOUT, "intermediate_size": 32, "max_position_embeddings": 32}
BART = {
    **{"vocab_size": VOCAB, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "max_position_embeddings": 32},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32},
    **{"dropout": 0.0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1},
    **{"forced_eos_token_id": None},
}
GPT2 = {
    **{"vocab_size": VOCAB, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "pad_token_id": 0},
    **{"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 2},
}
WAV2VEC2 = {
    **{"vocab_size": VOCAB, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"intermediate_size": 32, "conv_dim": (8, 8), "conv_kernel": (10, 3), "conv_stride": (5, 2)},
    **{"num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2},
    **{"hidden_dropout": 0.0, "attention_dropout": 0.0, "feat_proj_dropout": 0.0, "final_dropout": 0.0},
    **{"activation_dropout": 0.0, "layerdrop": 0.0, "mask_time_prob": 0.0, "classifier_proj_size": 8},
}
DISTILBERT = {
    **{"vocab_size": VOCAB, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "dropout": 0.0},
    **{"attention_dropout": 0.0, "seq_classif_dropout": 0.0, "max_position_embeddings": 32},
}
LLAMA = {**SHAPE, "intermediate_size": 32, "num_key_value_heads": 2, "pad_token_id": 0, "max_position_embeddings": 32}
VIT = {**SHAPE, **NO_DROPOUT, "intermediate_size": 32, "image_size": 8, "patch_size": 4, "num_channels": 1}
VIT.pop("vocab_size")
T5 = {
    **{"vocab_size": VOCAB, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2},
    **{"dropout_rate": 0.0, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0},
}

_FAMILIES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "bert": (tf.BertForSequenceClassification, tf.BertConfig, BERT),
    "distilbert": (tf.DistilBertForSequenceClassification, tf.DistilBertConfig, DISTILBERT),
    "llama": (tf.LlamaForSequenceClassification, tf.LlamaConfig, LLAMA),
    "gpt2": (tf.GPT2ForSequenceClassification, tf.GPT2Config, GPT2),
    "bart": (tf.BartForSequenceClassification, tf.BartConfig, BART),
    "vit": (tf.ViTForImageClassification, tf.ViTConfig, VIT),
    "wav2vec2": (tf.Wav2Vec2ForSequenceClassification, tf.Wav2Vec2Config, WAV2VEC2),
    "bert_tokens": (tf.BertForTokenClassification, tf.BertConfig, BERT),
    "bert_choice": (tf.BertForMultipleChoice, tf.BertConfig, BERT),
    "bert_masked": (tf.BertForMaskedLM, tf.BertConfig, BERT),
    "gpt2_causal": (tf.GPT2LMHeadModel, tf.GPT2Config, GPT2),
    "bart_seq2seq": (tf.BartForConditionalGeneration, tf.BartConfig, BART),
    "t5_seq2seq": (tf.T5ForConditionalGeneration, tf.T5Config, T5),
    "wav2vec2_ctc": (tf.Wav2Vec2ForCTC, tf.Wav2Vec2Config, WAV2VEC2),
}


def make_model(family: str, seed: int = 0, **changes: Any) -> Any:
    """A randomly initialised model; `changes` go to its config."""
    model_class, config_class, values = _FAMILIES[family]
    labels = {} if changes.keys() & {"num_labels", "id2label"} else {"num_labels": CLASSES}
    torch.manual_seed(seed)
    model = model_class(config_class(**{**values, **labels, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)  # the usual initial scale leaves such small models with hardly a gradient
    return model.eval()


def make_examples(family: str, count: int = 8, seed: int = 1) -> Any:
    """A list of examples of one length; padding, and labels of -100, differ strongly from one to another."""
    random = torch.Generator().manual_seed(seed)

    def draw(high: int, *shape: int, low: int = 0) -> Tensor:
        return torch.randint(low, high, shape, generator=random)

    examples = []
    for i in range(count):
        if family == "vit":
            inputs = {"pixel_values": torch.randn(1, 8, 8, generator=random)}
        elif family.startswith("wav2vec2"):
            inputs = {"input_values": torch.randn(200, generator=random)}
            if family == "wav2vec2_ctc":
                inputs["attention_mask"] = (torch.arange(200) < 200 - 30 * (i % 3)).long()
        elif family == "bert_choice":
            inputs = {"input_ids": draw(VOCAB, 3, LENGTH, low=3)}
        else:
            kept = torch.arange(LENGTH) < LENGTH - i % 3
            eos = {"bart": 2}.get(family, VOCAB - 1)  # BART classifies at its end token
            inputs = {"input_ids": torch.cat([draw(VOCAB, LENGTH - 3, low=3), torch.tensor([eos, 4, 5])])}
            if family == "bart":
                kept = torch.arange(LENGTH) < LENGTH - 2
            inputs["input_ids"] = torch.where(kept, inputs["input_ids"], 0)
            inputs["attention_mask"] = kept.long()
        if family == "bert_tokens":
            labels = torch.where(torch.arange(LENGTH) < (1, 7, 2, 6)[i % 4], draw(CLASSES, LENGTH), -100)
        elif family == "bert_choice":
            labels = draw(3) if i != 5 else torch.tensor(-100)
        elif family == "wav2vec2_ctc":
            labels = torch.where(torch.arange(4) < (1, 4, 2, 3)[i % 4], draw(VOCAB, 4, low=1), -100)
        elif family.endswith(("_causal", "_masked", "_seq2seq")):
            labels = torch.where(torch.arange(LENGTH) < (2, 7, 3, 6)[i % 4], draw(VOCAB, LENGTH, low=3), -100)
        else:
            labels = draw(CLASSES)
        examples.append({**inputs, "labels": labels})
    return examples


def batch_of(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([example[name] for example in examples]) for name in examples[0]}


def arguments(folder: str | Path, **changes: Any) -> SquareLossTrainingArguments:
    """Plain gradient descent, so that a change of the weights is the gradient; nothing saved, shown or reported."""
    quiet: dict[str, Any] = {"disable_tqdm": True, "report_to": "none", "logging_strategy": "no", "save_strategy": "no"}
    plain: dict[str, Any] = {
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "learning_rate": 0.1,
    }
    machine: dict[str, Any] = {"use_cpu": True, "dataloader_pin_memory": False, "seed": 0}
    return SquareLossTrainingArguments(output_dir=str(folder), **{**quiet, **plain, **machine, **changes})


class GradientRecorder(tf.TrainerCallback):
    """Keeps the gradient of the last optimizer step."""

    def on_pre_optimizer_step(self, *args: Any, model: Any, **kwargs: Any) -> None:
        self.gradient = flat_gradient(model)


def flat_gradient(model: Any) -> Tensor:
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return torch.cat([grad.detach().float().flatten() for grad in grads])


def flat_weights(model: Any) -> Tensor:
    return torch.cat([p.detach().float().flatten() for p in model.parameters()])


def step_gradient(
    family: str,
    folder: str | Path,
    *,
    batch: int,
    accumulate: int = 1,
    count: int = 8,
    trainer: Callable[..., tf.Trainer] = SquareLossTrainer,
    arguments_changes: dict[str, Any] | None = None,
    **trainer_arguments: Any,
) -> Tensor:
    """The gradient of one optimizer step that sees `count` examples once."""
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate, "max_steps": 1}
    recorder = GradientRecorder()
    trainer(
        make_model(family),
        arguments(folder, **sizes, **(arguments_changes or {})),
        train_dataset=make_examples(family, count),
        callbacks=[recorder],
        **trainer_arguments,
    ).train()
    return recorder.gradient


class WithoutScores(SquareLossTrainer):
    """Refuses to build scores in training."""

    def _outputs(self, model: Any, *args: Any) -> Any:  # type: ignore[override]
        assert not (model.training and self._step is not None and torch.is_grad_enabled())
        return super()._outputs(model, *args)


def rounding(family: str) -> float:
    """How far two float32 gradients of `family` that are equal on paper may be apart."""
    return 1e-4 if family == "t5_seq2seq" else 1e-5  # the tiny T5 is itself 7e-5 from its gradient in float64


def relative_difference(ours: Tensor, reference: Tensor) -> float:
    return ((ours - reference).norm() / reference.norm()).item()


# Each train() collects garbage (accelerate's free_memory), and looking through the millions of objects
# that importing transformers leaves behind would take most of these tests' time.
gc.collect()
gc.freeze()
