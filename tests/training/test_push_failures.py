"""Pushes that fail, against a Hub on loopback: the reason, what is safe, how to push later; no token on disk."""

import copy
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from loopback_hub import RESET, Account, LoopbackHub
from processes import EXAMPLES, environment, run, started
from tiny_text_model import save_tiny_model, write_toy_files
from transformers import TrainingArguments

from hf_squareloss.training._hub import HiddenToken

TOKEN = "hf_SECRETwriteTOKEN0123456789abcdefgh"
HELPERS = EXAMPLES.parent / "tests" / "helpers"

PUSH = """
import json
import sys
import torch
from tiny_models import arguments, make_examples, make_model
from hf_squareloss import SquareLossTrainer
from hf_squareloss.training import PushError, require_push_rights

folder, count, token = sys.argv[1], int(sys.argv[2]), sys.argv[3]
said = []
for number in range(count):  # before training
    try:
        require_push_rights("alice/asked", token=token)
    except PushError as error:
        said.append(str(error))
options = {"push_to_hub": True, "hub_model_id": "alice/model", "hub_token": token, "hub_strategy": "end"}
trainer = SquareLossTrainer(
    make_model("bert"), arguments(folder, max_steps=2, save_strategy="steps", save_steps=1, **options),
    train_dataset=make_examples("bert"), loss="square",
)
trainer.train()
for number in range(count):
    try:
        trainer.push_to_hub()
    except PushError as error:
        said.append(str(error))
trainer.push_to_hub()
print("SAID", json.dumps(said))
"""

BACKGROUND = """
import sys
from tiny_models import arguments, make_examples, make_model
from hf_squareloss import SquareLossTrainer

options = {"push_to_hub": True, "hub_model_id": "alice/background", "hub_token": sys.argv[2]}
trainer = SquareLossTrainer(
    make_model("bert"), arguments(sys.argv[1], max_steps=1, save_strategy="steps", save_steps=1, **options),
    train_dataset=make_examples("bert"), loss="square",
)
trainer.train()
trainer.push_to_hub()
"""

REASONS = {
    401: "refuses the token",
    403: "no write access",
    404: "no such repository",
    429: "too often",
    500: "it failed: try again later",
    503: "it failed: try again later",
    RESET: "no connection to http",
}


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub({TOKEN: Account("alice")}) as running:
        yield running


def client(hub: LoopbackHub, home: Path, token: str | None = None) -> dict[str, str]:
    env = hub.env(home, token) | {"PYTHONPATH": f"{EXAMPLES.parent}:{HELPERS}:{EXAMPLES}"}
    return {key: value for key, value in environment(home).items() if not key.startswith("HF_")} | env


def files_with_token(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]


def pushed_files_with_token(hub: LoopbackHub) -> list[str]:
    return [
        f"{repo.id}/{path}"
        for repo in hub.repos.values()
        for commit in repo.commits
        for path, entry in commit.tree.items()
        if TOKEN.encode() in entry.content
    ]


def test_every_failure_has_its_reason_and_a_token_is_in_no_file(hub: LoopbackHub, tmp_path: Path) -> None:
    output = tmp_path / "the output"
    hub.fail_next += [("/repos/create", status) for status in REASONS if status not in (401, 403, 404)]
    before = len(hub.fail_next)
    hub.fail_next += [("/commit/", status) for status in REASONS]
    command = [sys.executable, "-c", PUSH, str(output), str(len(REASONS)), TOKEN]
    said = json.loads(run(command, client(hub, tmp_path / "home"), tmp_path / "log").split("SAID ")[1])
    assert len(said) == before + len(REASONS) and not hub.fail_next
    asked, pushed = said[:before], said[before:]
    for message, status in zip(asked, [s for s in REASONS if s not in (401, 403, 404)], strict=True):
        assert REASONS[status] in message and "safe" not in message and "\n" not in message
    for message, status in zip(pushed, REASONS, strict=True):
        assert REASONS[status] in message and f"safe in {output}" in message and "\n" not in message
        assert str(status) in message or status == RESET
    assert hub.read("alice/model", "training_args.bin")  # the last push worked, with the token
    assert len(list(output.glob("checkpoint-*/training_args.bin"))) == 2
    assert files_with_token(output) == pushed_files_with_token(hub) == []

    # The command of the message does what it says, with the token from the environment.
    words = shlex.split(pushed[0].split("to push later: ")[1])
    assert words[:2] == ["hf", "upload"]
    (output / "README.md").write_text("changed")
    words[0] = str(Path(sys.executable).with_name("hf"))
    subprocess.run(words, env=client(hub, tmp_path / "home", TOKEN), check=True, capture_output=True)
    assert hub.read("alice/model", "README.md") == b"changed"
    assert not [path for path in hub.repos["model", "alice/model"].head.tree if "checkpoint" in path]


def test_a_token_that_is_not_hidden_is_found(tmp_path: Path) -> None:
    plain = TrainingArguments(str(tmp_path), hub_token=TOKEN, use_cpu=True)
    torch.save(plain, tmp_path / "training_args.bin")
    assert files_with_token(tmp_path) == [str(tmp_path / "training_args.bin")]
    plain.hub_token = HiddenToken(TOKEN)
    torch.save(plain, tmp_path / "training_args.bin")
    assert files_with_token(tmp_path) == []
    loaded = torch.load(tmp_path / "training_args.bin", weights_only=False)
    assert loaded.hub_token is None and loaded.output_dir == plain.output_dir
    assert copy.deepcopy(plain).hub_token == plain.hub_token == TOKEN


def test_a_failed_push_in_the_background_is_reported(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.fail_next.append(("/alice/background/commit/", 503))
    command = [sys.executable, "-c", BACKGROUND, str(tmp_path / "out"), TOKEN]
    log = run(command, client(hub, tmp_path / "home"), tmp_path / "log")
    assert log.count("the push of checkpoint-1 failed") == 1 and "503" in log
    assert hub.read("alice/background", "model.safetensors")
    again = [sys.executable, "-c", BACKGROUND, str(tmp_path / "again"), TOKEN]
    assert "failed" not in run(again, client(hub, tmp_path / "home"), tmp_path / "log2")


@pytest.mark.parametrize("script", ["run_glue", "run_glue_no_trainer"])
def test_a_script_has_its_results_before_the_push_fails(hub: LoopbackHub, script: str, tmp_path: Path) -> None:
    write_toy_files(tmp_path)
    save_tiny_model(tmp_path / "model")
    name, output = f"alice/{script}", tmp_path / "out"
    options = f"""
        --model_name_or_path {tmp_path / "model"} --train_file {tmp_path / "train.tsv"} --output_dir {output}
        --validation_file {tmp_path / "validation.tsv"} --push_to_hub --hub_model_id {name} --hub_token {TOKEN}
    """.split()
    if script == "run_glue":
        options += ["--use_cpu", "--max_steps", "1", "--hub_strategy", "end", "--token", TOKEN]
    hub.fail_next.append(("/commit/", 403))
    command = [sys.executable, str(EXAMPLES / f"{script}.py"), *options]
    with started(command, client(hub, tmp_path / "home"), tmp_path / "log") as process:
        status = process.wait(120)
    log = (tmp_path / "log").read_text()
    assert status == 1 and "Traceback" not in log and "HTTP Request" not in log
    last = log.splitlines()[-1]
    assert last.startswith(f"{script}.py: error: nothing was pushed to {name}: ") and "no write access" in last
    results: Any = json.loads((output / "all_results.json").read_text())
    assert {"eval_accuracy", "accuracy"} & results.keys() and (output / "model.safetensors").exists()
    assert "accuracy" in log.split("error:")[0]  # the table was shown
    assert len(hub.repos["model", name].commits) == 1  # nothing but the repository's own first one
    run(shlex.split(last.split("to push later: ")[1].replace("hf ", f"{Path(sys.executable).with_name('hf')} ", 1)),
        client(hub, tmp_path / "home", TOKEN), tmp_path / "upload")  # fmt: skip
    pushed = hub.repos["model", name].head.tree
    assert {"all_results.json", "README.md", "model.safetensors"} <= pushed.keys()
    assert files_with_token(output) == pushed_files_with_token(hub) == []
