"""Vocabularies built from the training texts, for models from scratch: of words, parts of words or characters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from transformers import PreTrainedTokenizerFast

VOCABULARIES = ("words", "subwords", "characters")
_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}  # their ids are 0, 1, 2


def build_tokenizer(texts: Iterable[str], units: str, size: int | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is that of these texts, to be saved with the model.

    Args:
        texts: the training texts; equal texts make an equal vocabulary.
        units: "words": runs of letters, digits and underscores in lower case, and every other character that is no
            space by itself; "subwords": byte pair encoding over bytes (Sennrich et al. 2016, Radford et al. 2019),
            which gives every text back as it was; "characters": every character, spaces and line ends too.
        size: as many entries at most, the special tokens [PAD], [UNK] and [MASK] among them, and of subwords the 256
            bytes; the most frequent units are kept. Default: 20,000 words or subwords; of characters all that occur.

    Raises:
        ValueError: other units, a size that leaves no unit, or texts without any.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if units not in VOCABULARIES:
        raise ValueError(f"vocabulary must be one of {', '.join(VOCABULARIES)}, got {units!r}")
    size = size or (2**16 if units == "characters" else 20_000)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if units == "subwords" else []
    always = len(_SPECIAL) + len(alphabet)
    if size <= always:
        what = "special tokens and bytes" if alphabet else "special tokens"
        raise ValueError(f"vocabulary_size must be above {always}, the number of {what}, got {size}")
    options: dict[str, Any] = {"special_tokens": list(_SPECIAL.values()), "show_progress": False, "vocab_size": size}
    trainer: Any = trainers.WordLevelTrainer(**options)
    backend: Any = Tokenizer(models.WordLevel(unk_token=_SPECIAL["unk_token"]))
    if units == "subwords":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, **options)
    elif units == "words":
        backend.normalizer = normalizers.Lowercase()
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        backend.decoder = decoders.Fuse()
    backend.train_from_iterator(iter(texts), trainer)
    if backend.get_vocab_size() == always:
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
