"""examples/run_speech_recognition_seq2seq.py in this process: from tones in files to transcripts and refusals."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import soundfile
import torch
import transformers as tf
import yaml
from example_scripts import load_example
from tiny_models import GradientRecorder, arguments
from torch import Tensor
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from hf_squareloss import SquareLoss, SquareLossSeq2SeqTrainer, load_loss, probability_pipeline
from hf_squareloss.inference import probability_generation

script = load_example("run_speech_recognition_seq2seq")
RATE = 16000  # Hz
TONES = {"a": 300, "b": 800, "c": 2000}  # word -> Hz
SMALL = {
    **{"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2},
    **{"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "dropout": 0.0, "max_target_positions": 24},
}
WHISPER: dict[str, Any] = {**SMALL, "d_model": 64, "num_mel_bins": 16, "max_source_positions": 50}
SPEECH2TEXT = {
    **{**SMALL, "d_model": 16, "input_feat_per_channel": 8, "conv_channels": 16, "max_source_positions": 200},
    **{"activation_dropout": 0.0, "vocab_size": 12, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2},
    **{"decoder_start_token_id": 2, "num_conv_layers": 1, "conv_kernel_sizes": [3]},
}
QUIET = ["--use_cpu", "--disable_tqdm", "True", "--report_to", "none"]
LEARN = ["--learning_rate", "3e-3", "--logging_steps", "24", "--save_strategy", "no"]
SHORT = ["--learning_rate", "3e-3", "--max_steps", "2", "--save_strategy", "no", "--max_train_samples", "16"]
FEW = ["--max_eval_samples", "4", "--max_predict_samples", "4"]
TIMINGS = ("runtime", "per_second", "total_flos")


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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the config and the feature extractor of a small Whisper, for models from scratch."""
    folder = tmp_path_factory.mktemp("whisper")
    tf.WhisperConfig(**WHISPER).save_pretrained(folder)
    tf.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(whisper: str, files: list[str], tmp_path: Path) -> Callable[..., dict[str, float]]:
    """Run the script on the tones; its last arguments win."""

    def with_defaults(*argv: str, name: str = "out", source: list[str] | None = None) -> dict[str, float]:
        source = ["--config_name", whisper] if source is None else source
        return script.main([*source, *files, "--output_dir", str(tmp_path / name), *QUIET, *FEW, *argv])

    return with_defaults


@pytest.fixture(scope="module")
def learnt(whisper: str, files: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run with each loss: train, evaluate, predict."""
    folders = {loss: tmp_path_factory.mktemp(loss) / "tones" for loss in ("square", "cross_entropy")}
    for loss, epochs in (("square", "20"), ("cross_entropy", "14")):
        out = ["--output_dir", str(folders[loss]), "--loss", loss, "--generation_num_beams", "3"]
        script.main(["--config_name", whisper, *files, *out, *QUIET, *LEARN, "--num_train_epochs", epochs])
    return folders


def results(folder: Path) -> dict[str, float]:
    found = json.loads((folder / "all_results.json").read_text())
    return {key: value for key, value in found.items() if not key.endswith(TIMINGS)}


def weights(folder: Path) -> dict[str, Tensor]:
    return dict(tf.AutoModelForSpeechSeq2Seq.from_pretrained(folder).state_dict())


def texts(file: str | Path) -> list[str]:
    return [line.split("\t")[1] for line in Path(file).read_text().splitlines()[1:]]


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


# ---- options --------------------------------------------------------------------------------------------------------
def test_a_killed_run_resumes_to_the_same_weights(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    options = ["--learning_rate", "3e-3", "--max_steps", "4", "--save_steps", "2", "--max_train_samples", "16"]
    run(*options, "--do_train", name="whole")
    first = run(*options, "--do_train", name="killed")
    assert "train_loss" in first
    for name in ("checkpoint-4", "model.safetensors", "train_results.json", "all_results.json"):
        path = tmp_path / "killed" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(*options, "--do_train", name="killed")
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert "train_loss" not in run(*options, "--do_train", name="killed")  # done: trains no more
    with pytest.raises(ValueError, match="another loss"):
        run(*options, "--loss", "cross_entropy", name="killed")
    with pytest.raises(ValueError, match="learning_rate"):
        run(*options, "--learning_rate", "1e-4", name="killed")


def test_evaluation_without_generation(run: Callable[..., dict[str, float]]) -> None:
    found = run(*SHORT, "--do_train", "--do_eval", "--predict_with_generate", "False", "--eval_strategy", "epoch")
    assert np.isfinite(found["eval_loss"]) and "eval_wer" not in found
    with pytest.raises(ValueError, match="predict_with_generate"):
        run("--do_predict", "--predict_with_generate", "False", name="other")


def test_evaluation_between_epochs_generates(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    run(*SHORT, "--do_train", "--do_eval", "--eval_strategy", "steps", "--eval_steps", "1")
    history = json.loads((tmp_path / "out" / "trainer_state.json").read_text())["log_history"]
    assert sum("eval_wer" in entry for entry in history) >= 2


def test_a_data_set_by_name(whisper: str, tmp_path: Path) -> None:
    for split, count in (("train", 16), ("validation", 4)):
        rows: dict[str, list[Any]] = {"audio": [], "sentence": []}
        for i in range(count):
            content = io.BytesIO()
            soundfile.write(content, sound(["abc"[i % 3]])[::2], RATE // 2, format="WAV")  # of another rate
            rows["audio"].append({"bytes": content.getvalue(), "path": f"{i}.wav"})
            rows["sentence"].append("abc"[i % 3])
        datasets.Dataset.from_dict(rows).to_parquet(tmp_path / "data" / f"{split}.parquet")
    argv = ["--dataset_name", str(tmp_path / "data"), "--text_column_name", "sentence", "--config_name", whisper]
    found = script.main([*argv, "--output_dir", str(tmp_path / "out"), *QUIET, *SHORT])
    assert (found["train_samples"], found["eval_samples"]) == (16, 4) and "test_wer" not in found


def test_frozen_parts(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    for name, options in (("start", ["--learning_rate", "0"]), ("frozen", ["--freeze_encoder"])):
        run(*SHORT, "--do_train", *options, name=name)
    before, after = weights(tmp_path / "start"), weights(tmp_path / "frozen")
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(hit for name, hit in same.items() if "encoder." in name and "decoder." not in name)
    assert not all(hit for name, hit in same.items() if "decoder." in name)
    with pytest.raises(ValueError, match="freeze_feature_encoder would be ignored"):
        run(*SHORT, "--freeze_feature_encoder", name="other")


def test_only_so_many_samples_seconds_and_tokens(run: Callable[..., dict[str, float]], files: list[str]) -> None:
    everything, short = texts(files[1]), [text for text in texts(files[1]) if len(text) == 1]
    found = run("--max_steps", "1", "--save_strategy", "no", "--max_duration_in_seconds", "0.3", "--do_train")
    assert found["train_samples"] == len(short) < len(everything)
    found = run("--max_steps", "1", "--save_strategy", "no", "--max_label_length", "4", "--do_train", name="tokens")
    assert found["train_samples"] == len(short)  # start, no timestamps, one letter, end
    found = run(*SHORT, name="samples")
    assert (found["train_samples"], found["eval_samples"], found["test_samples"]) == (16, 4, 4)


def test_spec_augment_changes_the_training(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    plain = run(*SHORT, "--do_train", name="plain")
    masked = run(*SHORT, "--do_train", "--apply_spec_augment", name="masked")
    assert masked["train_loss"] != plain["train_loss"]
    assert tf.AutoConfig.from_pretrained(tmp_path / "masked").apply_spec_augment


def test_upper_case_is_kept_on_request(run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path) -> None:
    folder = Path(files[1]).parent
    upper = write_list(folder, "upper.tsv", [(f"train{i}.wav", text.upper()) for i, text in enumerate(texts(files[1]))])
    run(*SHORT, "--do_train", "--train_file", upper, "--validation_file", upper, "--test_file", upper)
    assert "a" in tf.AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab()
    kept = ["--train_file", upper, "--validation_file", upper, "--test_file", upper, "--do_lower_case", "False"]
    run(*SHORT, "--do_train", *kept, name="kept")
    assert {"A", "B", "C"} < set(tf.AutoTokenizer.from_pretrained(tmp_path / "kept").get_vocab())


# ---- other models ---------------------------------------------------------------------------------------------------
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


def test_a_multilingual_whisper_gets_its_language_and_task(
    run: Callable[..., dict[str, float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ["--model_name_or_path", save_multilingual_whisper(tmp_path / "model")]
    labels: list[Tensor] = []

    class Recorder(script.SpeechCollator):
        def __call__(self, rows: Any) -> Any:
            batch = super().__call__(rows)
            labels.append(batch["labels"])
            return batch

    monkeypatch.setattr(script, "SpeechCollator", Recorder)
    run(*SHORT, "--language", "german", "--task", "translate", source=source)
    tokenizer = tf.AutoTokenizer.from_pretrained(tmp_path / "out")
    first = tokenizer.convert_ids_to_tokens(labels[0][0].tolist()[:3])
    assert first == ["<|de|>", "<|translate|>", "<|notimestamps|>"]  # the model itself puts the start before them
    saved = tf.GenerationConfig.from_pretrained(tmp_path / "out").to_dict()
    assert (saved["language"], saved["task"]) == ("german", "translate")
    with pytest.raises(ValueError, match="not multilingual"):
        run(*SHORT, "--language", "german", name="other")


def write_features(folder: Path, dims: int = 8) -> list[str]:
    random, options = np.random.default_rng(0), []
    for split in ("train", "validation"):
        rows = []
        for i in range(8):
            np.save(folder / f"{split}{i}.npy", random.standard_normal((20 + i, dims)).astype(np.float32))
            rows.append((f"{split}{i}.npy", "a b"))
        options += [f"--{split}_file", write_list(folder, f"{split}.tsv", rows)]
    return options


def test_speech2text_on_stored_features(tmp_path: Path) -> None:
    tf.Speech2TextConfig(**SPEECH2TEXT).save_pretrained(tmp_path / "config")
    options = ["--config_name", str(tmp_path / "config"), *write_features(tmp_path), *QUIET, "--save_strategy", "no"]
    learn = ["--learning_rate", "1e-2", "--num_train_epochs", "40", "--max_duration_in_seconds", "20"]
    found = script.main([*options, *learn, "--output_dir", str(tmp_path / "out")])
    assert found["eval_wer"] == 0.0  # it says the one thing that it was taught
    found = script.main(
        [
            *["--model_name_or_path", str(tmp_path / "out"), *options[2:], "--do_eval"],
            *["--output_dir", str(tmp_path / "again"), "--generation_num_beams", "2"],
        ]
    )
    assert found["eval_wer"] == 0.0


def test_speech2text_on_waveforms(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    tf.Speech2TextConfig(**{**SPEECH2TEXT, "input_feat_per_channel": 16}).save_pretrained(tmp_path / "config")
    tf.Speech2TextFeatureExtractor(feature_size=16, num_mel_bins=16).save_pretrained(tmp_path / "config")
    found = run(*SHORT, source=["--config_name", str(tmp_path / "config")])
    assert np.isfinite(found["eval_loss"]) and found["eval_wer"] > 0
    transcribe: Any = probability_pipeline(str(tmp_path / "out"))
    assert isinstance(transcribe(sound(["a"]))["text"], str)


# ---- refusals -------------------------------------------------------------------------------------------------------
def test_what_is_missing_is_named(whisper: str, files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for argv, message in (
        (["--config_name", whisper], "--dataset_name NAME.*--train_file.*run_speech_recognition_ctc.py"),
        (files, "--model_name_or_path, or --config_name"),
        (["--config_name", whisper, *files, "--dataset_name", "some/data"], "exclude each other"),
        (["--config_name", whisper, *files, "--forced_decoder_ids", "1 2"], "--language and --task"),
        (["--config_name", whisper, *files, "--suppress_tokens", "1"], "generation_config.json"),
        (["--config_name", whisper, *files, "--loss", "sqare"], "did you mean 'square'"),
    ):
        with pytest.raises(SystemExit) as exit:
            script.main([*argv, "--output_dir", "out"])
        assert exit.value.code == 2
        assert re.search(message, capsys.readouterr().err)


def test_bad_utterances_are_named(run: Callable[..., dict[str, float]], files: list[str]) -> None:
    folder = Path(files[1]).parent
    soundfile.write(folder / "long.wav", np.tile(sound(["a"]), 5), RATE)
    np.save(folder / "long.npy", np.tile(sound(["a"]), 5))
    soundfile.write(folder / "empty.wav", np.zeros(0, np.float32), RATE)
    np.save(folder / "nan.npy", np.full(8000, np.nan, np.float32))
    for audio, text, message in (
        ("long.wav", "a", r"validation row 2 \(.*long.wav\): 1.31 seconds"),
        ("long.npy", "a", r"validation row 2 \(.*long.npy\): 1.31 seconds"),
        ("empty.wav", "a", r"row 2 \(.*empty.wav\): .*zero length"),
        ("nan.npy", "a", r"row 2 \(.*nan.npy\): NaN"),
        ("train0.wav", "a d", r"row 2 \(.*train0.wav\): .*'d'"),
        ("train0.wav", "a " * 20, r"row 2 \(.*train0.wav\): the transcript has 41 tokens, more than the model's 24"),
        ("train0.wav", " ", r"row 2 \(.*train0.wav\): the transcript is empty"),
    ):
        bad = write_list(folder, "bad.tsv", [("train1.wav", "a"), (audio, text)])
        with pytest.raises(ValueError, match=message):
            run(*SHORT, "--validation_file", bad)
    # Left out of training, long audio does no harm; nor do long transcripts.
    train = write_list(folder, "mixed.tsv", [("train1.wav", "a b c"), ("long.wav", "a"), ("train0.wav", "a " * 20)])
    limits = ["--max_duration_in_seconds", "1", "--max_label_length", "24"]
    assert run(*SHORT, "--train_file", train, *limits, "--do_train", name="mixed")["train_samples"] == 1


def test_models_that_do_not_fit_are_refused(
    run: Callable[..., dict[str, float]], files: list[str], tmp_path: Path
) -> None:
    made = save_multilingual_whisper(tmp_path / "model")
    small = tf.WhisperConfig(**WHISPER, vocab_size=9)
    small.save_pretrained(tmp_path / "small")
    tf.WhisperFeatureExtractor(feature_size=16, chunk_length=1).save_pretrained(tmp_path / "small")
    source = ["--config_name", str(tmp_path / "small"), "--tokenizer_name", made]
    with pytest.raises(ValueError, match="vocabulary only 9"):
        run(*SHORT, source=source)
    tf.Speech2TextConfig(**SPEECH2TEXT).save_pretrained(tmp_path / "features")
    source = ["--config_name", str(tmp_path / "features")]
    with pytest.raises(ValueError, match=r"train0.wav\): a waveform, but there is no feature extractor"):
        run(*SHORT, source=source)
    with pytest.raises(ValueError, match="apply_spec_augment would be ignored"):
        run(*SHORT, "--apply_spec_augment", source=source)
    with pytest.raises(ValueError, match="expects 8 dims, got 5"):
        features = write_features(tmp_path, dims=5)
        run(*SHORT, *features, "--test_file", features[1], source=source)
    with pytest.raises(ValueError, match="max_label_length=1 leaves no training data"):
        run(*SHORT, "--max_label_length", "1")
    with pytest.raises(ValueError, match="no train split: give --train_file"):
        argv = ["--config_name", made, *files[2:], "--do_eval", "--output_dir", str(tmp_path / "none"), *QUIET]
        script.main(argv)
