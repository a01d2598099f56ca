"""The unmodified client works against the loopback Hub, and the Hub refuses what the real one refuses."""

import hashlib
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_hub import TOKENS, Account, LoopbackHub

TINY_BERT = """
import torch
from transformers import BertConfig, BertForSequenceClassification

config = BertConfig(
    vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=3
)
torch.manual_seed(0)
model = BertForSequenceClassification(config)
"""

PUSH_MODEL = TINY_BERT + 'model.push_to_hub("alice/tiny", private=True)'

LOAD_MODEL = (
    TINY_BERT
    + """
loaded = BertForSequenceClassification.from_pretrained("alice/tiny").state_dict()
assert loaded.keys() == model.state_dict().keys()
assert all(torch.equal(loaded[name], weight) for name, weight in model.state_dict().items())
"""
)

PUSH_DATASETS = """
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

for config_name, column, count in (("mrpc", "sentence1", 4), ("sst2", "sentence", 6)):
    features = Features({column: Value("string"), "label": ClassLabel(names=["no", "yes"])})
    rows = {column: [f"text {i}" for i in range(count)], "label": [i % 2 for i in range(count)]}
    split = Dataset.from_dict(rows, features=features)
    DatasetDict({"train": split, "validation": split.select(range(2))}).push_to_hub("nyu-mll/glue", config_name)
"""

LOAD_DATASETS = """
from datasets import load_dataset

for config_name, column, count in (("mrpc", "sentence1", 4), ("sst2", "sentence", 6)):
    loaded = load_dataset("nyu-mll/glue", config_name)
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": count, "validation": 2}
    assert loaded["train"][1] == {column: "text 1", "label": 1}
    assert loaded["train"].features["label"].names == ["no", "yes"]
"""

REFUSALS = """
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

def status(call, *args, **options):
    try:
        call(*args, **options)
    except HfHubHTTPError as error:
        return error.response.status_code
    return 200

def upload(token):
    return status(HfApi().upload_file, path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="alice/repo", token=token)

def check(token):
    return status(HfApi().auth_check, "alice/repo", write=True, token=token)

def create(token, name, exist_ok):
    return status(HfApi().create_repo, name, exist_ok=exist_ok, token=token)

HfApi(token="hf_alice_write").create_repo("alice/repo")
assert [upload(t) for t in ("hf_alice_write", "hf_alice_read", "hf_bob_write", "hf_wrong")] == [200, 403, 403, 401]
assert [check(t) for t in ("hf_alice_write", "hf_alice_read", "hf_bob_write", "hf_wrong")] == [200, 403, 403, 401]
assert create("hf_alice_read", "alice/new", True) == 403 and create("hf_wrong", "alice/repo", True) == 401
assert create("hf_alice_read", "alice/repo", True) == 200  # the client takes a readable repository for success
assert status(HfApi().whoami, token="hf_wrong") == 401
assert HfApi().whoami(token="hf_alice_read")["auth"]["accessToken"]["role"] == "read"
assert create("hf_alice_write", "acme/repo", False) == 200 and create("hf_bob_write", "acme/other", False) == 403

HfApi(token="hf_alice_write").create_repo("alice/secret", private=True)
assert [status(HfApi().model_info, "alice/secret", token=t) for t in ("hf_alice_read", "hf_bob_write")] == [200, 404]
HfApi(token="hf_alice_write").update_repo_settings("alice/secret", private=False)
assert status(HfApi().model_info, "alice/secret", token="hf_bob_write") == 200
HfApi(token="hf_alice_write").delete_repo("alice/secret")
assert status(HfApi().model_info, "alice/secret", token="hf_alice_write") == 404
"""

CARDS = """
from huggingface_hub import HfApi, ModelCard

def refused(front_matter):
    card = f"---\\n{front_matter}\\n---\\ntext"
    for push in (lambda: ModelCard(card).validate(), lambda: api.upload_file(
        path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id="alice/card")):
        try:
            push()
        except ValueError:  # BadRequestError is one
            yield True
        else:
            yield False

api = HfApi()
api.create_repo("alice/card")
assert not any(refused("language: en\\nbase_model: google-bert/bert-base-uncased\\ndatasets:\\n- nyu-mll/glue"))
assert all(refused("base_model: /output/checkpoint-10"))
assert all(refused("language: english"))
assert all(refused("model-index:\\n- name: m\\n  results:\\n  - task: {type: t}\\n    metrics: [{type: accuracy}]"))
"""

RETRIES = """
from huggingface_hub import HfApi

api = HfApi()
api.create_repo("alice/weights")
api.upload_file(path_or_fileobj=b"weights", path_in_repo="weights.bin", repo_id="alice/weights")
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub({**TOKENS, "hf_nyu_write": Account("nyu-mll")}) as running:
        yield running


def run(code: str, hub: LoopbackHub, home: Path, token: str | None = "hf_alice_write") -> None:
    """Run the code in a new process with its own cache, and fail unless it succeeds."""
    env = hub.env(home, token) | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr


def statuses(hub: LoopbackHub, part: str) -> list[int]:
    return [status for _, path, status in hub.requests if part in path]


def test_model_loads_from_an_empty_cache_with_equal_weights(hub: LoopbackHub, tmp_path: Path):
    run(PUSH_MODEL, hub, tmp_path / "push")
    assert hub.repos["model", "alice/tiny"].private
    run(LOAD_MODEL, hub, tmp_path / "load", token="hf_alice_read")
    assert statuses(hub, "/_store/") == [200, 200]  # one upload and one download, both without a token


def test_dataset_configurations_load_from_an_empty_cache(hub: LoopbackHub, tmp_path: Path):
    run(PUSH_DATASETS, hub, tmp_path / "push", token="hf_nyu_write")
    assert b"config_name: mrpc" in hub.read("nyu-mll/glue", "README.md", "dataset")
    run(LOAD_DATASETS, hub, tmp_path / "load", token=None)


def test_wrong_and_read_only_tokens_are_refused(hub: LoopbackHub, tmp_path: Path):
    run(REFUSALS, hub, tmp_path, token=None)
    assert "alice" in {commit.author for commit in hub.repos["model", "alice/repo"].commits}
    assert len(hub.repos["model", "alice/repo"].commits) == 2


def test_cards_that_the_hub_would_refuse_are_refused(hub: LoopbackHub, tmp_path: Path):
    run(CARDS, hub, tmp_path)


def test_injected_failure_is_retried(hub: LoopbackHub, tmp_path: Path):
    hub.fail_next.append(("/_store/", 503))
    run(RETRIES, hub, tmp_path)
    assert statuses(hub, "/_store/") == [503, 200]
    assert hub.fail_next == []
    assert hub.read("alice/weights", "weights.bin") == b"weights"


def test_store_refuses_a_token_and_serves_ranges(hub: LoopbackHub):
    oid = hashlib.sha256(b"weights").hexdigest()
    hub.objects[oid] = b"weights"

    def get(**headers: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(urllib.request.Request(f"{hub.store}/{oid}", headers=headers)) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b""

    assert get() == (200, b"weights")
    assert get(Range="bytes=2-4") == (206, b"igh")
    assert get(Range="bytes=5-") == (206, b"ts")
    assert get(Range="bytes=7-") == (416, b"")
    assert get(Authorization="Bearer hf_alice_write") == (400, b"")


def test_closing_leaves_no_thread_and_no_open_port():
    before = threading.active_count()
    with LoopbackHub() as hub:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{hub.url}/api/whoami-v2")
        refused.value.close()
        assert refused.value.code == 401
    assert threading.active_count() == before
    with pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(hub.url)
