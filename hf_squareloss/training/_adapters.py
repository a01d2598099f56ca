"""What a Trainer saves of a model with PEFT's adapters: the loss and the label names beside them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from hf_squareloss.config import base_model, complete_adapter, has_adapter
from hf_squareloss.heads import Head

if TYPE_CHECKING:
    from transformers import Trainer as _Trainer
else:
    _Trainer = object


class AdapterMixin(_Trainer):
    """Every checkpoint of adapters names the loss, so that `load_loss` and a resumed run find it."""

    _head: Head

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # Where all saving ends, before the checkpoint is pushed (transformers 5.24 has no public place there).
        model: Any = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if not has_adapter(model):
            super()._save(output_dir, state_dict)
            return
        with _without_embeddings(model, self._head):
            super()._save(output_dir, state_dict)
        if self.args.should_save:
            complete_adapter(model, output_dir or self.args.output_dir or ".")


@contextmanager
def _without_embeddings(model: Any, head: Head) -> Iterator[None]:
    """PEFT 0.21 would save a CTC model's embeddings, which it has not, where its vocabulary is not the base model's."""
    if head.blank is None or base_model(model) is model:
        yield
        return
    model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)
    try:
        yield
    finally:
        del model.save_pretrained
