"""The rights to push, asked of a Hub on loopback: in one process of its own, because HF_ENDPOINT is read at import."""

import json
import sys
from pathlib import Path

from loopback_hub import TOKENS, Account, LoopbackHub
from processes import run

ASK = """
import json
import sys

from hf_squareloss.training import PushError, require_push_rights

answers = {}
for name, (repo_id, token, private) in json.loads(sys.argv[1]).items():
    try:
        answers[name] = require_push_rights(repo_id, token=token, private=private)
    except ValueError as error:
        answers[name] = f"refused: {error}"
    except PushError as error:
        answers[name] = f"failed: {error}"
print("ANSWERS", json.dumps(answers))
"""


def test_rights_are_asked_before_anything_is_trained(tmp_path: Path) -> None:
    granted = {
        "new": ("alice/new", "hf_alice_write", None),
        "again": ("alice/new", "hf_alice_write", None),
        "own namespace": ("bare", "hf_alice_write", None),
        "private": ("alice/secret", "hf_alice_write", True),
        "organisation": ("acme/model", "hf_alice_write", None),
    }
    # name -> call and a word of the message
    refused = {
        "no token": (("alice/other", None, None), "auth login"),
        "wrong token": (("alice/other", "hf_wrong", None), "refuses this one"),
        "read-only": (("alice/other", "hf_alice_read", None), "of alice is read-only"),
        "read-only, there already": (("alice/new", "hf_alice_read", None), "of alice is read-only"),
        "of another": (("alice/new", "hf_bob_write", None), "alice/new: the token of bob (role write)"),
        "of another, private": (("alice/secret", "hf_bob_write", None), "no write access"),
        "foreign namespace": (("acme/other", "hf_bob_write", None), "no write access"),
        "fine-grained": (("alice/new", "hf_alice_fine", None), "role fineGrained"),
    }
    calls = {"out of order": ("bare", "hf_alice_write", None)}
    calls |= granted | {name: call for name, (call, _) in refused.items()}
    with LoopbackHub({**TOKENS, "hf_alice_fine": Account("alice", role="fineGrained")}) as hub:
        hub.fail_next.append(("/api/whoami", 500))
        env = hub.env(tmp_path, token=None) | {"OMP_NUM_THREADS": "1"}
        output = run([sys.executable, "-c", ASK, json.dumps(calls)], env, tmp_path / "log")
        made = {repo_id: repo.private for (_, repo_id), repo in hub.repos.items()}
    answers = json.loads(output.split("ANSWERS ")[1])
    assert answers["out of order"].startswith("failed: ") and "500" in answers["out of order"]  # not the token's fault
    full_names = ["alice/new", "alice/new", "alice/bare", "alice/secret", "acme/model"]
    assert [answers[name] for name in granted] == full_names
    for name, (_, word) in refused.items():
        assert answers[name].startswith("refused: push_to_hub") and word in answers[name], answers[name]
    assert made == {"alice/new": False, "alice/bare": False, "alice/secret": True, "acme/model": False}
