"""Tones to be transcribed by examples/run_speech_recognition_seq2seq.py, small models, and options of runs."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import transformers as tf
from torch import Tensor
from transformers.models.whisper.tokenization_whisper import LANGUAGES

RATE = 16000  # Hz
TONES = {"a": 300, "b": 800, "c": 2000}  # word -> Hz
SMALL: dict[str, Any] = {
    **{"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    **{"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "dropout": 0.0, "max_target_positions": 24},
}
WHISPER: dict[str, Any] = {**SMALL, "d_model": 64, "num_mel_bins": 16, "max_source_positions": 50}
SPEECH2TEXT: dict[str, Any] = {
    **{**SMALL, "d_model": 16, "input_feat_per_channel": 8, "conv_channels": 16, "max_source_positions": 200},
    **{"activation_dropout": 0.0, "vocab_size": 12, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    **{"decoder_start_token_id": 2, "num_conv_layers": 1, "conv_kernel_sizes": [3]},
}
LEARN = ["--learning_rate", "3e-3", "--logging_steps", "24", "--save_strategy", "no"]
SHORT = ["--learning_rate", "3e-3", "--max_steps", "2", "--save_strategy", "no", "--max_train_samples", "16"]
FEW = ["--max_eval_samples", "4", "--max_predict_samples", "4"]


def sound(words: list[str]) -> np.ndarray:
    tones = [np.sin(2 * np.pi * TONES[w] / RATE * np.arange(3200)) * np.hanning(3200) for w in words]
    return np.concatenate([part for tone in tones for part in (np.zeros(1000), 0.6 * tone)]).astype(np.float32)


def write_list(folder: Path, name: str, rows: list[tuple[str, str]]) -> str:
    path = folder / name
    path.write_text("\n".join(["audio\ttext", *(f"{audio}\t{text}" for audio, text in rows)]) + "\n")
    return str(path)


def write_tones(folder: Path) -> list[str]:
    """Waveforms of one to three tones, and the options that name their lists."""
    random, options = np.random.default_rng(0), []
    for split, count in (("train", 96), ("validation", 24), ("test", 24)):
        rows = []
        for i in range(count):
            words = [str(w) for w in random.choice(list(TONES), random.integers(1, 4))]
            soundfile.write(folder / f"{split}{i}.wav", sound(words), RATE)
            rows.append((f"{split}{i}.wav", " ".join(words)))
        options += [f"--{split}_file", write_list(folder, f"{split}.tsv", rows)]
    return options


def write_features(folder: Path, dims: int = 8) -> list[str]:
    random, options = np.random.default_rng(0), []
    for split in ("train", "validation"):
        rows = []
        for i in range(8):
            np.save(folder / f"{split}{i}.npy", random.standard_normal((20 + i, dims)).astype(np.float32))
            rows.append((f"{split}{i}.npy", "a b"))
        options += [f"--{split}_file", write_list(folder, f"{split}.tsv", rows)]
    return options


def save_multilingual_whisper(folder: Path) -> str:
    languages = [f"<|{code}|>" for code in LANGUAGES]
    tasks = ["<|translate|>", "<|transcribe|>"]
    special = ["<|startoftranscript|>", *languages, *tasks, "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    vocabulary = {token: i for i, token in enumerate([*"abc\u0120", "<|pad|>", "<|endoftext|>", *special])}
    tokenizer = tf.WhisperTokenizer(vocab=vocabulary, merges=[], pad_token="<|pad|>", additional_special_tokens=special)
    ids: Any = tokenizer.convert_tokens_to_ids
    config = tf.WhisperConfig(
        **WHISPER,
        vocab_size=len(tokenizer),
        pad_token_id=ids("<|pad|>"),
        bos_token_id=ids("<|endoftext|>"),
        eos_token_id=ids("<|endoftext|>"),
        decoder_start_token_id=ids("<|startoftranscript|>"),
        begin_suppress_tokens=None,
    )
    model = tf.WhisperForConditionalGeneration(config)
    model.generation_config = tf.GenerationConfig(
        max_length=24,
        pad_token_id=ids("<|pad|>"),
        eos_token_id=ids("<|endoftext|>"),
        decoder_start_token_id=ids("<|startoftranscript|>"),
        is_multilingual=True,
        lang_to_id={token: ids(token) for token in languages},
        task_to_id={"translate": ids("<|translate|>"), "transcribe": ids("<|transcribe|>")},
        no_timestamps_token_id=ids("<|notimestamps|>"),
    )
    for part in (model, tokenizer, tf.WhisperFeatureExtractor(feature_size=16, chunk_length=1)):
        part.save_pretrained(folder)
    return str(folder)


def weights(folder: Path) -> dict[str, Tensor]:
    return dict(tf.AutoModelForSpeechSeq2Seq.from_pretrained(folder).state_dict())


def texts(file: str | Path) -> list[str]:
    return [line.split("\t")[1] for line in Path(file).read_text().splitlines()[1:]]
