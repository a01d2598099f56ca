"""What an encoder-decoder needs of speech data: a tokenizer, and labels that fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.notices import say
from hf_squareloss.recipes.speech_files import encode_text, require_round_trip

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import WhisperTokenizer


# ---- tokenizer ------------------------------------------------------------------------------------------------------
def character_tokenizer(texts: Iterable[str]) -> WhisperTokenizer:
    """Whisper's kind of tokenizer, which the pipeline of Whisper models needs, with the bytes of the texts alone."""
    from tokenizers import pre_tokenizers
    from transformers import WhisperTokenizer

    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    pieces = [piece for c in sorted(set().union(*texts)) for piece, _ in to_bytes.pre_tokenize_str(c)]
    end, pad = "<|endoftext|>", "<|pad|>"
    special = ["<|startoftranscript|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    vocabulary = {token: i for i, token in enumerate([pad, *sorted(set().union(*pieces)), end, *special])}
    # The padding comes first: Speech2Text counts its positions from there, and has only so many (transformers 5.24).
    return WhisperTokenizer(vocab=vocabulary, merges=[], pad_token=pad, additional_special_tokens=special)


def fit_to_tokenizer(config: Any, tokenizer: Any) -> None:
    """A config from scratch gets the tokenizer's vocabulary; the tokens that it suppresses are another tokenizer's."""
    config.vocab_size = len(tokenizer)
    config.pad_token_id = tokenizer.pad_token_id
    config.bos_token_id = config.eos_token_id = tokenizer.eos_token_id
    config.decoder_start_token_id = tokenizer.convert_tokens_to_ids("<|startoftranscript|>")
    config.suppress_tokens = config.begin_suppress_tokens = None


# ---- labels ---------------------------------------------------------------------------------------------------------
def encode_labels(text: str, name: str, *, tokenizer: Any, start: int, longest: int | None) -> list[int]:
    """The transcript as the decoder is to say it: without the start token, which the model puts before it itself."""
    ids = encode_text(tokenizer, text, name)
    ids = ids[1:] if ids[:1] == [start] else ids
    if longest is not None and len(ids) > longest:
        raise ValueError(
            f"{name}: the transcript has {len(ids)} tokens, more than the model's {longest} positions; "
            f"--max_label_length {longest} leaves such utterances out of training"
        )
    decoded = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    require_round_trip(text, decoded, name)
    return ids


def without_long_labels(splits: Mapping[str, Dataset], tokenizer: Any, most: int | None) -> dict[str, Dataset]:
    """The splits without the training utterances of more than `most` tokens."""
    if most is None or "train" not in splits:
        return dict(splits)
    lengths = [len(tokenizer(text).input_ids) for text in splits["train"]["text"]]
    kept = [i for i, length in enumerate(lengths) if length <= most]
    if not kept:
        raise ValueError(f"max_label_length={most} leaves no training data: the shortest has {min(lengths)} tokens")
    if len(kept) < len(lengths):
        say(
            f"Left out of training: {len(lengths) - len(kept)} of {len(lengths)} utterances, of more than {most} tokens"
        )
    return {**splits, "train": splits["train"].select(kept)}
