"""Which values a training step reads from its device, as an accelerator would see them, counted on a CPU."""

from __future__ import annotations

import collections
import sys
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import transformers as tf
from torch.utils._python_dispatch import TorchDispatchMode  # no public name (torch 2.13): what operations a step runs

import hf_squareloss

# Each waits for the device: it brings a value to the host, or asks the device for the size of a result.
READS = {
    *("aten::_local_scalar_dense", "aten::allclose", "aten::equal", "aten::is_nonzero", "aten::nonzero"),
    *("aten::bincount", "aten::repeat_interleave", "aten::masked_select", "aten::_unique2", "aten::unique_dim"),
    "aten::_ctc_loss",
}
COPIES = {"aten::lift_fresh", "aten::lift"}  # torch.tensor of Python values, which goes to the device
PACKAGE = str(Path(hf_squareloss.__file__).parent)


class Reads(TorchDispatchMode):
    """Counts reads and copies, ours (with the line of this package that is nearest) and others."""

    def __init__(self) -> None:
        super().__init__()
        self.on = False
        self.ours: collections.Counter[str] = collections.Counter()
        self.others: collections.Counter[str] = collections.Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        by_mask = name in ("aten::index", "aten::index_put", "aten::index_put_") and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if self.on and (name in READS | COPIES or by_mask):
            self._count(name)
        return func(*args, **(kwargs or {}))

    def _count(self, name: str) -> None:
        """For whoever is nearest: this package, or transformers and the rest."""
        for frame in reversed(traceback.extract_stack()):
            if frame.filename.startswith(PACKAGE):
                self.ours[f"{name} {Path(frame.filename).name} {frame.name}"] += 1
                return
            if "/transformers/" in frame.filename:
                break
        self.others[name] += 1

    @contextmanager
    def counting(self) -> Iterator[None]:
        """With `Tensor.tolist`, which no operation shows."""
        tolist = torch.Tensor.tolist

        def counted(tensor: torch.Tensor) -> Any:
            if self.on:
                self._count("tolist")
            return tolist(tensor)

        with mock.patch.object(torch.Tensor, "tolist", counted), self:
            yield


class _Window(tf.TrainerCallback):
    """Counts from the end of one step to the end of another."""

    def __init__(self, reads: Reads, first: int, last: int) -> None:
        self.reads, self.first, self.last = reads, first, last

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.reads.on = self.first <= state.global_step < self.last

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.reads.on = False


@contextmanager
def as_on_an_accelerator() -> Iterator[None]:
    """Where a look at a value is dear: what asks `may_read` hears no."""
    with ExitStack() as patches:
        for name, module in list(sys.modules.items()):
            if name.startswith("hf_squareloss.") and "may_read" in vars(module):
                patches.enter_context(mock.patch.object(module, "may_read", lambda tensor: False))
        yield


def reads_of(trainer_class: Any, model: Any, args: Any, examples: Any, **options: Any) -> Reads:
    """What steps 3 and 4 read and copy; the first two set things up."""
    reads = Reads()
    callbacks = [_Window(reads, 2, 4)]
    with as_on_an_accelerator(), reads.counting():
        trainer_class(model, args, train_dataset=examples, callbacks=callbacks, **options).train()
    return reads
