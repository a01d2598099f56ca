"""Splits by our names, whatever a data set calls them."""

from pathlib import Path
from typing import Any

import pytest

from hf_squareloss.recipes import (
    choice_arguments,
    media_arguments,
    speech_arguments,
    text_arguments,
    token_arguments,
)
from hf_squareloss.recipes.arguments import ModelSourceArguments
from hf_squareloss.recipes.hub_splits import load_splits


class Asked(Exception):
    """In the place of a download."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `datasets.load_dataset` is asked for."""
    options: dict[str, Any] = {}

    def note(*names: Any, **given: Any) -> Any:
        options.update(given)
        raise Asked

    monkeypatch.setattr("datasets.load_dataset", note)
    return options


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


@pytest.mark.parametrize(
    ("arguments", "model", "options"),
    [
        (text_arguments.DataArguments, text_arguments.ModelArguments, {"dataset_name": "a/b"}),
        (text_arguments.DataArguments, text_arguments.ModelArguments, {"task_name": "mrpc"}),
        (token_arguments.DataArguments, token_arguments.ModelArguments, {"dataset_name": "a/b"}),
        (choice_arguments.DataArguments, choice_arguments.ModelArguments, {"dataset_name": "a/b"}),
    ],
)
def test_texts_of_a_revision(arguments: Any, model: Any, options: dict[str, str], asked: dict[str, Any]) -> None:
    with pytest.raises(Asked):
        arguments(**options, dataset_revision="v2").load(model(cache_dir="cache"))
    assert (asked["revision"], asked["cache_dir"]) == ("v2", "cache")


def test_sounds_and_images_of_a_revision(asked: dict[str, Any]) -> None:
    with pytest.raises(Asked):
        media_arguments.MediaDataArguments(dataset_name="a/b", dataset_revision="v2").load(
            "image", "image", None, ModelSourceArguments()
        )
    assert asked.pop("revision") == "v2"
    with pytest.raises(Asked):
        speech_arguments.SpeechDataArguments(dataset_name="a/b", dataset_revision="v2").load(None, None)
    assert asked["revision"] == "v2"


def test_none_of_them(folder: str, tmp_path: Path) -> None:
    (Path(folder) / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: dev\n    path: dev.csv\n---\n"
    )
    with pytest.raises(ValueError, match="none of the splits train, validation and test but dev: .*split_name"):
        load_splits(folder, None, {}, cache_dir=str(tmp_path / "cache"))


def test_rows_of_training_are_not_evaluated(folder: str, tmp_path: Path) -> None:
    options = {"cache_dir": str(tmp_path / "cache")}
    for names, part in (
        ({"validation": "train[50%:]"}, "validation split 'train\\[50%:\\]' has rows of the training split, 'train'"),
        ({"train": "train[:75%]", "test": "train[2:]"}, "test split 'train\\[2:\\]' has rows .*, 'train\\[:75%\\]'"),
        ({"validation": "train"}, "validation split 'train' has rows"),
        ({"train": "train+dev", "validation": "dev"}, "validation split 'dev' has rows"),
        ({"train": "all", "validation": "dev"}, "validation split 'dev' has rows of the training split, 'all'"),
    ):
        with pytest.raises(ValueError, match=f"the {part}.*--train_split_name"):
            load_splits(folder, None, names, **options)
    found = load_splits(folder, None, {"train": "train[:50%]", "validation": "train[50%:]"}, **options)
    assert found["train"]["x"][:] == ["train0", "train1"] and found["validation"]["x"][:] == ["train2", "train3"]
    assert len(load_splits(folder, None, {"train": "all"}, **options)["train"]) == 6
    streamed = load_splits(folder, None, {"validation": "dev"}, streaming=True)
    assert [row["x"] for row in streamed["validation"]] == ["dev0", "dev1"]
