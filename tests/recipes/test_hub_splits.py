"""Splits by our names, whatever a data set calls them."""

from pathlib import Path

import pytest

from hf_squareloss.recipes.hub_splits import load_splits


@pytest.fixture
def folder(tmp_path: Path) -> str:
    for split, count in (("train", 4), ("dev", 2)):
        (tmp_path / f"{split}.csv").write_text("x\n" + "".join(f"{split}{i}\n" for i in range(count)))
    (tmp_path / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        "  - split: train\n    path: train.csv\n  - split: dev\n    path: dev.csv\n---\n"
    )
    return str(tmp_path)


def test_our_names_and_theirs(folder: str, tmp_path: Path) -> None:
    options = {"cache_dir": str(tmp_path / "cache")}
    assert set(load_splits(folder, None, {}, **options)) == {"train"}
    found = load_splits(folder, None, {"train": "train[50%:]", "validation": "dev", "test": None}, **options)
    assert found["train"]["x"][:] == ["train2", "train3"] and found["validation"]["x"][:] == ["dev0", "dev1"]
    assert set(found) == {"train", "validation"}


def test_a_script_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "old.py").write_text("")
    with pytest.raises(ValueError, match="is a script.*--dataset_revision refs/convert/parquet"):
        load_splits(str(tmp_path / "old"), None, {}, cache_dir=str(tmp_path / "cache"))


def test_none_of_them(folder: str, tmp_path: Path) -> None:
    (Path(folder) / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: dev\n    path: dev.csv\n---\n"
    )
    with pytest.raises(ValueError, match="none of the splits train, validation and test but dev: .*split_name"):
        load_splits(folder, None, {}, cache_dir=str(tmp_path / "cache"))
