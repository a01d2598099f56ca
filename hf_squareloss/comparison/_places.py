"""Texts for files that are meant to be shared: without the folders of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import hf_squareloss

_NAME = r"[^\s'\"`,;:()<>|\\/\[\]]"
_ABSOLUTE = re.compile(rf"(?<![\w.~:/\\-])(?:[A-Za-z]:[\\/]|/)(?:{_NAME}+[\\/])+({_NAME}*)")
_LIBRARY = r"lib[\\/]python3[.\d]*"
_OF_PYTHON = re.compile(
    rf"(?:(?<=[\"'])[^\"'\n]*?|[^\s\"']*?)[\\/](?:(?:{_LIBRARY}[\\/])?(?:site|dist)-packages|{_LIBRARY})[\\/]"
)


def without_places(value: Any) -> Any:
    """A value with the name alone of every file and folder that is given by its whole path, `--option=/PATH` too.

    Example:
        >>> without_places({"train_file": "/home/me/train.tsv", "words": ["--train_dir=/home/me/pictures", "a/b"]})
        {'train_file': 'train.tsv', 'words': ['--train_dir=pictures', 'a/b']}
    """
    if isinstance(value, dict):
        return {name: without_places(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(each) for each in value]
    if not isinstance(value, str):
        return value
    option, equals, path = ("", "", value) if os.path.isabs(value) else value.partition("=")
    return f"{option}{equals}{Path(path).name}" if os.path.isabs(path) else _ABSOLUTE.sub(r"\1", value)


def output_without_places(text: str, folder: Path) -> str:
    """What a script has said in a study, without the places of the study, of Python and of packages.

    Args:
        folder: the study's.
    """
    for place in (folder.absolute(), Path.cwd(), Path(hf_squareloss.__file__).parents[1]):
        if place != Path(place.anchor):
            text = re.sub(rf"(?<![\w.-]){re.escape(f'{place}{os.sep}')}", "", text)
    text = _OF_PYTHON.sub("", text)
    if Path.home() != Path(Path.home().anchor):
        text = re.sub(rf"(?<![\w.-]){re.escape(str(Path.home()))}(?![\w.-])", "~", text)
    return _ABSOLUTE.sub(r"\1", text)
