"""What tests of losses share beyond a file."""

from typing import Any

import pytest


@pytest.fixture
def no_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Building the scores fails."""

    def refuse(*args: Any) -> None:
        raise AssertionError("the scores were built")

    monkeypatch.setattr("hf_squareloss.losses._base.F.linear", refuse)
