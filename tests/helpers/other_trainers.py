"""Trainers of trl and sentence-transformers with the mixin before them, and the gradient of one of their steps."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers as tf
from tiny_models import BERT, GPT2, GradientRecorder
from tiny_tokenizer import WORDS, make_tokenizer
from torch import Tensor

from hf_squareloss import LossSelectionMixin, SquareLoss

SQUARE = SquareLoss(k=2.0, M=3.0)
PLAIN: dict[str, Any] = {
    **{"optim": "sgd", "lr_scheduler_type": "constant", "max_grad_norm": 0.0, "learning_rate": 0.1, "seed": 0},
    **{"disable_tqdm": True, "report_to": "none", "logging_strategy": "no", "save_strategy": "no"},
    **{"use_cpu": True, "dataloader_pin_memory": False, "bf16": False, "max_steps": 1},
}


def texts(count: int) -> list[str]:
    """Of two to seven words."""
    return [" ".join(itertools.islice(itertools.cycle(WORDS), 3 * i, 3 * i + 2 + i % 6)) for i in range(count)]


# ---- trl -------------------------------------------------------------------------------------------------------------
class Counted(tf.GPT2LMHeadModel):
    """How often the model ran."""

    forwards = 0

    def forward(  # type: ignore[override]
        self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any
    ) -> Any:
        self.forwards += 1
        return super().forward(input_ids, attention_mask=attention_mask, labels=labels, **kwargs)


def sft_trainer(folder: Path | str, count: int = 8, callbacks: Any = (), loss: Any = SQUARE, **changes: Any) -> Any:
    """An SFTTrainer on `count` texts, without dropout."""
    from trl.trainer.sft_config import SFTConfig  # pyright does not see what trl imports lazily
    from trl.trainer.sft_trainer import SFTTrainer

    class Ours(LossSelectionMixin, SFTTrainer):  # type: ignore[misc]  # create_model_card
        pass

    tokenizer = make_tokenizer()
    tokenizer.eos_token = "[SEP]"
    torch.manual_seed(0)
    model = Counted(tf.GPT2Config(**{**GPT2, "vocab_size": len(tokenizer)}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0)
    args = SFTConfig(output_dir=str(folder), **{**PLAIN, **changes})
    rows = datasets.Dataset.from_dict({"text": texts(count)})
    options: dict[str, Any] = {"processing_class": tokenizer, "callbacks": list(callbacks), "loss": loss}
    return Ours(model=model, args=args, train_dataset=rows, **options)


# ---- sentence-transformers -------------------------------------------------------------------------------------------
def cross_encoder(num_labels: int, folder: Path) -> Any:
    """A CrossEncoder of the model in `folder`, which is made if there is none: one process alone may do that."""
    from sentence_transformers import CrossEncoder

    if not folder.exists():
        torch.manual_seed(0)
        tokenizer = make_tokenizer()
        config = tf.BertConfig(**{**BERT, "vocab_size": len(tokenizer)}, num_labels=num_labels)  # type: ignore[call-arg]
        model = tf.BertForSequenceClassification(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(5.0)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return CrossEncoder(str(folder), num_labels=num_labels, device="cpu")


def pairs(num_labels: int, count: int) -> datasets.Dataset:
    """Two columns of texts and a label: a class, or for one score a value in [0, 1]."""
    labels = [i % 3 / 2 if num_labels == 1 else i % num_labels for i in range(count)]
    return datasets.Dataset.from_dict({"first": texts(count), "second": texts(count + 3)[3:], "label": labels})


def cross_encoder_trainer(
    num_labels: int, folder: Path | str, count: int = 8, callbacks: Any = (), loss: Any = SQUARE, **changes: Any
) -> Any:
    """A CrossEncoderTrainer on `count` pairs."""
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    class Ours(LossSelectionMixin, CrossEncoderTrainer):  # type: ignore[misc]  # create_model_card
        pass

    args = CrossEncoderTrainingArguments(output_dir=str(folder), **{**PLAIN, **changes})
    model = cross_encoder(num_labels, Path(folder, f"encoder{num_labels}"))
    return Ours(model, args, pairs(num_labels, count), callbacks=list(callbacks), loss=loss)


# ---- one step --------------------------------------------------------------------------------------------------------
CASES = ("sft", "one score", "three classes")


def gradient(case: str, folder: Path | str, *, batch: int, accumulate: int = 1, count: int = 8) -> Tensor:
    """The gradient of one optimizer step that sees `count` examples once."""
    recorder = GradientRecorder()
    sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate}
    options: dict[str, Any] = {"count": count, "callbacks": [recorder], **sizes}
    if case == "sft":
        trainer = sft_trainer(folder, **options)
    else:
        trainer = cross_encoder_trainer(1 if case == "one score" else 3, folder, **options)
    trainer.train()
    return recorder.gradient
