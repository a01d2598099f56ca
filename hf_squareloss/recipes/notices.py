"""What the recipes say on the screen while they prepare data."""

from __future__ import annotations

import os


def say(text: str) -> None:
    """Print a notice, in the first of the processes alone."""
    if os.environ.get("RANK", "0") == "0":
        print(text)  # noqa: T201
