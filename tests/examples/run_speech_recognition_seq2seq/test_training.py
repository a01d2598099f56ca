"""examples/run_speech_recognition_seq2seq.py in this process: from tones to transcripts, and the loss of tokens."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
import yaml
from example_scripts import load_example, results
from seq2seq_runs import RATE, SPEECH2TEXT, WHISPER, sound, texts
from tiny_models import GradientRecorder, arguments
from torch import Tensor

from hf_squareloss import SquareLoss, SquareLossSeq2SeqTrainer, load_loss, probability_pipeline
from hf_squareloss.inference import probability_generation

script = load_example("run_speech_recognition_seq2seq")


# ---- from waveforms to transcripts ----------------------------------------------------------------------------------
@pytest.mark.parametrize("loss", ["square", "cross_entropy"])
def test_the_tones_are_learnt(loss: str, learnt: dict[str, Path], files: list[str]) -> None:
    found = results(learnt[loss])
    assert found["eval_wer"] < 0.1 and found["test_wer"] < 0.1 and found["test_cer"] < 0.1
    history = json.loads((learnt[loss] / "trainer_state.json").read_text())["log_history"]
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[-1] < 0.3 * losses[0]
    metrics = {f"{part}_{metric}" for part in ("eval", "test") for metric in ("loss", "wer", "cer", "samples")}
    assert set(found) == metrics | {"train_loss", "train_samples", "epoch"}
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (96, 24, 24)
    assert load_loss(learnt[loss]).name == loss
    predicted, truth = texts(learnt[loss] / "test_predictions.tsv"), texts(files[-1])
    assert sum(p != t for p, t in zip(predicted, truth, strict=True)) <= 3


def test_the_card_tells_of_this_run(learnt: dict[str, Path], whisper: str) -> None:
    card = (learnt["square"] / "README.md").read_text()
    values = yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))
    assert values["pipeline_tag"] == "automatic-speech-recognition"
    assert f"| wer | {results(learnt['square'])['eval_wer']:.4f} |" in card
    assert "AutoModelForSpeechSeq2Seq" in card and whisper not in card


def test_a_reloaded_model_transcribes_in_the_pipelines(learnt: dict[str, Path], files: list[str]) -> None:
    truth = texts(files[-1])
    sounds = [sound(text.split()) for text in truth]
    for make in (tf.pipeline, probability_pipeline):
        transcribe: Any = make(task="automatic-speech-recognition", model=str(learnt["square"]))
        found = [row["text"].strip() for row in transcribe(sounds)]
        assert sum(p != t for p, t in zip(found, truth, strict=True)) <= 3


def test_a_model_is_evaluated_with_its_own_loss_through_the_link(
    run: Callable[..., dict[str, float]], learnt: dict[str, Path], files: list[str], tmp_path: Path
) -> None:
    trained = ["--model_name_or_path", str(learnt["square"])]
    options = ["--do_eval", "--max_eval_samples", "24", "--loss", "cross_entropy", "--generation_num_beams", "3"]
    found = run(*options, source=trained)
    for metric in ("eval_loss", "eval_wer", "eval_cer"):
        assert found[metric] == pytest.approx(results(learnt["square"])[metric], rel=1e-4)
    assert not (tmp_path / "out" / "README.md").exists()
    # What it generates is what beam search over log probabilities gives.
    model = tf.AutoModelForSpeechSeq2Seq.from_pretrained(learnt["square"])
    extractor = tf.AutoFeatureExtractor.from_pretrained(learnt["square"])
    tokenizer = tf.AutoTokenizer.from_pretrained(learnt["square"])
    inputs = extractor([sound(t.split()) for t in texts(files[3])[:4]], sampling_rate=RATE, return_tensors="pt")
    with probability_generation(model):
        ids = model.generate(**inputs, num_beams=3)
    run("--do_predict", "--test_file", files[3], "--generation_num_beams", "3", source=trained, name="again")
    predicted = texts(tmp_path / "again" / "test_predictions.tsv")
    assert predicted == [t.strip() for t in tokenizer.batch_decode(ids, skip_special_tokens=True)]


def test_test_lists_without_texts(
    run: Callable[..., dict[str, float]], learnt: dict[str, Path], files: list[str], tmp_path: Path
) -> None:
    folder = Path(files[-1]).parent
    names = [line.split("\t")[0] for line in Path(files[-1]).read_text().splitlines()]
    (folder / "hidden.tsv").write_text("\n".join(names) + "\n")
    options = ["--do_predict", "--test_file", str(folder / "hidden.tsv"), "--generation_num_beams", "3"]
    found = run(*options, source=["--model_name_or_path", str(learnt["square"])])
    assert not {"test_wer", "test_loss"} & found.keys()
    assert texts(tmp_path / "out" / "test_predictions.tsv") == texts(learnt["square"] / "test_predictions.tsv")[:4]


# ---- the loss on decoder tokens -------------------------------------------------------------------------------------
def make_model(family: str, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    if family == "whisper":
        special: dict[str, Any] = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 3}
        config = tf.WhisperConfig(**WHISPER, vocab_size=12, **special, begin_suppress_tokens=None)
        model: Any = tf.WhisperForConditionalGeneration(config)
    else:
        model = tf.Speech2TextForConditionalGeneration(tf.Speech2TextConfig(**SPEECH2TEXT))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # the usual initial scale leaves such small models with hardly a gradient
    return model


def make_batch(family: str, count: int = 4) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    shape = (16, 100) if family == "whisper" else (20, 8)
    labels = torch.randint(4, 12, (count, 6), generator=random)
    labels[torch.arange(6) >= torch.tensor([[6], [2], [4], [1]])] = -100
    batch = {"input_features": torch.randn(count, *shape, generator=random), "labels": labels}
    if family == "speech2text":
        batch["attention_mask"] = (torch.arange(20) < torch.tensor([[20], [12], [17], [9]])).long()
    return batch


def decoder_inputs(labels: Tensor, start: int, pad: int) -> Tensor:
    """The start token, then the labels but their last, without the -100."""
    inputs = torch.cat([torch.full((len(labels), 1), start), labels[:, :-1]], dim=1)
    return torch.where(inputs == -100, pad, inputs)


@pytest.mark.parametrize("family", ["whisper", "speech2text"])
def test_gradient_is_of_the_square_loss_on_the_kept_tokens(family: str, tmp_path: Path) -> None:
    batch, recorder, seen = make_batch(family), GradientRecorder(), []
    model = make_model(family)
    decoder = model.model.decoder

    def record(module: Any, args: Any, kwargs: Any) -> None:
        if module.training:  # and not in the Trainer's look at the output layer before
            seen.append(kwargs["input_ids"])

    decoder.register_forward_pre_hook(record, with_kwargs=True)
    rows = [{name: value[i] for name, value in batch.items()} for i in range(4)]
    args = arguments(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=2, max_steps=1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    SquareLossSeq2SeqTrainer(
        model, seq2seq(args), train_dataset=rows, loss=SquareLoss(k=2.0, M=3.0), callbacks=[recorder]
    ).train()
    moved = {name: not torch.equal(p, before[name]) for name, p in model.named_parameters() if p.requires_grad}
    # Keys shift every attention weight alike, so their bias has no gradient (Whisper has none).
    assert [name for name, hit in moved.items() if not hit and not name.endswith("k_proj.bias")] == []

    reference = make_model(family)
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    shifted = decoder_inputs(batch["labels"], reference.config.decoder_start_token_id, reference.config.pad_token_id)
    assert sorted(torch.cat(seen).tolist()) == sorted(shifted.tolist())
    scores = reference(**inputs, decoder_input_ids=shifted).logits
    values = []
    for row, labels in zip(scores, batch["labels"], strict=True):
        for f, y in zip(row, labels.tolist(), strict=True):
            if y != -100:
                wrong = torch.cat([f[:y], f[y + 1 :]])
                values.append((2.0 * (f[y] - 3.0) ** 2 + (wrong**2).sum()) / 12)
    assert len(values) == 13
    (sum(values) / 13).backward()  # type: ignore[union-attr]
    expected = torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in reference.parameters()]
    )
    torch.testing.assert_close(recorder.gradient, expected, rtol=1e-3, atol=1e-5)


def seq2seq(args: Any) -> Any:
    values = {name: value for name, value in args.to_dict().items() if not name.startswith("_")}
    return script.TrainingArguments(**values)
