"""From audio to text with a CTC model: extractor, model, the loss's own probabilities, search and tokenizer in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, Wav2Vec2CTCTokenizer

from hf_squareloss.config import base_model
from hf_squareloss.heads import Head, ctc_frames, is_ctc
from hf_squareloss.inference._ctc_decoding import LanguageModel, ctc_beam_search, ctc_greedy
from hf_squareloss.inference._generation import log_probabilities


class WordDecoder(Protocol):
    """A search for words with a language model, as pyctcdecode's BeamSearchDecoderCTC."""

    def decode(self, logits: np.ndarray, beam_width: int) -> str:
        """Log probabilities (T, C) of one utterance -> its text."""
        ...


def transcribe(
    model: PreTrainedModel,
    audio: Sequence[np.ndarray | Tensor] | Mapping[str, Tensor],
    processor: Any = None,
    *,
    tokenizer: Any = None,
    feature_extractor: Any = None,
    sampling_rate: int | None = None,
    beam_size: int | None = None,
    language_model: LanguageModel | WordDecoder | str | Path | None = None,
    batch_size: int = 1,
) -> list[str]:
    """The texts of recordings by a CTC model, one per recording.

    The model gives its blank, its frames of each recording, and through its loss the probabilities; the tokenizer gives
    the text. Without a language model the default is the likeliest path, which is the transformers pipeline's answer.

    Args:
        model: a *ForCTC model; a beam search needs one whose config names its loss.
        audio: waveforms (samples,) at `sampling_rate`; or the model's inputs, padded, with their mask if any.
        processor: of the model, for its tokenizer and feature extractor; or give these two.
        tokenizer: of the model, without a processor.
        feature_extractor: of the model, without a processor; not for the model's inputs.
        sampling_rate: of the waveforms, in Hz.
        beam_size: prefixes kept after each frame; None is 1 (the likeliest path), and 100 with a language model.
        language_model: the weights of labels, as for `ctc_beam_search`; or an n-gram model of words: a file that KenLM
            reads (ARPA or binary), for which pyctcdecode and kenlm must be installed, or a decoder that pyctcdecode
            made. It gets log probabilities by the loss's own link.
        batch_size: waveforms computed together. Padding changes the scores of a model that was trained without a mask
            (wav2vec2-base and its kin): leave it at 1 there.

    Returns:
        One text per recording.

    Raises:
        ValueError: a model without a CTC head, a missing tokenizer, extractor or sampling rate, arguments that exclude
            each other, or beam_size or batch_size < 1.
        ModuleNotFoundError: a language model in a file, without pyctcdecode and kenlm.

    Example:
        >>> transcribe(model, [waveform], processor, sampling_rate=16_000)  # doctest: +SKIP
        ['one two three']
    """
    if not is_ctc(type(base_model(model))):
        raise ValueError(
            f"transcribe takes a CTC model, got {type(base_model(model)).__name__}: "
            "for an encoder-decoder use probability_pipeline"
        )
    if processor is not None:
        if tokenizer is not None or feature_extractor is not None:
            raise ValueError("processor excludes tokenizer and feature_extractor")
        tokenizer, feature_extractor = processor.tokenizer, processor.feature_extractor
    if tokenizer is None:
        raise ValueError("transcribe needs a processor, or a tokenizer and a feature_extractor")
    for name, size in (("beam_size", beam_size), ("batch_size", batch_size)):
        if size is not None and size < 1:
            raise ValueError(f"{name} must be 1 or more, got {size}")
    if isinstance(language_model, str | Path):
        language_model = _word_decoder(Path(language_model), model, tokenizer)
    if beam_size is None:
        beam_size = 1 if language_model is None else 100

    texts: list[str] = []
    search: Any = language_model
    for scores, lengths in _scores(model, audio, feature_extractor, sampling_rate, batch_size):
        if language_model is None and beam_size == 1:
            found: list[Sequence[int]] = [*ctc_greedy(scores, lengths, model=model)]
        elif language_model is None or callable(language_model):
            transcripts = ctc_beam_search(scores, lengths, loss=model, beam_size=beam_size, language_model=search)
            found = [best.labels for best, *_ in transcripts]
        else:
            log_p = log_probabilities(scores, model).cpu().numpy()
            texts += [
                search.decode(frames[:length], beam_width=beam_size)
                for frames, length in zip(log_p, lengths.tolist(), strict=True)
            ]
            continue
        # The labels are collapsed already: equal neighbours among them were said twice.
        texts += [tokenizer.decode(list(labels), group_tokens=False) for labels in found]
    return texts


def _scores(
    model: PreTrainedModel, audio: Any, extractor: Any, sampling_rate: int | None, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Scores (B, T, C) and frames (B,) of each batch."""
    if isinstance(audio, Mapping):
        if sampling_rate is not None:
            raise ValueError("sampling_rate would be ignored: these are the model's inputs already")
        yield _computed(model, {name: value for name, value in audio.items() if name != "labels"}, None)
        return
    if extractor is None or sampling_rate is None:
        missing = "feature_extractor" if extractor is None else "sampling_rate"
        raise ValueError(f"waveforms need a {missing}")
    if isinstance(audio, np.ndarray | Tensor):
        raise ValueError("audio must be a list of waveforms (samples,), got one array")
    waveforms = [np.asarray(wave, dtype=np.float32) for wave in audio]
    for wave in waveforms:
        if wave.ndim != 1 or not wave.size:
            raise ValueError(f"a waveform must have shape (samples,), got {wave.shape}")
    plain: Any = base_model(model)
    for start in range(0, len(waveforms), batch_size):
        batch = waveforms[start : start + batch_size]
        inputs = extractor(batch, sampling_rate=sampling_rate, padding=True, return_tensors="pt")
        lengths = torch.tensor([len(wave) for wave in batch])
        yield _computed(model, dict(inputs), lengths if plain.main_input_name == "input_values" else None)


def _computed(model: PreTrainedModel, inputs: dict[str, Tensor], lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scores and frames of one batch; the frames by the mask, or else the lengths, or else all."""
    plain: Any = base_model(model)
    masks = [inputs[name] for name in ("attention_mask", "padding_mask") if name in inputs]
    if masks:
        lengths = masks[0].sum(-1)
    inputs = {
        name: value.to(plain.device, plain.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
    with _evaluating(model), torch.no_grad():
        scores = model(**inputs)["logits"]
    frames = torch.full(scores.shape[:1], scores.shape[1]) if lengths is None else ctc_frames(plain, lengths.cpu())
    return scores, frames


@contextmanager
def _evaluating(model: PreTrainedModel) -> Iterator[None]:
    """Within, no dropout; afterwards every module is as it was."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def _word_decoder(file: Path, model: PreTrainedModel, tokenizer: Any) -> WordDecoder:
    """pyctcdecode's search with this n-gram model, over the classes of the model."""
    if not file.is_file():
        raise ValueError(f"there is no language model {file}")
    try:
        import kenlm  # type: ignore[import-not-found]  # noqa: F401
        from pyctcdecode import build_ctcdecoder  # type: ignore[import-not-found]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"a language model in a file needs {error.name}: pip install pyctcdecode kenlm", name=error.name
        ) from error
    return build_ctcdecoder(class_tokens(model, tokenizer), str(file))


def class_tokens(model: PreTrainedModel, tokenizer: Any) -> list[str]:
    """The tokens of a CTC model's classes as pyctcdecode wants them: "" for the blank, " " between words."""
    head, tokens = Head.of(model), {i: token for token, i in tokenizer.get_vocab().items()}
    labels = [tokens.get(i, f"[{i}]") for i in range(head.num_classes or 0)]
    if isinstance(tokenizer, Wav2Vec2CTCTokenizer):
        labels = [" " if token == tokenizer.word_delimiter_token else token for token in labels]
    if head.blank is not None:
        labels[head.blank] = ""
    return labels
