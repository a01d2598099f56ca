"""What an encoder-decoder needs of speech data: a tokenizer, labels that fit, audio that it hears to the end."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_squareloss.recipes.speech_files import encode_text, utterance_name

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import WhisperFeatureExtractor, WhisperTokenizer


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
    return ids


def without_long_labels(splits: Mapping[str, Dataset], tokenizer: Any, most: int | None) -> dict[str, Dataset]:
    """The splits without the training utterances of more than `most` tokens."""
    if most is None or "train" not in splits:
        return dict(splits)
    lengths = [len(tokenizer(text).input_ids) for text in splits["train"]["text"]]
    kept = [i for i, length in enumerate(lengths) if length <= most]
    if not kept:
        raise ValueError(f"max_label_length={most} leaves no training data: the shortest has {min(lengths)} tokens")
    return {**splits, "train": splits["train"].select(kept)}


def refuse_unknown_characters(splits: Mapping[str, Dataset], tokenizer: Any) -> None:
    """ValueError for characters that the tokenizer drops or cannot give back: it may have no unknown token."""
    for split, rows in splits.items():
        if "text" not in rows.column_names:
            continue
        texts = list(rows["text"])
        for character in sorted(set().union(*texts)):
            ids = tokenizer(character, add_special_tokens=False).input_ids
            if character.strip() and not tokenizer.decode(ids).strip("\ufffd "):
                index = next(i for i, text in enumerate(texts) if character in text)
                name = utterance_name(split, index, rows[index])
                raise ValueError(f"{name}: the tokenizer does not know {character!r}, of {texts[index]!r}")


# ---- audio ----------------------------------------------------------------------------------------------------------
def refuse_cut_audio(
    splits: Mapping[str, Dataset], extractor: WhisperFeatureExtractor, longest_in_training: float
) -> None:
    """ValueError for audio of which Whisper's feature extractor drops the end, without a word."""
    import soundfile

    for split, rows in splits.items():
        for index in range(len(rows)):
            row: Any = rows[index]
            path, content = row["audio"]["path"] or "", row["audio"]["bytes"]
            source: Any = path if content is None else io.BytesIO(content)
            if path.endswith(".npy"):
                seconds = len(np.load(source)) / extractor.sampling_rate
            else:
                seconds = soundfile.info(source).duration
            if extractor.chunk_length < seconds and not (split == "train" and seconds > longest_in_training):
                raise ValueError(
                    f"{utterance_name(split, index, row)}: {seconds:.2f} seconds, but the model hears only the first "
                    f"{extractor.chunk_length}: cut the audio (--max_duration_in_seconds is for training alone)"
                )
