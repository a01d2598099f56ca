"""What is explained as removed is removed in the transformers that is installed, and nothing recommended is."""

import re
from dataclasses import fields

import pytest
from transformers import TrainingArguments

from hf_squareloss.recipes.old_spellings import OLD_SPELLINGS

CURRENT = {field.name for field in fields(TrainingArguments)}


@pytest.mark.parametrize("old", OLD_SPELLINGS)
def test_an_old_spelling_is_gone_and_its_replacement_is_there(old: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", old)
    assert old not in CURRENT
    recommended = re.findall(r"--(\w+)", OLD_SPELLINGS[old])
    assert set(recommended) <= CURRENT | {"token"}  # the token for downloads is an option of the scripts
    assert recommended or re.match("nothing: |the environment variable ", OLD_SPELLINGS[old])
