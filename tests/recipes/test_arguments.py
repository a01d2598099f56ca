"""Which model and which data the examples take, and what must stay the same for a run to be resumed."""

from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import HfArgumentParser

from hf_squareloss.recipes.arguments import DataSourceArguments, ModelSourceArguments, SplitNameArguments

ROWS = Dataset.from_dict({"x": list(range(12))})


def data(*argv: str) -> DataSourceArguments:
    (arguments,) = HfArgumentParser(DataSourceArguments).parse_args_into_dataclasses(list(argv))  # type: ignore[arg-type]
    return arguments


def test_the_options_of_from_pretrained() -> None:
    argv = ["--model_name_or_path", "a/b", "--model_revision", "v2", "--token", "hf_x", "--trust_remote_code"]
    (model,) = HfArgumentParser(ModelSourceArguments).parse_args_into_dataclasses(argv)  # type: ignore[arg-type]
    assert model.hub == {"cache_dir": None, "revision": "v2", "token": "hf_x", "trust_remote_code": True}
    assert model.weights == model.hub | {"dtype": torch.float32}


def test_where_the_data_come_from() -> None:
    assert data().files == {} and data().title == "local files"
    files = data("--train_file", "folder/train.csv", "--test_file", "test.csv")
    assert files.files == {"train": "folder/train.csv", "test": "test.csv"}
    named = data("--dataset_name", "a/b", "--dataset_config_name", "c", "--max_train_samples", "3")
    assert named.title == "a/b"


def test_a_revision_of_the_data_set() -> None:
    named = data("--dataset_name", "a/b", "--dataset_revision", "v2")
    assert named.hub_options("cache", None) == {"cache_dir": "cache", "token": None, "revision": "v2"}
    with pytest.raises(ValueError, match="dataset_revision would be ignored"):
        data("--train_file", "a.csv", "--dataset_revision", "v2")


@pytest.mark.parametrize("file", ["--train_file", "--validation_file", "--test_file"])
def test_one_source(file: str) -> None:
    with pytest.raises(ValueError, match="dataset_name and files exclude each other"):
        data("--dataset_name", "a/b", file, "x.csv")


def test_only_so_many_samples() -> None:
    some = data("--max_train_samples", "5", "--max_eval_samples", "6", "--max_predict_samples", "2")
    splits: dict[str, Dataset] = dict.fromkeys(("train", "validation", "validation_mm", "test", "test_mm"), ROWS)
    found = {name: rows["x"][:] for name, rows in some.limited(splits, 0).items()}
    assert {name: len(rows) for name, rows in found.items()} == {
        **{"train": 5, "validation": 6, "validation_mm": 6, "test": 2, "test_mm": 2}
    }
    for rows in found.values():
        assert rows == sorted(set(rows))  # in their order, none twice
    assert found["test"] == [0, 1]
    assert found["train"] != list(range(5)) and found["validation"] != list(range(6))
    other = some.limited(splits, 1)
    assert other["train"]["x"][:] != found["train"] == some.limited(splits, 0)["train"]["x"][:]
    assert other["validation"]["x"][:] == found["validation"]  # runs with other seeds can be compared
    assert data().limited({"train": ROWS}, 0)["train"] is ROWS
    assert data("--max_predict_samples", "99").limited({"test": ROWS}, 0)["test"] is ROWS


def test_a_file_sorted_by_label_keeps_its_classes() -> None:
    rows = Dataset.from_dict({"label": [i // 100 for i in range(1000)]})
    kept = data("--max_train_samples", "100").limited({"train": rows}, 0)["train"]["label"][:]
    assert set(kept) == set(range(10))


def test_a_validation_split_cut_from_the_training_split() -> None:
    third = data("--train_val_split", "0.33", "--max_eval_samples", "3")
    cut = third.divided({"train": ROWS, "test": ROWS}, 0)
    parts = {name: rows["x"][:] for name, rows in cut.items()}
    assert (len(parts["train"]), len(parts["validation"]), parts["test"]) == (8, 4, ROWS["x"][:])
    assert sorted(parts["train"] + parts["validation"]) == ROWS["x"][:]
    assert third.divided({"train": ROWS}, 1)["validation"]["x"][:] != parts["validation"]
    assert len(third.chosen({"train": ROWS}, 0)["validation"]) == 3
    assert data().divided({"train": ROWS}, 0)["train"] is ROWS
    for splits, reason in (({"train": ROWS, "validation": ROWS}, "there is a"), ({"test": ROWS}, "no two")):
        with pytest.raises(ValueError, match=f"train_val_split would be ignored: there .*{reason.split()[-1]}"):
            third.divided(splits, 0)
    for share in ("0", "1", "-0.5"):
        with pytest.raises(ValueError, match="between 0 and 1"):
            data("--train_val_split", share)


@pytest.mark.parametrize(
    "name", ["preprocessing_num_workers", *(f"max_{n}_samples" for n in ("train", "eval", "predict"))]
)
def test_counts_are_at_least_one(name: str) -> None:
    assert vars(data())[name] is None and vars(data(f"--{name}", "1"))[name] == 1
    for count in ("0", "-1"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got {count}"):
            data(f"--{name}", count)


@pytest.mark.parametrize("name", ["train", "eval", "test"])
def test_names_of_splits_are_for_a_data_set_by_name(name: str) -> None:
    option: dict[str, Any] = {f"{name}_split_name": "dev"}
    found = SplitNameArguments(dataset_name="a/b", **option).split_names
    assert {ours for ours, theirs in found.items() if theirs == "dev"} == {"validation" if name == "eval" else name}
    with pytest.raises(ValueError, match=f"{name}_split_name would be ignored"):
        SplitNameArguments(**option)
