"""What is written for others names no folder of this machine."""

from pathlib import Path

import pytest

from hf_squareloss.comparison._places import output_without_places, without_places


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/home/me/train.tsv", "train.tsv"),
        ("/home/me/my pictures/", "my pictures"),
        ("--train_file=/home/me/my pictures/a=b.tsv", "--train_file=a=b.tsv"),
        ("/data/run=3/train.tsv", "train.tsv"),
        ("--files=a.tsv,/data/b.tsv", "--files=a.tsv,b.tsv"),
        ("../data/train.tsv", "../data/train.tsv"),
        ("org/model", "org/model"),
        ("https://host/org/model", "https://host/org/model"),
        ("square k=1/2", "square k=1/2"),
        (3, 3),
        ({"a": ["/x/y", None]}, {"a": ["y", None]}),
    ],
)
def test_whole_paths_are_named_by_their_end(given: object, shown: object) -> None:
    assert without_places(given) == shown


def test_a_traceback_keeps_what_is_worth_knowing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "My Name"
    (study := home / "work/study").mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.chdir(home / "work")
    package = Path(__file__).parents[2] / "hf_squareloss/losses/_square.py"
    said = f"""Traceback (most recent call last):
  File "{home}/venv/lib/python3.13/site-packages/torch/nn/module.py", line 1
  File "/usr/lib/python3.13/json/decoder.py", line 2
  File "{package}", line 3
  File "{home}/work/my_train.py", line 4
/opt/env/site-packages/datasets/x.py:5: UserWarning: see https://host/a/b
FileNotFoundError: {home}/elsewhere/a.tsv, /mnt/disk/b.tsv, {study}/data/c.jsonl, 1/2"""
    assert (
        output_without_places(said, Path("study"))
        == """Traceback (most recent call last):
  File "torch/nn/module.py", line 1
  File "json/decoder.py", line 2
  File "hf_squareloss/losses/_square.py", line 3
  File "my_train.py", line 4
datasets/x.py:5: UserWarning: see https://host/a/b
FileNotFoundError: ~/elsewhere/a.tsv, b.tsv, data/c.jsonl, 1/2"""
    )


def test_a_folder_of_the_same_name_elsewhere_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert output_without_places(f"/mnt{tmp_path}/a.tsv {tmp_path}/x/b.tsv", Path("study")) == "a.tsv x/b.tsv"
