"""What a Trainer saves of a model with PEFT's adapters: the loss and the label names beside them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from hf_squareloss.config import complete_adapter
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
        with warnings.catch_warnings():
            if self._head.blank is not None:  # a vocabulary of the head's alone: peft 0.21 takes embeddings for resized
                warnings.filterwarnings("ignore", "Setting `save_embedding_layers` to `True`")
            super()._save(output_dir, state_dict)
        if self.args.should_save:
            model: Any = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
            complete_adapter(model, output_dir or self.args.output_dir or ".")
