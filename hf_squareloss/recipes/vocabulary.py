"""Vocabularies built from the training texts, for models that are trained from scratch: of words or of characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from transformers import PreTrainedTokenizerFast

VOCABULARIES = ("words", "characters")
_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}  # their ids are 0, 1, 2


def build_tokenizer(texts: Iterable[str], units: str, size: int | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is that of these texts, to be saved with the model.

    Args:
        texts: the training texts; equal texts make an equal vocabulary.
        units: "words": runs of letters, digits and underscores in lower case, and every other character that is no
            space by itself; "characters": every character, spaces and line ends too.
        size: as many entries at most, the special tokens [PAD], [UNK] and [MASK] among them; the most frequent units
            are kept. Default: 20,000 words; of characters all that occur.

    Raises:
        ValueError: other units, a size that leaves no unit, or texts without any.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if units not in VOCABULARIES:
        raise ValueError(f"vocabulary must be one of {', '.join(VOCABULARIES)}, got {units!r}")
    size = size or (20_000 if units == "words" else 2**16)
    if size <= len(_SPECIAL):
        raise ValueError(f"vocabulary_size must be above {len(_SPECIAL)}, the number of special tokens, got {size}")
    backend: Any = Tokenizer(models.WordLevel(unk_token=_SPECIAL["unk_token"]))
    if units == "words":
        backend.normalizer = normalizers.Lowercase()
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        backend.decoder = decoders.Fuse()
    trainer = trainers.WordLevelTrainer(  # type: ignore[call-arg]
        vocab_size=size, special_tokens=list(_SPECIAL.values()), show_progress=False
    )
    backend.train_from_iterator(iter(texts), trainer)
    if backend.get_vocab_size() == len(_SPECIAL):
        raise ValueError(f"the training texts have no {units}: a vocabulary cannot be built from them")
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **_SPECIAL)


def training_texts(splits: Any, columns: Iterable[str] = ("text", "text_pair")) -> Iterator[str]:
    """The texts of the training split, column by column.

    Raises:
        ValueError: there is no training split to build a vocabulary from, or it is a stream.
    """
    from datasets import IterableDataset

    if "train" not in splits:
        raise ValueError("a vocabulary is built from the training texts, and there are none: give --train_file")
    rows = splits["train"]
    if isinstance(rows, IterableDataset):
        raise ValueError("a vocabulary is built from all training texts, which a stream has not read: --tokenizer_name")
    return chain.from_iterable(rows[name] for name in columns if name in rows.column_names)
