"""The models, losses and runs whose gradients test_scaling.py compares, in one process and in two."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tiny_models import CLASSES, VOCAB, WithoutScores, step_gradient
from torch import Tensor
from transformers import GPT2LMHeadModel

from hf_squareloss import CrossEntropy, Loss, SquareLoss, SquareLossTrainer, Squentropy
from hf_squareloss.heads import FusedHead

FAMILIES = (
    *("bert", "llama", "bart_seq2seq", "bert_tokens", "bert_choice", "gpt2_causal", "bert_masked", "vit"),
    "wav2vec2_ctc",
)
# Those whose labels have weights too, and how many classes there are. Some labels of each are ignored.
WEIGHTED = {"bert_tokens": CLASSES, "bert_choice": 3, "bert_masked": VOCAB}
CASES: dict[str, Loss] = {
    "cross_entropy": CrossEntropy(),
    "square": SquareLoss(k=2.0, M=3.0),
    "squentropy": Squentropy(),
    "weighted": CrossEntropy(label_smoothing=0.1),
    "weighted_square": SquareLoss(label_smoothing=0.1),
}
PLAIN = ("cross_entropy", "square", "squentropy")
RUNS = [(family, case) for family in FAMILIES for case in CASES if case in PLAIN or family in WEIGHTED]


def case_gradient(family: str, case: str, folder: Any, **sizes: Any) -> Tensor | None:
    """None for the cases that are not tried on this family."""
    if (family, case) not in RUNS:
        return None
    language_model = family.endswith(("_causal", "_masked", "_seq2seq"))
    trainer = WithoutScores if case == "square" and language_model else SquareLossTrainer
    loss = CASES[case]
    if case not in PLAIN:
        loss = replace(loss, class_weights=tuple(1.0 + 3.0 * c for c in range(WEIGHTED[family])))
    form = "gram" if case in PLAIN else "auto"  # without scores also for sizes so small, but for class weights
    with mock.patch.object(FusedHead, "form", form):
        return step_gradient(family, folder, loss=loss, trainer=trainer, **sizes)


class TwiceInOneProcess(GPT2LMHeadModel):
    """Calls its output layer twice, in training in the second process: that one alone cannot do without scores."""

    def forward(  # type: ignore[override]
        self, input_ids: Any = None, attention_mask: Any = None, labels: Any = None, **kwargs: Any
    ) -> Any:
        outputs = super().forward(input_ids, attention_mask=attention_mask, **kwargs)
        if self.training and torch.distributed.is_initialized() and torch.distributed.get_rank() == 1:
            self.lm_head(torch.zeros(1, 1, self.config.n_embd))
        return outputs


def twice_in_one_process(model: Any, *args: Any, **kwargs: Any) -> SquareLossTrainer:
    model.__class__ = TwiceInOneProcess
    model.register_buffer("buffer", torch.zeros(1))  # which every forward in several processes sends around
    return SquareLossTrainer(model, *args, **kwargs)


@functools.cache
def whole(family: str, case: str, folder: Path, count: int = 8) -> Tensor:
    """The reference: one process, one batch."""
    gradient = case_gradient(family, case, folder, batch=count, count=count)
    assert gradient is not None and gradient.norm() > 0
    return gradient
