"""Labels and audio that an encoder-decoder can learn from; what it would cut off or misread is refused by name."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile
from datasets import Dataset
from transformers import WhisperConfig, WhisperFeatureExtractor

from hf_squareloss.recipes.seq2seq_data import (
    character_tokenizer,
    encode_labels,
    fit_to_tokenizer,
    refuse_cut_audio,
    refuse_unknown_characters,
    without_long_labels,
)

TOKENIZER = character_tokenizer(["ab ", "é"])
START: Any = TOKENIZER.convert_tokens_to_ids("<|startoftranscript|>")


def split(texts: list[str], audio: list[dict[str, Any]] | None = None) -> Dataset:
    audio = audio or [{"path": f"{i}.wav", "bytes": None} for i in range(len(texts))]
    return Dataset.from_dict({"audio": audio, "text": texts})


# ---- tokenizer ------------------------------------------------------------------------------------------------------
def test_a_tokenizer_of_bytes_gives_texts_back() -> None:
    for text in ("ab ba", "é", "aé b"):
        assert TOKENIZER.decode(TOKENIZER(text).input_ids, skip_special_tokens=True) == text
    assert TOKENIZER.pad_token_id == 0
    assert len(TOKENIZER) == 1 + len("ab ") + len("é".encode()) + 5  # padding, bytes, the end and four marks


def test_a_config_from_scratch_fits_its_tokenizer() -> None:
    config = WhisperConfig(suppress_tokens=[1, 2], begin_suppress_tokens=[3])
    fit_to_tokenizer(config, TOKENIZER)
    assert (config.vocab_size, config.pad_token_id, config.decoder_start_token_id) == (len(TOKENIZER), 0, START)
    assert config.bos_token_id == config.eos_token_id == TOKENIZER.eos_token_id
    assert config.suppress_tokens is None and config.begin_suppress_tokens is None


# ---- labels ---------------------------------------------------------------------------------------------------------
def test_labels_are_without_the_start_which_the_model_adds() -> None:
    whole = TOKENIZER("ab").input_ids
    assert whole[0] == START
    assert encode_labels("ab", "x", tokenizer=TOKENIZER, start=START, longest=None) == whole[1:]
    assert encode_labels("ab", "x", tokenizer=TOKENIZER, start=-1, longest=None) == whole


def test_labels_longer_than_the_model_are_refused() -> None:
    count = len(TOKENIZER("ab").input_ids) - 1
    options: dict[str, Any] = {"tokenizer": TOKENIZER, "start": START}
    assert len(encode_labels("ab", "x", **options, longest=count)) == count
    message = (
        f"x: the transcript has {count} tokens, more than the model's {count - 1} .* --max_label_length {count - 1}"
    )
    with pytest.raises(ValueError, match=message):
        encode_labels("ab", "x", **options, longest=count - 1)


def test_long_labels_are_left_out_of_training_alone() -> None:
    splits = {"train": split(["a", "ab", "abab"]), "validation": split(["abab"])}
    most = len(TOKENIZER("ab").input_ids)
    kept = without_long_labels(splits, TOKENIZER, most)
    assert kept["train"]["text"][:] == ["a", "ab"] and kept["validation"] is splits["validation"]
    assert without_long_labels(splits, TOKENIZER, None) == splits
    evaluation = {"validation": splits["validation"]}
    assert without_long_labels(evaluation, TOKENIZER, 1) == evaluation
    with pytest.raises(
        ValueError, match=f"max_label_length=1 leaves no training data: the shortest has {most - 1} tok"
    ):
        without_long_labels(splits, TOKENIZER, 1)


def test_characters_that_the_tokenizer_drops_are_refused() -> None:
    refuse_unknown_characters({"train": split(["ab a", "é"]), "test": split(["z"]).remove_columns("text")}, TOKENIZER)
    with pytest.raises(ValueError, match=r"validation row 2 \(1.wav\): the tokenizer does not know 'z', of 'bz'"):
        refuse_unknown_characters({"validation": split(["a", "bz"])}, TOKENIZER)


# ---- audio ----------------------------------------------------------------------------------------------------------
def audio(seconds: float, kind: str) -> dict[str, Any]:
    file, signal = io.BytesIO(), np.zeros(int(seconds * 16000), dtype=np.float32)
    if kind == "npy":
        np.save(file, signal)
    else:
        soundfile.write(file, signal[::2], 8000, format="WAV")
    return {"path": f"{seconds}.{kind}", "bytes": file.getvalue()}


@pytest.mark.parametrize("kind", ["wav", "npy"])
def test_audio_of_which_the_model_hears_only_a_part_is_refused(kind: str) -> None:
    extractor = WhisperFeatureExtractor(chunk_length=1)
    whole, longer = split(["a"], [audio(1.0, kind)]), split(["a"], [audio(1.5, kind)])
    refuse_cut_audio({"train": whole, "validation": whole}, extractor, 20.0)
    message = rf"row 1 \(1.5.{kind}\): 1.50 seconds, but the model hears only the first 1"
    for splits, longest in (({"train": longer}, 20.0), ({"validation": longer}, 1.0)):
        with pytest.raises(ValueError, match=message):
            refuse_cut_audio(splits, extractor, longest)
    refuse_cut_audio({"train": longer}, extractor, 1.0)  # left out of training, it does no harm
