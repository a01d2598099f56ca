"""Options of text classification: what they name, and which exclude each other."""

from pathlib import Path
from typing import Any

import pytest
from tiny_text_model import save_tiny_model, write_toy_files
from transformers import HfArgumentParser

from hf_squareloss.models import LSTMAttentionConfig
from hf_squareloss.recipes.cli import parse_arguments
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


def test_a_file_of_options_may_have_the_official_names_too(tmp_path: Path) -> None:
    (tmp_path / "options.yaml").write_text("max_length: 7\ntext_column_names: title,body\nlabel_column_name: kind\n")
    (found,) = parse_arguments([DataArguments], [str(tmp_path / "options.yaml")])
    assert (found.max_seq_length, found.text_column, found.label_column) == (7, "title,body", "kind")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--task_name", "mprc"], "no GLUE task is called 'mprc'"),
        (["--task_name", "mrpc", "--train_file", "x.tsv"], "exclude each other"),
        (["--train_file", "x.tsv", "--test_split_name", "dev"], "test_split_name would be ignored"),
        (["--label_type", "numbers"], "label_type must be one of"),
        (["--do_regression", "--label_type", "classes"], "do_regression is label_type=values"),
        (["--shuffle_seed", "1"], "shuffle_seed would be ignored"),
        (["--train_file", "x.tsv", "--remove_splits", "test"], "remove_splits would be ignored"),
        (["--task_name", "mrpc", "--remove_columns", "idx"], "remove_columns would be ignored"),
        (["--task_name", "mrpc", "--do_regression"], "do_regression would be ignored"),
        (["--task_name", "mrpc", "--text_column", "sentence"], "text_column would be ignored"),
        (["--train_file", "x.tsv", "--dataset_config_name", "a"], "dataset_config_name would be ignored"),
        (["--task_name", "mrpc", "--dataset_config_name", "a"], "dataset_config_name would be ignored"),
        (["--dataset_config_name", "a"], "dataset_config_name would be ignored"),
    ],
)
def test_refused(argv: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parsed(*argv)


# ---- what run_classification.py has ---------------------------------------------------------------------------------
@pytest.fixture
def titled(tmp_path: Path) -> list[str]:
    """A data set by name with two columns of text, and one that is not wanted."""
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        rows = [f"t{i},b{i},other,{i % 2}" for i in range(4)]
        (tmp_path / "data" / f"{split}.csv").write_text("\n".join(["title,body,text_pair,kind", *rows]) + "\n")
    return ["--dataset_name", str(tmp_path / "data"), "--label_column_name", "kind"]


def test_several_columns_of_text(titled: list[str], tmp_path: Path) -> None:
    joined = ["--text_column_names", "title,body", "--text_column_delimiter", " | "]
    model_args = ModelArguments(cache_dir=str(tmp_path / "cache"))
    without = ["--remove_columns", "text_pair", "--remove_splits", "test"]
    data = parsed(*titled, *joined, *without).load(model_args)
    assert list(data.splits) == ["train", "validation"]
    assert data.splits["train"].column_names == ["text", "label"] and data.splits["train"]["text"][1] == "t1 | b1"
    with_pair = parsed(*titled, *joined).load(model_args)
    assert with_pair.splits["test"]["text_pair"][:] == ["other"] * 4
    file = str(tmp_path / "data" / "train.csv")
    options = ["--label_column", "kind", "--text_column", "title,body", "--remove_columns", "text_pair"]
    assert parsed("--train_file", file, *options).load(model_args).splits["train"]["text"][:2] == ["t0 b0", "t1 b1"]
    for wrong, says in (("title,none", "no column 'none'"), ("title", None)):
        given = parsed("--train_file", file, "--label_column", "kind", "--text_column", wrong)
        if says:
            with pytest.raises(ValueError, match=says):
                given.load(model_args)
        else:
            assert given.load(model_args).splits["train"]["text"][0] == "t0"


def test_what_is_not_there_cannot_be_removed(titled: list[str], tmp_path: Path) -> None:
    model_args, text = ModelArguments(cache_dir=str(tmp_path / "cache")), ["--text_column", "title"]
    with pytest.raises(ValueError, match="remove_splits: there is no split 'dev'; there are train"):
        parsed(*titled, *text, "--remove_splits", "dev").load(model_args)
    with pytest.raises(ValueError, match="train split has no column 'idx'"):
        parsed(*titled, *text, "--remove_columns", "idx").load(model_args)


def test_metrics_by_name(titled: list[str], tmp_path: Path) -> None:
    model_args, text = ModelArguments(cache_dir=str(tmp_path / "cache")), ["--text_column", "title"]
    assert parsed(*titled, *text, "--metric_name", "f1,recall").load(model_args).metrics == ("f1", "recall")
    values = [*titled, *text, "--do_regression", "--metric_name"]
    assert parsed(*values, "mae").load(model_args).metrics == ("mae",)
    with pytest.raises(ValueError, match="measured by pearson.* got accuracy"):
        parsed(*values, "accuracy").load(model_args)


def test_a_test_split_that_is_named_is_predicted() -> None:
    assert parsed("--dataset_name", "a/b", "--test_split_name", "dev").has_own_test
    assert not parsed("--dataset_name", "a/b").has_own_test and not parsed("--task_name", "mrpc").has_own_test
    assert parsed("--task_name", "mrpc", "--dataset_revision", "v2").hub_options(None, None)["revision"] == "v2"


def test_training_data_shuffled_once(titled: list[str], tmp_path: Path) -> None:
    model_args, text = ModelArguments(cache_dir=str(tmp_path / "cache")), ["--text_column", "title"]
    orders = {}
    for seed in ("1", "2"):
        arguments = parsed(*titled, *text, "--shuffle_train_dataset", "--shuffle_seed", seed)
        chosen = arguments.chosen(arguments.load(model_args).splits, seed=0)
        orders[seed] = list(chosen["train"]["text"])
        assert sorted(orders[seed]) == ["t0", "t1", "t2", "t3"]
        assert list(chosen["test"]["text"]) == ["t0", "t1", "t2", "t3"]
    assert orders["1"] != orders["2"]


def test_a_config_in_a_file_makes_the_model(tmp_path: Path) -> None:
    arguments = parsed("--train_file", str(write_toy_files(tmp_path)["train"]))
    LSTMAttentionConfig(vocab_size=9, hidden_size=6, num_hidden_layers=2).save_pretrained(tmp_path / "config")
    source: dict[str, Any] = {"config_name": str(tmp_path / "config")}
    made = ModelArguments(**source, model_type="lstm_attention", config_overrides=["num_hidden_layers=1"])
    model, _, tokenizer, _ = load_classifier(made, arguments.load(made), train=True, verbose=False)
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (6, 1)
    assert model.get_input_embeddings().num_embeddings == max(9, len(tokenizer))
    other = ModelArguments(**source, model_type="lstm_cnn")
    with pytest.raises(ValueError, match="model_type=lstm_cnn would be ignored: .* lstm_attention"):
        load_classifier(other, arguments.load(other), train=True, verbose=False)


def test_a_model_that_is_loaded_has_its_vocabulary(tmp_path: Path) -> None:
    arguments = parsed("--train_file", str(write_toy_files(tmp_path)["train"]))
    path = str(save_tiny_model(tmp_path / "model"))
    options: dict[str, Any] = {"vocabulary": "words", "vocabulary_size": 9, "word_vectors": "glove.txt"}
    for name in options:
        made = ModelArguments(model_name_or_path=path, **{name: options[name]})
        with pytest.raises(ValueError, match=f"{name} would be ignored"):
            load_classifier(made, arguments.load(made), train=True, verbose=False)
        load_classifier(made, arguments.load(made), train=False, verbose=False)  # as a comparison gives them again
    with pytest.raises(ValueError, match="exclude each other"):
        ModelArguments(tokenizer_name="gpt2", vocabulary="words")


def test_a_new_model_of_robertas_kind_has_room(tmp_path: Path) -> None:
    arguments = parsed("--train_file", str(write_toy_files(tmp_path)["train"]), "--max_seq_length", "20")
    sizes = "hidden_size=8,intermediate_size=8,num_hidden_layers=1,num_attention_heads=1,max_position_embeddings=20"
    made = ModelArguments(model_type="roberta", config_overrides=[sizes])
    _, _, tokenizer, _ = load_classifier(made, arguments.load(made), train=True, verbose=False)
    assert tokenizer.model_max_length == 19  # positions begin behind the padding index


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
    arguments.preprocessing_num_workers = 2
    arguments.tokenize(data, tokenizer, ModelArguments(cache_dir=str(tmp_path / "shared")))
    assert len(list((tmp_path / "shared").rglob("*_of_00002.arrow"))) == 2
    assert "told" not in capsys.readouterr().out  # LABEL_0 and LABEL_1 are no names
