"""A vocabulary from transcripts, and the frames that an alignment needs."""

import warnings
from functools import partial
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCTC, Wav2Vec2Config

from hf_squareloss.heads import ctc_frames
from hf_squareloss.recipes.ctc_data import character_tokenizer, encode_transcript, mask_length_of, require_frames
from hf_squareloss.recipes.speech_files import encode_text

TOKENS: dict[str, Any] = {"unk_token": "[UNK]", "pad_token": "[PAD]", "word_delimiter_token": "|"}


def test_a_vocabulary_of_characters() -> None:
    tokenizer = character_tokenizer(["ba d", "ab"], **TOKENS)
    assert tokenizer.get_vocab() == {"a": 0, "b": 1, "d": 2, "|": 3, "[UNK]": 4, "[PAD]": 5}
    assert len(tokenizer) == 6
    assert encode_text(tokenizer, "bad a", "x") == [1, 0, 2, 3, 0]
    assert tokenizer.decode([1, 1, 5, 1, 3, 0]) == "bb a"
    with pytest.raises(ValueError, match="special token"):
        character_tokenizer(["a|b"], **TOKENS)


def frames_of(texts: list[str], blank: int = 0, **options: Any) -> int:
    rows = Dataset.from_dict({"audio": [{"path": None, "bytes": None}] * len(texts)})
    columns = {"labels": [[ord(c) for c in t] for t in texts], "length": [40] * len(texts), "row": range(len(texts))}
    encoded = {"test": Dataset.from_dict({k: list(v) for k, v in columns.items()}).with_format("numpy")}
    return require_frames({"test": rows}, encoded, lambda lengths: lengths // 10, blank=blank, **options)[1]


def test_as_many_frames_as_an_alignment_needs() -> None:
    """Checked against torch: its loss is infinite where no alignment exists."""
    for text in ("abcd", "aab", "aba", "abcde", "aabb", "aaa", "abcc"):
        labels = torch.tensor([[ord(c) - ord("a") + 1 for c in text]])
        value = torch.nn.functional.ctc_loss(
            torch.zeros(4, 1, 6).log_softmax(-1), labels, torch.tensor([4]), torch.tensor([len(text)])
        )
        assert frames_of([text], keep_too_short=True) == int(not torch.isfinite(value)), text


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(
        ValueError, match="test row 2: the transcript needs 5 frames .* but the audio gives 4.*zero_inf"
    ):
        frames_of(["abcd", "aabc"])
    assert frames_of(["abcd", "aabc"], keep_too_short=True) == 1


def test_clips_shorter_than_the_mask_are_named_before_training() -> None:
    rows = Dataset.from_dict({"audio": [{"path": "x.wav", "bytes": None}] * 3})
    columns = {"labels": [[1], [1], [1]], "length": [100, 40, 90], "row": [0, 1, 2]}
    encoded = Dataset.from_dict(columns).with_format("numpy")

    def frames(split: str, **options: Any) -> tuple[dict[str, Dataset], int]:
        splits = ({split: rows}, {split: encoded})
        return require_frames(*splits, lambda lengths: lengths // 10, blank=0, mask_length=10, **options)

    with pytest.raises(ValueError, match=r"2 of 3 .*row 2 .* 4 frames, SpecAugment masks 10 .*min_duration.*row 3 "):
        frames("train")
    assert list(frames("train", skip_bad=True)[0]["train"]["length"]) == [100]
    assert len(frames("validation")[0]["validation"]) == 3
    config = Wav2Vec2Config(mask_time_length=7, mask_time_prob=0.05)
    assert mask_length_of(config) == 7
    behind = partial(torch.floor_divide, other=40)  # an adapter makes a quarter of the frames, after the mask
    masked = require_frames({"train": rows}, {"train": encoded}, behind, blank=0, mask_length=4,
                            masked_lengths=lambda lengths: lengths // 10)  # fmt: skip
    assert len(masked[0]["train"]) == 3
    with pytest.raises(ValueError, match=r"row 2 .* 1 frames, SpecAugment masks 4"):
        require_frames({"train": rows}, {"train": encoded}, behind, blank=0, mask_length=4)
    without: list[dict[str, Any]] = [{"mask_time_prob": 0.0}, {"apply_spec_augment": False}]
    for changes in without:
        assert mask_length_of(Wav2Vec2Config(mask_time_length=7, **changes)) == 1


def test_transcripts_that_do_not_come_back_are_refused() -> None:
    tokenizer = character_tokenizer(["abc"], **TOKENS)
    assert encode_transcript(tokenizer, "ab", "x") == [0, 1]
    with pytest.raises(ValueError, match=r"x: the tokenizer gives back 'a b' for 'a\|b'"):
        encode_transcript(tokenizer, "a|b", "x")


def test_no_frame_at_all_is_refused() -> None:
    rows = {"test": Dataset.from_dict({"audio": [{"path": "x.wav", "bytes": None}]})}
    encoded = {"test": Dataset.from_dict({"length": [5], "row": [0]}).with_format("numpy")}
    with pytest.raises(ValueError, match=r"test row 1 \(x.wav\): .* too short"):
        require_frames(rows, encoded, lambda lengths: lengths // 10, blank=0, keep_too_short=True)


def test_a_blank_among_the_labels_is_refused() -> None:
    with pytest.raises(ValueError, match="test row 2: the labels contain the blank, 97"):
        frames_of(["bcd", "cab"], blank=ord("a"), keep_too_short=True)


WAVEFORM = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    **{"conv_dim": (8, 8), "conv_kernel": (10, 3), "conv_stride": (5, 4), "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "vocab_size": 6, "mask_time_prob": 0.0},
}
CONFORMER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
MODELS = {
    "Wav2Vec2": WAVEFORM,
    "Hubert": WAVEFORM,
    "WavLM": WAVEFORM | {"num_buckets": 8},
    "Wav2Vec2Bert": CONFORMER | {"feature_projection_input_dim": 80, "vocab_size": 6},
    "ParakeetCTC": {"vocab_size": 6, "pad_token_id": 0, "encoder_config": CONFORMER | {"subsampling_conv_channels": 4}},
}


@pytest.mark.parametrize("family", MODELS)
def test_the_frames_are_those_of_the_model(family: str) -> None:
    import transformers

    model = AutoModelForCTC.from_config(getattr(transformers, f"{family}Config")(**MODELS[family])).eval()
    shape = (2, 600) if model.main_input_name == "input_values" else (2, 60, 80)
    lengths = torch.tensor([shape[1], shape[1] // 2])
    mask = (torch.arange(shape[1]) < lengths[:, None]).long()
    seen: list[torch.Tensor] = []
    model.loss_function = lambda logits, labels, logit_lengths, **_: seen.append(logit_lengths) or logits.sum()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Support for mismatched", category=UserWarning)  # WavLM (5.24)
        model(torch.zeros(shape), attention_mask=mask, labels=torch.ones(2, 1, dtype=torch.long))
    assert ctc_frames(model, lengths).tolist() == seen[0].tolist()
    assert seen[0][0] > seen[0][1] > 0
    assert torch.equal(ctc_frames(model, lengths, before_adapter=True), ctc_frames(model, lengths))


@pytest.mark.parametrize("family", ["Wav2Vec2", "WavLM", "Wav2Vec2Bert"])
def test_spec_augment_masks_before_an_adapter(family: str) -> None:
    import transformers

    config = getattr(transformers, f"{family}Config")(**MODELS[family], add_adapter=True, output_hidden_size=16)
    model: Any = AutoModelForCTC.from_config(config).eval()
    shape = (1, 600) if model.main_input_name == "input_values" else (1, 60, 80)
    seen: list[int] = []
    model.base_model.encoder.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[1]))
    with torch.no_grad():
        behind = model(torch.zeros(shape)).logits.shape[1]
    lengths = torch.tensor([shape[1]])
    assert ctc_frames(model, lengths, before_adapter=True).tolist() == seen
    assert ctc_frames(model, lengths).tolist() == [behind] and behind < seen[0]
