"""Notices are printed once, however many processes there are."""

import pytest

from hf_squareloss.recipes.notices import say


@pytest.mark.parametrize(("rank", "printed"), [(None, "here\n"), ("0", "here\n"), ("1", "")])
def test_the_first_process_speaks(
    rank: str | None, printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    say("here")
    assert capsys.readouterr().out == printed
