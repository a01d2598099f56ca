"""Arguments of multiple choice: which data and which model they name."""

from pathlib import Path

from choice_files import questions, save_tiny_chooser, write_questions

from hf_squareloss.recipes.choice_arguments import DataArguments, ModelArguments, load_chooser


def test_a_data_set_by_name_and_its_model(tmp_path: Path) -> None:
    model = ModelArguments(model_name_or_path=save_tiny_chooser(tmp_path / "model"), cache_dir=str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    for split in ("train", "validation"):
        write_questions(tmp_path / "data" / f"{split}.csv", questions(4, split))
    named = DataArguments(dataset_name=str(tmp_path / "data"), choices_columns="ending1,ending0", max_seq_length=8)
    named.test_split_name = "validation[:1]"
    files = DataArguments(train_file=str(tmp_path / "data" / "train.csv"))
    assert DataArguments().is_demo and not named.is_demo and not files.is_demo
    rows = [row | {"label": 0} for row in questions(4, "train")]
    for split in ("train", "validation"):
        write_questions(tmp_path / "data" / f"{split}.csv", rows)
    data = named.load(model)
    assert (data.num_labels, files.load(model).num_labels, list(data.splits)) == (2, 3, ["train", "validation", "test"])
    assert data.splits["train"]["choices"][0] == [f"{rows[0]['sent2']} {rows[0][f'ending{i}']}" for i in (1, 0)]
    loaded, _, tokenizer = load_chooser(model)
    encoded = named.encode(data, tokenizer, model)["train"]
    assert len(encoded["input_ids"][0]) == 2 and type(loaded).__name__ == "BertForMultipleChoice"
    named.preprocessing_num_workers = 2
    named.encode(data, tokenizer, ModelArguments(cache_dir=str(tmp_path / "shared")))
    assert len(list((tmp_path / "shared").rglob("*_of_00002.arrow"))) == 2  # both splits are alike
