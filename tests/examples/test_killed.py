"""A run that is killed (SIGKILL), in every task: the same command goes on and ends as if nothing had happened."""

import json
import signal
import sys
from pathlib import Path

import choice_files
import ctc_runs
import note_files
import picture_files
import pytest
import tag_files
import torch
from example_scripts import QUIET, load_example, results
from processes import EXAMPLES, environment, run
from safetensors.torch import load_file

# A process that has imported everything once becomes one run after the other. Each dies behind the checkpoint of step 6
# and in the second epoch; what step 7 did is lost.
KILLED = """
import json
import os
import signal
import sys
from importlib import import_module

from transformers import TrainerCallback, trainer


class Killed(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 7:
            os.kill(os.getpid(), signal.SIGKILL)


trainer.DEFAULT_CALLBACKS.append(Killed)
jobs, statuses = json.loads(sys.argv[1]), {}
modules = {name: import_module(name) for name in jobs}
for name, argv in jobs.items():
    run = os.fork()
    if not run:
        modules[name].main(argv)
        os._exit(0)
    statuses[name] = os.waitstatus_to_exitcode(os.waitpid(run, 0)[1])
print("\\n" + json.dumps(statuses))
"""
STEPS = ["--max_steps", "10", "--save_steps", "3", "--per_device_train_batch_size", "8", "--learning_rate", "1e-2"]
COUNTS = {"train": 40, "validation": 8, "test": 8}


def with_dropout(model: str) -> list[str]:
    """The saved model, of which a random state that is not restored shows in the weights."""
    config = Path(model, "config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_dropout_prob": 0.1}))
    return ["--model_name_or_path", model]


def images(folder: Path) -> list[str]:
    return [*picture_files.MODEL[:-1], "hidden_dropout_prob=0.2", *picture_files.write_pictures(folder, COUNTS)]


def sounds(folder: Path) -> list[str]:
    config = ctc_runs.WAVEFORM_MODEL | {"classifier_proj_size": 16, "hidden_dropout": 0.1}
    model = ["--config_name", ctc_runs.write_model(folder / "model", config), "--max_length_seconds", "0.06"]
    return [*model, *note_files.write_notes(folder, COUNTS)]


def tokens(folder: Path) -> list[str]:
    files = tag_files.write_files(folder)
    return [*with_dropout(tag_files.save_tiny_tagger(folder / "model")), *files, "--max_train_samples", "40"]


def choices(folder: Path) -> list[str]:
    files = choice_files.write_files(folder)
    return [*with_dropout(choice_files.save_tiny_chooser(folder / "model")), *files, "--max_train_samples", "40"]


def texts(folder: Path) -> list[str]:
    for split, count in COUNTS.items():
        (folder / f"{split}.txt").write_text("".join(f"one two {i % 7} three four\n" for i in range(count)))
    files = [part for split in COUNTS for part in (f"--{split}_file", str(folder / f"{split}.txt"))]
    sizes = "hidden_size=16,intermediate_size=32,num_hidden_layers=1,num_attention_heads=2,attention_dropout=0.1"
    model = ["--model_type", "llama", "--config_overrides", sizes, "--vocabulary", "words", "--block_size", "6"]
    return [*files, *model]


SCRIPTS = {
    "run_image_classification": images,
    "run_audio_classification": sounds,
    "run_ner": tokens,
    "run_multiple_choice": choices,
    "run_language_modeling": texts,
}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The command of each script, whose run was killed; its last word is the output folder."""
    jobs = {}
    for name, make in SCRIPTS.items():
        folder = tmp_path_factory.mktemp(name)
        jobs[name] = [*make(folder), *STEPS, *QUIET, "--output_dir", str(folder / "out")]
    home = tmp_path_factory.mktemp("home")
    env = environment(home, PYTHONPATH=f"{EXAMPLES.parent}:{EXAMPLES}")
    said = run([sys.executable, "-c", KILLED, json.dumps(jobs)], env, home / "log")
    assert json.loads(said.splitlines()[-1]) == dict.fromkeys(SCRIPTS, -signal.SIGKILL), said[-4000:]
    return jobs


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_ends_as_an_undisturbed_run(
    name: str, killed: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main, argv, cut = load_example(name).main, killed[name], Path(killed[name][-1])
    assert not (cut / "model.safetensors").exists()
    main([*argv[:-1], str(tmp_path)])
    assert "Resuming from" not in capsys.readouterr().out
    main(argv)
    assert f"Resuming from {cut / 'checkpoint-6'}" in capsys.readouterr().out
    expected, found = (load_file(folder / "model.safetensors") for folder in (tmp_path, cut))
    assert expected.keys() == found.keys() and all(torch.equal(expected[part], found[part]) for part in expected)
    assert results(cut) == pytest.approx(results(tmp_path), rel=1e-6)  # the mean loss is summed in another order
    assert (cut / "test_predictions.tsv").read_text() == (tmp_path / "test_predictions.tsv").read_text()
