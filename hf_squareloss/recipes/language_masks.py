"""Masks of masked language models: in training others in every epoch, in evaluation always the same."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import IterableDataset
from transformers import DataCollatorForLanguageModeling

from hf_squareloss.recipes.epoch_rows import EpochRows

if TYPE_CHECKING:
    from datasets import Dataset
    from datasets import IterableDataset as Stream


class Masking:
    """Chooses tokens to be filled in, as BERT does: `probability` of those that are not special.

    Of them 80 % become the mask, 10 % another token, and 10 % stay (Devlin et al., arXiv 1810.04805, section 3.1).
    """

    def __init__(self, tokenizer: Any, probability: float) -> None:
        self.probability = probability
        self._mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=probability)

    def __call__(self, ids: Sequence[int], generator: torch.Generator | None = None) -> dict[str, list[int]]:
        """`input_ids` with masks, and `labels`: the tokens that were chosen, and -100 elsewhere.

        Args:
            generator: draws them; None: torch's own.
        """
        self._mask.generator = generator
        inputs, labels = self._mask.torch_mask_tokens(torch.tensor([ids]))
        return {"input_ids": inputs[0].tolist(), "labels": labels[0].tolist()}


class MaskedRows(EpochRows):
    """Training rows with the column `input_ids`, masked anew in every epoch."""

    def __init__(self, rows: Dataset, masking: Masking, seed: int) -> None:
        super().__init__(len(rows), seed)
        self._rows, self._masking = rows, masking

    def __getitem__(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = self._rows[index]
        return self._masking(row["input_ids"], _torch_generator(self.generator(index)))


class MaskedStream(IterableDataset[dict[str, Any]]):
    """The same of a stream, whose rows have no number: their tokens take its place."""

    def __init__(self, rows: Stream, masking: Masking, seed: int) -> None:
        self._rows, self._masking, self._seed = rows, masking, seed

    def set_epoch(self, epoch: int) -> None:
        """From now on the masks, and the order where the stream is shuffled, are those of this epoch."""
        self._rows.set_epoch(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for row in self._rows:
            ids: list[int] = row["input_ids"]
            place = zlib.crc32(np.asarray(ids, dtype=np.int64).tobytes())
            numbers = np.random.default_rng((self._seed, self._rows.epoch, place))
            yield self._masking(ids, _torch_generator(numbers))


def mask_once(rows: Dataset, masking: Masking) -> Dataset:
    """Rows of an evaluation split with masks that are the same in every run and at every evaluation.

    Raises:
        ValueError: not one token is masked.
    """
    from datasets import Dataset

    masked: dict[str, list[Any]] = {"input_ids": [], "labels": []}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for row in rows:
            for name, values in masking(row["input_ids"]).items():  # type: ignore[index]
                masked[name].append(values)
    if all(label == -100 for labels in masked["labels"] for label in labels):
        raise ValueError(
            f"mlm_probability {masking.probability} masks none of the tokens that are evaluated: give more text or a "
            "larger --mlm_probability"
        )
    return Dataset.from_dict(masked)


def masked_rows(splits: Mapping[str, Any], masking: Masking, seed: int) -> dict[str, Any]:
    """Splits with the column `input_ids`, masked: training rows anew in every epoch, others once."""
    masked: dict[str, Any] = {name: mask_once(rows, masking) for name, rows in splits.items() if name != "train"}
    if "train" in splits:
        kind: Any = MaskedRows if isinstance(splits["train"], Sized) else MaskedStream
        masked["train"] = kind(splits["train"], masking, seed)
    return masked


def _torch_generator(numbers: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(numbers.integers(2**63)))
