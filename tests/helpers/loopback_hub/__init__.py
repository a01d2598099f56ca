"""A Hugging Face Hub on loopback: the unmodified `huggingface_hub` client talks real HTTP to it.

HF_ENDPOINT is read when huggingface_hub is imported, so the code under test runs in a subprocess:

    with LoopbackHub() as hub:
        subprocess.run([sys.executable, "script.py"], env=hub.env(home), check=True)
        assert hub.read("alice/model", "config.json")

Everything lives in memory. Large files go over Git LFS; Xet, branches, pull requests, gated repositories and uploads in
several parts are not modelled, and neither are deleted folders or listings of more than 1,000 entries.
"""

from loopback_hub import _api, _files  # noqa: F401  they register what is answered
from loopback_hub._cards import card_errors, read_card
from loopback_hub._repos import TOKENS, Account
from loopback_hub._server import RESET, LoopbackHub

__all__ = ["RESET", "TOKENS", "Account", "LoopbackHub", "card_errors", "read_card"]
