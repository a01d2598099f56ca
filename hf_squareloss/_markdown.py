"""Markdown from text that others wrote, and tables of it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any


def markdown_text(value: Any) -> str:
    """A value as Markdown on one line: no table cell, code, link or HTML begins or ends in it."""
    text = html.escape(" ".join(str(value).split()), quote=False)
    return re.sub(r"[\\|`]|\](?=[(\[:])", r"\\\g<0>", text)


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; titles and cells are Markdown already.

    Example:
        >>> print(markdown_table(["loss", "accuracy"], [["square", "0.81"]]))
        | loss | accuracy |
        | --- | --- |
        | square | 0.81 |
    """
    titles = list(header)
    return "\n".join("| " + " | ".join(line) + " |" for line in [titles, ["---"] * len(titles), *rows])
