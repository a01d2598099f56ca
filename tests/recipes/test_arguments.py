"""Which model and which data the examples take, and what must stay the same for a run to be resumed."""

import pytest
import torch
from datasets import Dataset
from transformers import HfArgumentParser

from hf_squareloss.recipes.arguments import DataSourceArguments, ModelSourceArguments

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


@pytest.mark.parametrize("file", ["--train_file", "--validation_file", "--test_file"])
def test_one_source(file: str) -> None:
    with pytest.raises(ValueError, match="dataset_name and files exclude each other"):
        data("--dataset_name", "a/b", file, "x.csv")


def test_only_so_many_samples() -> None:
    some = data("--max_train_samples", "5", "--max_eval_samples", "99", "--max_predict_samples", "2")
    splits: dict[str, Dataset] = dict.fromkeys(("train", "validation", "validation_mm", "test", "test_mm"), ROWS)
    sizes = {name: len(rows) for name, rows in some.limited(splits).items()}
    assert sizes == {"train": 5, "validation": 12, "validation_mm": 12, "test": 2, "test_mm": 2}
    assert some.limited({"train": ROWS})["train"]["x"][:] == [0, 1, 2, 3, 4]
    assert data().limited({"train": ROWS})["train"] is ROWS
