"""Labels that an encoder-decoder can learn from; what it would cut off or misread is refused by name."""

from typing import Any

import pytest
from datasets import Dataset
from transformers import WhisperConfig

from hf_squareloss.recipes.seq2seq_data import (
    character_tokenizer,
    encode_labels,
    fit_to_tokenizer,
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


def test_long_labels_are_left_out_of_training_alone(capsys: pytest.CaptureFixture[str]) -> None:
    splits = {"train": split(["a", "ab", "abab"]), "validation": split(["abab"])}
    most = len(TOKENIZER("ab").input_ids)
    kept = without_long_labels(splits, TOKENIZER, most)
    assert "Left out of training: 1 of 3 utterances, of more than" in capsys.readouterr().out
    assert kept["train"]["text"][:] == ["a", "ab"] and kept["validation"] is splits["validation"]
    assert without_long_labels(splits, TOKENIZER, None) == splits
    evaluation = {"validation": splits["validation"]}
    assert without_long_labels(evaluation, TOKENIZER, 1) == evaluation
    with pytest.raises(
        ValueError, match=f"max_label_length=1 leaves no training data: the shortest has {most - 1} tok"
    ):
        without_long_labels(splits, TOKENIZER, 1)


@pytest.mark.parametrize(("text", "decoded"), [("bz", "b"), ("é\u0301b", "éb")])
def test_transcripts_that_do_not_come_back_are_refused(text: str, decoded: str) -> None:
    with pytest.raises(ValueError, match=f"x: the tokenizer gives back '{decoded}' for '{text}'"):
        encode_labels(text, "x", tokenizer=TOKENIZER, start=START, longest=None)
