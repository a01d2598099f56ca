"""What a study shows in a terminal while it runs and at its end."""

from pathlib import Path

import pytest
from foreign_script import PoolHere, write_script

from hf_squareloss.__main__ import main


@pytest.mark.parametrize("losses", [["square"], ["cross_entropy", "square k=1 M=4", "square k=auto M=paper"]])
def test_the_table_fits_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, losses: list[str]
) -> None:
    monkeypatch.setattr("hf_squareloss.comparison._command._pool", lambda args: PoolHere(args.workers))
    monkeypatch.setenv("COLUMNS", "80")
    command = ["compare", "--script", str(write_script(tmp_path)), "--losses", *losses, "--output_dir"]
    main([*command, str(tmp_path / "out"), "--learning_rates", "1e-3"])
    table = capsys.readouterr().out.split("seed 2: ")[-1].split("\n", 1)[1]
    table = table[: table.index("More is in")]
    assert "…" not in table and max(map(len, table.splitlines())) <= 80
    assert all(name in table.replace("\n", " ") for name in ("accuracy", "outcome", losses[0]))
