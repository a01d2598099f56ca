"""The example scripts against a Hub on loopback: push, load elsewhere, tasks by name, and tokens that cannot push."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback_hub import TOKENS, Account, LoopbackHub, card_errors, read_card
from processes import EXAMPLES, environment, run
from safetensors.torch import load_file
from tiny_text_model import save_tiny_model, write_toy_files

PUSH_TASKS = """
import sys

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from huggingface_hub import HfApi

HfApi().create_repo("alice/tiny")
HfApi().upload_folder(repo_id="alice/tiny", folder_path=sys.argv[1])

NLI = ["entailment", "neutral", "contradiction"]
FOUR = [f"{split}_{source}" for split in ("validation", "test") for source in ("matched", "mismatched")]
TASKS = {
    "mrpc": (["sentence1", "sentence2"], ["not_equivalent", "equivalent"], ["validation", "test"]),
    "sst2": (["sentence"], ["negative", "positive"], ["validation", "test"]),
    "stsb": (["sentence1", "sentence2"], None, ["validation", "test"]),
    "mnli": (["premise", "hypothesis"], NLI, FOUR),
}
for task, (columns, names, others) in TASKS.items():
    kind = Value("float32") if names is None else ClassLabel(names=names)
    features = Features({**{column: Value("string") for column in columns}, "label": kind, "idx": Value("int32")})

    def split(name, count):
        words = ["fine", "dull", "the film"]
        labels = [i % 3 * 1.5 if names is None else i % len(names) for i in range(count)]
        hidden = [-1.0 if names is None else -1] * count
        rows = {column: [f"{words[i % 3]} {words[i % 2]}" for i in range(count)] for column in columns}
        rows |= {"label": hidden if name.startswith("test") else labels, "idx": list(range(count))}
        return Dataset.from_dict(rows, features=features)

    sizes = {"train": 12} | {name: 7 + i for i, name in enumerate(others)}
    data = DatasetDict({name: split(name, count) for name, count in sizes.items()})
    data.push_to_hub("nyu-mll/glue", task, token="hf_nyu_write")
"""

LOAD_ELSEWHERE = """
import json
import sys

import torch
from safetensors.torch import save_file
sys.modules["hf_squareloss"] = None  # importing it fails
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

texts = json.loads(sys.argv[2])
model = AutoModelForSequenceClassification.from_pretrained("alice/toy")
tokenizer = AutoTokenizer.from_pretrained("alice/toy")
with torch.no_grad():
    scores = torch.cat([model(**tokenizer(text, return_tensors="pt")).logits for text in texts])
names = [model.config.id2label[i] for i in scores.argmax(-1).tolist()]
plain = pipeline("text-classification", model="alice/toy", top_k=None)(texts)
del sys.modules["hf_squareloss"]

from hf_squareloss import load_loss, probability_pipeline

def values(found):
    return [[{p["label"]: p["score"] for p in row}[name] for name in ("bad", "good")] for row in found]


result = {
    "predictions": names,
    "loss": load_loss(model).to_dict(),
    "probabilities": load_loss(model).probabilities(scores).tolist(),
    "plain": values(plain),
    "pipeline": values(probability_pipeline("alice/toy", top_k=None)(texts)),
}
save_file(model.state_dict(), sys.argv[1] + "/loaded.safetensors")
open(sys.argv[1] + "/loaded.json", "w").write(json.dumps(result))
"""

BY_NAME = """
import sys

from run_glue import main

for task in ("mrpc", "mnli", "stsb"):
    options = "--model_name_or_path alice/tiny --ignore_mismatched_sizes --max_steps 2 --save_strategy no --use_cpu"
    do = ["--do_train", "--do_eval", "--do_predict"]
    main(["--task_name", task, *options.split(), *do, "--output_dir", f"{sys.argv[1]}/{task}"])
"""

REFUSED_TOKENS = """
import json
import sys

import run_glue
import run_glue_no_trainer

folder = sys.argv[1]
files = ["--train_file", folder + "/train.tsv", "--validation_file", folder + "/validation.tsv"]
common = [*files, "--model_name_or_path", folder + "/model", "--output_dir", folder + "/refused", "--push_to_hub"]
said = {}
for name, (repo, token) in json.loads(sys.argv[2]).items():
    for script, options in ((run_glue, ["--use_cpu", "--save_steps", "1"]), (run_glue_no_trainer, [])):
        given = ["--hub_token", token] if token else []
        try:
            script.main([*common, *options, "--hub_model_id", repo, *given])
        except ValueError as error:
            said[f"{script.__name__}, {name}"] = str(error)
        else:
            said[f"{script.__name__}, {name}"] = "trained"
open(folder + "/said.json", "w").write(json.dumps(said))
"""


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub({**TOKENS, "hf_nyu_write": Account("nyu-mll")}) as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("push")
    write_toy_files(folder)
    save_tiny_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def pushed(hub: LoopbackHub, folder: Path) -> Path:
    """The output folder of a run of run_glue.py that was pushed as alice/toy."""
    options = f"""
        --model_name_or_path {folder / "model"} --train_file {folder / "train.tsv"} --test_file {folder / "test.tsv"}
        --validation_file {folder / "validation.tsv"} --output_dir {folder / "toy"} --do_train --do_eval --do_predict
        --loss square --loss_k 2 --loss_M 3 --num_train_epochs 12 --learning_rate 5e-3 --save_steps 48 --use_cpu
        --push_to_hub --hub_model_id alice/toy
    """
    run([sys.executable, str(EXAMPLES / "run_glue.py"), *options.split()], client(hub, folder / "pusher"), log(folder))
    return folder / "toy"


def client(hub: LoopbackHub, home: Path, token: str | None = "hf_alice_write") -> dict[str, str]:
    """Environment of a process that sees the loopback Hub; a new home is an empty cache."""
    env = hub.env(home, token) | {"PYTHONPATH": f"{EXAMPLES.parent}:{EXAMPLES}"}
    return {key: value for key, value in environment(home).items() if not key.startswith("HF_")} | env


def log(folder: Path) -> Path:
    return folder / f"log{len(list(folder.glob('log*')))}.txt"


def execute(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_pushed_model_loads_elsewhere_with_equal_weights_and_predictions(
    hub: LoopbackHub, folder: Path, pushed: Path
) -> None:
    lines = (folder / "test.tsv").read_text().splitlines()[1:]
    texts = [line.split("\t")[0] for line in lines]
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    command = execute(LOAD_ELSEWHERE, elsewhere, json.dumps(texts))
    run(command, client(hub, elsewhere / "home", token=None), log(folder))

    expected, loaded = load_file(pushed / "model.safetensors"), load_file(elsewhere / "loaded.safetensors")
    assert expected.keys() == loaded.keys()
    assert all(expected[name].equal(loaded[name]) for name in expected)
    result = read(elsewhere / "loaded.json")
    predicted = [line.split("\t")[1] for line in (pushed / "test_predictions.tsv").read_text().splitlines()[1:]]
    assert result["predictions"] == predicted
    accuracy = sum(line.split("\t")[1] == name for line, name in zip(lines, predicted, strict=True)) / len(lines)
    assert accuracy == read(pushed / "test_results.json")["test_accuracy"] > 0.7
    calibration = result["loss"].pop("calibration")
    assert calibration["folded_into"] == "classifier" and calibration["source"] == "validation"
    assert result["loss"] == {"loss": "square", "k": 2.0, "M": 3.0}
    assert [sum(row) for row in result["probabilities"]] == pytest.approx([1.0] * len(texts))
    for kind in ("plain", "pipeline"):  # transformers' own pipeline, where ours cannot be imported, and ours
        for row, piped in zip(result["probabilities"], result[kind], strict=True):
            assert piped == pytest.approx(row, abs=1e-6)
    written = [line.split("\t")[2:] for line in (pushed / "test_predictions.tsv").read_text().splitlines()[1:]]
    for row, piped in zip(written, result["plain"], strict=True):
        assert [float(p) for p in row] == pytest.approx(piped, abs=1e-5)  # six digits; of padded batches


def test_the_card_tells_loss_parameters_and_metrics_of_this_run(hub: LoopbackHub, pushed: Path) -> None:
    text = hub.read("alice/toy", "README.md").decode()
    assert card_errors(text) == []
    card, evaluated = read_card(text), read(pushed / "eval_results.json")
    assert (card["library_name"], card["pipeline_tag"]) == ("transformers", "text-classification")
    assert "square" in card["tags"] and "base_model" not in card  # a folder is no name of the Hub
    (result,) = card["model-index"][0]["results"]
    stated = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert stated == {name: pytest.approx(evaluated[f"eval_{name}"], abs=1e-6) for name in ("accuracy", "f1")}
    assert "`square`, k = 2.0, M = 3.0" in text
    for name in ("loss", "accuracy", "ece"):
        assert f"| {name} | {evaluated[f'eval_{name}']:.4f} |" in text
    assert 'pipeline("text-classification", model="alice/toy", top_k=None)' in text and "probability_pip" not in text
    assert "![Accuracy against confidence, on the evaluation set](reliability.png)" in text
    assert hub.read("alice/toy", "reliability.png").startswith(b"\x89PNG")


def test_checkpoints_are_not_pushed(hub: LoopbackHub, pushed: Path) -> None:
    assert list(pushed.glob("checkpoint-*"))
    files = hub.repos["model", "alice/toy"].head.tree
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= files.keys()
    assert not [path for path in files if "checkpoint" in path or "optimizer" in path]
    assert sum(len(entry.content) for entry in files.values()) < 200_000


def test_no_path_of_the_machine_is_pushed(hub: LoopbackHub, pushed: Path) -> None:
    place = str(pushed.parent).encode()
    tree = hub.repos["model", "alice/toy"].head.tree
    assert "training_args.bin" in tree and "trainer_state.json" in tree
    assert [path for path, entry in tree.items() if place in entry.content] == []
    assert place in (pushed / "_run.lock").parent.as_posix().encode()  # what was looked for


def test_tasks_by_name_with_an_empty_cache(hub: LoopbackHub, folder: Path) -> None:
    run(execute(PUSH_TASKS, folder / "model"), client(hub, folder / "owner"), log(folder))
    run(execute(BY_NAME, folder / "named"), client(hub, folder / "user", token=None), log(folder))
    metrics = {"mrpc": ("accuracy", "f1"), "mnli": ("accuracy", "mm_accuracy"), "stsb": ("pearson", "spearmanr")}
    for task, names in metrics.items():
        output = folder / "named" / task
        results = read(output / "all_results.json")
        assert {f"eval_{name}" for name in names} <= results.keys()
        assert results["train_samples"] == 12 and not [name for name in results if name.startswith("test_acc")]
        text = (output / "README.md").read_text()
        card = read_card(text)
        assert card_errors(text) == []
        assert (card["base_model"], card["datasets"]) == ("alice/tiny", ["nyu-mll/glue"])
        assert f"GLUE {task.upper()}" in text
    mnli = folder / "named" / "mnli"
    assert read(mnli / "config.json")["label2id"] == {"entailment": 0, "neutral": 1, "contradiction": 2}
    counts = {"eval_samples": 7, "eval_mm_samples": 8}
    assert {name: read(mnli / "all_results.json")[name] for name in counts} == counts
    assert [len((mnli / f"{name}_predictions.tsv").read_text().splitlines()) for name in ("test", "test_mm")] == [
        10,
        11,
    ]
    values = (folder / "named" / "stsb" / "test_predictions.tsv").read_text().splitlines()[1:]
    assert len([float(line.split("\t")[1]) for line in values]) == 8


def test_tokens_that_cannot_push_are_refused_before_training(hub: LoopbackHub, folder: Path, pushed: Path) -> None:
    cases = {
        "read-only": ("alice/new", "hf_alice_read"),
        "read-only, there already": ("alice/toy", "hf_alice_read"),
        "wrong": ("alice/new", "hf_wrong"),
        "none": ("alice/new", None),
        "of another": ("alice/toy", "hf_bob_write"),
    }
    keyword = {"read-only": "read-only", "wrong": "valid token", "none": "auth login", "of another": "no write access"}
    before = {key: len(repo.commits) for key, repo in hub.repos.items()}
    run(
        execute(REFUSED_TOKENS, folder, json.dumps(cases)),
        client(hub, folder / "refused_home", token=None),
        log(folder),
    )
    said = read(folder / "said.json")
    assert len(said) == 2 * len(cases)
    for name, message in said.items():
        assert keyword[name.split(", ")[1]] in message, (name, message)
    assert not (folder / "refused").exists()  # neither a checkpoint nor anything else
    assert {key: len(repo.commits) for key, repo in hub.repos.items()} == before


def test_the_loop_without_a_trainer_trains_saves_and_pushes(hub: LoopbackHub, folder: Path) -> None:
    output = folder / "loop"
    options = f"""
        --model_name_or_path {folder / "model"} --train_file {folder / "train.tsv"} --output_dir {output}
        --validation_file {folder / "validation.tsv"} --loss square --loss_k 2 --learning_rate 5e-3
        --num_train_epochs 16 --per_device_train_batch_size 4 --gradient_accumulation_steps 2
        --push_to_hub --hub_model_id loop
    """
    script = str(EXAMPLES / "run_glue_no_trainer.py")
    run([sys.executable, script, *options.split()], client(hub, folder / "loop_home"), log(folder))
    results = read(output / "all_results.json")
    assert results["accuracy"] > 0.7
    saved = json.loads(hub.read("alice/loop", "config.json"))["hf_squareloss"]
    assert (saved["loss"], saved["k"]) == ("square", 2.0)
    assert hub.read("alice/loop", "model.safetensors") == (output / "model.safetensors").read_bytes()
    text = hub.read("alice/loop", "README.md").decode()
    assert card_errors(text) == [] and read_card(text)["model-index"][0]["name"] == "loop"
    assert (
        f"| accuracy | {results['accuracy']:.4f} |" in text
        and 'pipeline("text-classification", model="alice/loop"' in text
    )
    before = load_file(folder / "model" / "model.safetensors")
    after = load_file(output / "model.safetensors")
    assert not any(before[name].equal(after[name]) for name in before if "position" not in name)
