"""What CTC needs of speech data: a vocabulary of characters, and enough frames for every transcript."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from hf_squareloss.recipes.speech_files import utterance_name

if TYPE_CHECKING:
    from datasets import Dataset


def character_tokenizer(texts: Iterable[str], *, unk_token: str, pad_token: str, word_delimiter_token: str) -> Any:
    """A Wav2Vec2CTCTokenizer with one class per character of the texts; the space is `word_delimiter_token`.

    CTC's blank is `pad_token`.

    Raises:
        ValueError: one of the special tokens is a character of the texts.
    """
    from transformers import Wav2Vec2CTCTokenizer

    characters = sorted(set().union(*texts) - {" "})
    special = [word_delimiter_token, unk_token, pad_token]
    taken = set(characters) & set(special)
    if taken:
        raise ValueError(f"the transcripts contain {taken.pop()!r}, which is a special token: choose another one")
    with TemporaryDirectory() as folder:
        file = Path(folder, "vocab.json")
        file.write_text(json.dumps({token: i for i, token in enumerate([*characters, *special])}), "utf8")
        return Wav2Vec2CTCTokenizer(
            str(file),
            bos_token=None,  # type: ignore[arg-type]  # two classes more that no transcript has
            eos_token=None,  # type: ignore[arg-type]
            unk_token=unk_token,
            pad_token=pad_token,
            word_delimiter_token=word_delimiter_token,
        )


def require_frames(
    splits: Mapping[str, Dataset],
    encoded: Mapping[str, Dataset],
    output_lengths: Callable[[Tensor], Tensor],
    *,
    blank: int,
    keep_too_short: bool = False,
) -> int:
    """Refuse what CTC cannot align: U labels with R pairs of equal neighbours need U + R frames, and no blank.

    Args:
        splits: the data before `SpeechEncoder.encode`, for the names.
        output_lengths: the model's frames (B,) from the lengths (B,) of its inputs.
        keep_too_short: count utterances with too few frames instead; their loss is 0 (zero_infinity).

    Returns:
        How many utterances were too short.

    Raises:
        ValueError: with the utterance's name: too few frames, none at all, or a blank among the labels.
    """
    count = 0
    for split, rows in encoded.items():
        frames = output_lengths(torch.tensor(np.asarray(rows["length"]))).tolist()
        labels = rows["labels"] if "labels" in rows.column_names else [np.zeros(0)] * len(rows)
        for row, available, ids in zip(rows["row"], frames, labels, strict=True):
            needed = len(ids) + int((ids[1:] == ids[:-1]).sum())
            if (ids != blank).all() and available >= max(needed, 1):
                continue
            name = utterance_name(split, int(row), splits[split][int(row)])
            if (ids == blank).any():
                raise ValueError(f"{name}: the labels contain the blank, {blank}")
            if available < 1:
                raise ValueError(f"{name}: the audio is too short, the model makes no frame of it")
            if not keep_too_short:
                raise ValueError(
                    f"{name}: the transcript needs {needed} frames (its {len(ids)} labels, and a blank between equal "
                    f"neighbours), but the audio gives {available}: correct the utterance or remove it; "
                    "ctc_zero_infinity keeps such utterances, with a loss of 0"
                )
            count += 1
    return count
