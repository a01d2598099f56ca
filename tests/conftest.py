"""No test touches the network or the user's caches: set before anything imports transformers or datasets."""

import os
import tempfile
from collections.abc import Iterator

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf_squareloss_tests_")
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest  # noqa: E402
import torch  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """datasets (5.2) leaves a copy of os.environ behind a map in several processes, which who has the first misses."""
    before = os.environ
    yield
    os.environ = before  # noqa: B003  # the very object, not its content


@pytest.fixture
def always_gram(monkeypatch: pytest.MonkeyPatch) -> None:
    """No scores, also for sizes that are faster by them, as tiny ones are."""
    from hf_squareloss.heads import FusedHead

    monkeypatch.setattr(FusedHead, "form", "gram")


@pytest.fixture
def nothing_said() -> None:
    """What another test was warned of is said again."""
    from transformers.utils import logging

    logging.warning_once.cache_clear()  # type: ignore[attr-defined]
