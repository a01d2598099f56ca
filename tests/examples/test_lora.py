"""`--use_lora` in the example scripts: trained, resumed, and evaluated from the adapter's folder."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import choice_files
import ctc_runs
import note_files
import picture_files
import pytest
import tag_files
import torch
import transformers as tf
from example_scripts import QUIET, load_example
from glue_runs import LEARN, file_options
from safetensors.torch import load_file
from seq2seq_runs import save_multilingual_whisper, write_tones
from tiny_text_model import save_tiny_model, write_toy_files

from hf_squareloss import load_config, load_loss

glue, ctc = load_example("run_glue"), load_example("run_speech_recognition_ctc")
seq2seq = load_example("run_speech_recognition_seq2seq")
image, audio = load_example("run_image_classification"), load_example("run_audio_classification")
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # peft 0.21, 5.24


def is_small_adapter(folder: Path) -> bool:
    weights = load_file(folder / "adapter_model.safetensors")
    return not (folder / "model.safetensors").exists() and any("lora_A" in name for name in weights)


def test_texts(tmp_path: Path) -> None:
    files, out = file_options(write_toy_files(tmp_path)), str(tmp_path / "out")
    model = str(save_tiny_model(tmp_path / "model"))
    lora = ["--use_lora", "--lora_r", "4", "--num_train_epochs", "15"]
    found = glue.main(["--model_name_or_path", model, *files, "--output_dir", out, *QUIET, *LEARN, *lora])
    assert found["eval_accuracy"] > 0.85 and is_small_adapter(tmp_path / "out")
    assert load_loss(out).name == "square" and load_config(out).id2label == {0: "bad", 1: "good"}
    again = ["--model_name_or_path", out, *files, "--output_dir", str(tmp_path / "again"), *QUIET]
    found_again = glue.main([*again, "--do_eval"])
    for name in ("accuracy", "loss", "brier"):
        assert found_again[f"eval_{name}"] == pytest.approx(found[f"eval_{name}"], rel=1e-5)
    with pytest.raises(ValueError, match="the model is an adapter.*--use_lora goes on"):
        glue.main([*again, "--do_train"])


def test_an_adapter_is_trained_on(tmp_path: Path) -> None:
    files = file_options(write_toy_files(tmp_path))
    model = str(save_tiny_model(tmp_path / "model"))
    few = [*files, *QUIET, "--use_lora", "--learning_rate", "1e-2", "--do_train", "--do_eval", "--save_steps", "1"]
    for name, seed in (("first", "0"), ("other", "1")):
        out = ["--output_dir", str(tmp_path / name), "--seed", seed, "--max_steps", "4"]
        glue.main(["--model_name_or_path", model, *few, *out])
    on = [
        "--model_name_or_path",
        str(tmp_path / "first"),
        *few,
        "--output_dir",
        str(tmp_path / "on"),
        "--max_steps",
        "3",
    ]
    found = glue.main([*on, "--learning_rate", "1e-30"])  # nothing moves: the weights are the adapter's
    before, after = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "on"))
    assert before.keys() == after.keys() and any("classifier" in name for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    for other in (["--learning_rate", "1e-3"], ["--model_name_or_path", str(tmp_path / "other")]):
        with pytest.raises(ValueError, match="already holds a run with .*(learning_rate|model before training)"):
            glue.main([*on, "--learning_rate", "1e-30", *other])
    assert glue.main([*on, "--learning_rate", "1e-30"])["eval_loss"] == found["eval_loss"]  # it is finished
    whole = glue.main([*on, "--output_dir", str(tmp_path / "whole")])
    glue.main([*on, "--output_dir", str(tmp_path / "cut")])
    for part in ("adapter_model.safetensors", "checkpoint-3", "checkpoint-2"):
        path = tmp_path / "cut" / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    resumed = glue.main([*on, "--output_dir", str(tmp_path / "cut")])
    trained = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("first", "whole", "cut")]
    assert resumed["eval_loss"] == whole["eval_loss"]
    for name in before:
        assert torch.equal(trained[1][name], trained[2][name]) and not torch.equal(trained[0][name], trained[1][name])
    assert load_loss(tmp_path / "cut").name == "square" and is_small_adapter(tmp_path / "cut")


def test_ctc(tmp_path: Path) -> None:
    files = ctc_runs.write_melodies(tmp_path, {"train": 8, "validation": 4})
    base = ctc_runs.write_model(tmp_path / "model", ctc_runs.WAVEFORM_MODEL)
    tf.AutoModelForCTC.from_config(tf.AutoConfig.from_pretrained(base)).save_pretrained(base)
    options = [*files, "--output_dir", str(tmp_path / "out"), *QUIET, *ctc_runs.SHORT, "--use_lora"]
    new_head = ["--model_name_or_path", base, "--ignore_mismatched_sizes"]
    found = ctc.main([*new_head, *options])
    weights = load_file(tmp_path / "out/adapter_model.safetensors")
    assert is_small_adapter(tmp_path / "out") and "base_model.model.lm_head.weight" in weights
    assert load_loss(tmp_path / "out").ctc_tau == "posterior" and found["eval_loss"] > 0
    again = ["--model_name_or_path", str(tmp_path / "out"), *files, *QUIET, "--do_eval"]
    assert ctc.main([*again, "--output_dir", str(tmp_path / "again")])["eval_loss"] == pytest.approx(found["eval_loss"])
    with pytest.raises(ValueError, match="use_lora needs a trained model"):
        ctc.main(["--config_name", base, *options, "--output_dir", str(tmp_path / "scratch")])


def test_encoder_decoders(tmp_path: Path) -> None:
    base = save_multilingual_whisper(tmp_path / "model")
    options = [*write_tones(tmp_path), "--output_dir", str(tmp_path / "out"), *QUIET, "--use_lora"]
    few = ["--max_train_samples", "8", "--max_eval_samples", "2", "--max_predict_samples", "2", "--max_steps", "2"]
    found = seq2seq.main(["--model_name_or_path", base, *options, *few, "--save_strategy", "no"])
    assert is_small_adapter(tmp_path / "out") and load_loss(tmp_path / "out").name == "square"
    assert found["eval_wer"] > 0


VIT = {"image_size": 8, "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "layer_type": "basic"}


def image_model(folder: Path, config: Any) -> list[str]:
    """A classifier of other classes, and its processor; as options."""
    torch.manual_seed(0)
    tf.AutoModelForImageClassification.from_config(config).save_pretrained(folder)
    tf.ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
    return ["--model_name_or_path", str(folder), "--ignore_mismatched_sizes"]


@pytest.mark.parametrize(
    ("config", "more"),
    [
        (tf.ViTConfig(**VIT, intermediate_size=32, num_labels=5), []),  # type: ignore[call-arg]
        (tf.ResNetConfig(**RESNET, num_labels=5), ["--lora_target_modules", "convolution"]),  # type: ignore[call-arg]
    ],
    ids=["vit", "resnet"],
)
def test_images(config: Any, more: list[str], tmp_path: Path) -> None:
    """Evaluated from the adapter's folder it is the same model, statistics of batch norms too; and it is trained on."""
    folders = picture_files.write_pictures(tmp_path / "pictures", {"train": 32, "validation": 16, "test": 16})
    model = image_model(tmp_path / "model", config)
    learn = ["--use_lora", "--learning_rate", "1e-2", "--max_steps", "8", "--save_strategy", "no", *QUIET]
    found = image.main([*model, *folders, *learn, *more, "--output_dir", str(tmp_path / "out")])
    assert is_small_adapter(tmp_path / "out")
    assert load_config(tmp_path / "out").id2label == {0: "across", 1: "upright"}
    again = ["--model_name_or_path", str(tmp_path / "out"), *folders, *QUIET]
    found_again = image.main([*again, "--do_eval", "--output_dir", str(tmp_path / "again")])
    for name in ("accuracy", "loss", "brier"):
        assert found_again[f"eval_{name}"] == pytest.approx(found[f"eval_{name}"], rel=1e-5)
    on = ["--use_lora", "--max_steps", "1", "--save_strategy", "no", "--learning_rate", "1e-30"]
    image.main([*again, *on, "--output_dir", str(tmp_path / "on")])
    before, after = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("out", "on"))
    moving = ("running_mean", "running_var", "num_batches_tracked")
    assert before.keys() == after.keys()
    for name in before:  # the head is multiplied by a number that was fitted anew
        if not name.endswith(moving):
            tolerance = 1e-3 if "classifier" in name else 0.0
            torch.testing.assert_close(after[name], before[name], rtol=tolerance, atol=tolerance)


def test_images_without_a_trainer(tmp_path: Path) -> None:
    folders = picture_files.write_pictures(tmp_path / "pictures", {"train": 16, "validation": 8})
    model = image_model(tmp_path / "model", tf.ViTConfig(**VIT, intermediate_size=32))  # type: ignore[call-arg]
    loop = load_example("run_image_classification_no_trainer")
    given = [*model, *folders, "--use_lora", "--num_train_epochs", "1", "--loss_k", "2"]
    loop.main([*given, "--output_dir", str(tmp_path / "out")])
    assert is_small_adapter(tmp_path / "out") and load_config(tmp_path / "out").id2label == {0: "across", 1: "upright"}
    assert load_loss(tmp_path / "out").to_dict()["k"] == 2.0


def test_sounds(tmp_path: Path) -> None:
    folders = note_files.write_notes(tmp_path / "notes", {"train": 12, "validation": 6})
    base = ctc_runs.write_model(tmp_path / "model", ctc_runs.WAVEFORM_MODEL | {"classifier_proj_size": 16})
    scratch = ["--config_name", base, *folders, *QUIET, "--use_lora", *note_files.SHORT]
    with pytest.raises(ValueError, match="use_lora needs a trained model"):
        audio.main([*scratch, "--output_dir", str(tmp_path / "scratch")])
    config = tf.AutoConfig.from_pretrained(base)
    tf.AutoModelForAudioClassification.from_config(config).save_pretrained(base)
    given = ["--model_name_or_path", base, "--ignore_mismatched_sizes", "--freeze_feature_encoder", *scratch[2:]]
    found = audio.main([*given, "--output_dir", str(tmp_path / "out")])
    assert is_small_adapter(tmp_path / "out")
    again = ["--model_name_or_path", str(tmp_path / "out"), *folders, *QUIET]
    found_again = audio.main([*again, "--do_eval", "--output_dir", str(tmp_path / "again")])
    assert found_again["eval_loss"] == pytest.approx(found["eval_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "save", "write", "shown"),
    [
        ("run_ner", tag_files.save_tiny_tagger, tag_files.write_files, "f1"),
        ("run_multiple_choice", choice_files.save_tiny_chooser, choice_files.write_files, "accuracy"),
    ],
)
def test_tokens_and_choices(
    name: str, save: Callable[[Path], str], write: Callable[[Path], list[str]], shown: str, tmp_path: Path
) -> None:
    main, files = load_example(name).main, [*write(tmp_path), "--max_train_samples", "32", *QUIET]
    learn = ["--use_lora", "--max_steps", "4", "--save_strategy", "no", "--learning_rate", "1e-2"]
    found = main(
        ["--model_name_or_path", save(tmp_path / "model"), *files, *learn, "--output_dir", str(tmp_path / "out")]
    )
    assert is_small_adapter(tmp_path / "out") and load_loss(tmp_path / "out").name == "square"
    again = [
        "--model_name_or_path",
        str(tmp_path / "out"),
        *files,
        "--do_eval",
        "--output_dir",
        str(tmp_path / "again"),
    ]
    found_again = main(again)
    assert {f"eval_{shown}", "eval_brier"} <= found_again.keys()
    for metric in ("loss", "brier", shown):
        assert found_again[f"eval_{metric}"] == pytest.approx(found[f"eval_{metric}"], rel=1e-5)
    with pytest.raises(ValueError, match="the model is an adapter.*--use_lora goes on"):
        main([*again[:-3], "--do_train", "--output_dir", str(tmp_path / "on")])
