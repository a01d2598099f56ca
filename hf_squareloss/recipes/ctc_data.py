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

from hf_squareloss.recipes.row_names import row_name
from hf_squareloss.recipes.speech_files import encode_text, require_round_trip, without_bad

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


def encode_transcript(tokenizer: Any, text: str, name: str) -> list[int]:
    """The transcript as classes of CTC, which decode to it again. ValueError where they do not."""
    ids = encode_text(tokenizer, text, name)
    require_round_trip(text, tokenizer.decode(ids, group_tokens=False), name)
    return ids


def require_frames(
    splits: Mapping[str, Dataset],
    encoded: Mapping[str, Dataset],
    output_lengths: Callable[[Tensor], Tensor],
    *,
    blank: int,
    mask_length: int = 1,
    masked_lengths: Callable[[Tensor], Tensor] | None = None,
    keep_too_short: bool = False,
    skip_bad: bool = False,
) -> tuple[dict[str, Dataset], int]:
    """Refuse what CTC cannot align: U labels with R pairs of equal neighbours need U + R frames, and no blank.

    Args:
        splits: the data before `SpeechEncoder.encode`, for the names.
        output_lengths: the model's frames (B,) from the lengths (B,) of its inputs.
        mask_length: frames of SpecAugment's mask: a batch of shorter training utterances would end the training.
        masked_lengths: the frames (B,) that it masks; default: `output_lengths`.
        keep_too_short: count utterances with too few frames instead; their loss is 0 (zero_infinity).
        skip_bad: as for `without_bad`.

    Returns:
        The encoded splits, without what `skip_bad` left out, and how many utterances were too short.

    Raises:
        ValueError: with the utterances' names: too few frames, none at all, or a blank among the labels.
    """
    kept, count = {}, 0
    for split, rows in encoded.items():
        lengths = torch.tensor(np.asarray(rows["length"]))
        frames = output_lengths(lengths).tolist()
        masked = frames if masked_lengths is None else masked_lengths(lengths).tolist()
        labels = rows["labels"] if "labels" in rows.column_names else [np.zeros(0)] * len(rows)
        faults: dict[int, str] = {}
        for position, (row, available, ids) in enumerate(zip(rows["row"], frames, labels, strict=True)):
            ids = np.asarray(ids)
            needed = len(ids) + int((ids[1:] == ids[:-1]).sum())
            too_short = available < needed
            fault = None
            if (ids == blank).any():
                fault = f"the labels contain the blank, {blank}"
            elif available < 1:
                fault = "the audio is too short, the model makes no frame of it"
            elif too_short and not keep_too_short:
                fault = (
                    f"the transcript needs {needed} frames (its {len(ids)} labels, and a blank between equal "
                    f"neighbours), but the audio gives {available}: correct the utterance or remove it; "
                    "ctc_zero_infinity keeps such utterances, with a loss of 0"
                )
            elif split == "train" and masked[position] < mask_length:
                fault = (
                    f"the audio gives {masked[position]} frames, SpecAugment masks {mask_length} at a time: lower "
                    "--mask_time_length, or leave it out by --min_duration_in_seconds"
                )
            if fault is None:
                count += too_short
            else:
                faults[position] = f"{row_name(splits[split][int(row)], 'audio', split, int(row))}: {fault}"
        kept[split] = without_bad(rows, faults, split, skip=skip_bad)
    return kept, count


def mask_length_of(config: Any) -> int:
    """The frames of SpecAugment's mask in training, 1 where there is none."""
    values = config.to_dict()
    if not values.get("apply_spec_augment", False):
        return 1
    return values.get("mask_time_length", 1) if values.get("mask_time_prob", 0.0) > 0 else 1
