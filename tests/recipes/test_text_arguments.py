"""Options of text classification: what they name, and which exclude each other."""

from pathlib import Path
from typing import Any

import pytest
from tiny_text_model import save_tiny_model, write_toy_files
from transformers import HfArgumentParser

from hf_squareloss.recipes.text_arguments import DataArguments, ModelArguments, load_classifier


def parsed(*argv: str) -> DataArguments:
    (arguments,) = HfArgumentParser(DataArguments).parse_args_into_dataclasses(list(argv))  # type: ignore[arg-type]
    return arguments


def test_names_for_tables_and_cards() -> None:
    glue, named, files = (
        parsed("--task_name", "MRPC"),
        parsed("--dataset_name", "a/b"),
        parsed("--train_file", "x/y.tsv"),
    )
    assert [(data.title, data.hub_name) for data in (glue, named, files)] == [
        ("GLUE MRPC", "nyu-mll/glue"),
        ("a/b", "a/b"),
        ("local files", None),
    ]
    assert parsed().is_demo and not any(data.is_demo for data in (glue, named, files))


def test_max_length_is_max_seq_length_as_in_the_official_loop() -> None:
    assert parsed("--max_length", "7").max_seq_length == parsed("--max_seq_length", "7").max_seq_length == 7


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--task_name", "mprc"], "no GLUE task is called 'mprc'"),
        (["--task_name", "mrpc", "--train_file", "x.tsv"], "exclude each other"),
        (["--train_file", "x.tsv", "--test_split_name", "dev"], "test_split_name would be ignored"),
        (["--label_type", "numbers"], "label_type must be one of"),
    ],
)
def test_refused(argv: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parsed(*argv)


def test_files_and_a_model_for_their_classes(tmp_path: Path, capsys: Any) -> None:
    files = write_toy_files(tmp_path)
    arguments = parsed("--train_file", str(files["train"]), "--max_length", "4")
    model_args = ModelArguments(model_name_or_path=str(save_tiny_model(tmp_path / "model")))
    model, loading_info, tokenizer, data = load_classifier(
        model_args, arguments.load(model_args), train=True, verbose=True
    )
    assert model.config.id2label == {0: "bad", 1: "good"} and not loading_info["missing_keys"]
    rows = arguments.tokenize(data, tokenizer, model_args)["train"]
    assert max(map(len, rows["input_ids"])) == 4 and set(rows["labels"]) == {0, 1}
    assert "told" not in capsys.readouterr().out  # LABEL_0 and LABEL_1 are no names
