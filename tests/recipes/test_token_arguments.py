"""Arguments of token classification: which data and which model they name."""

import json
from pathlib import Path

import pytest
from tag_files import TAGS, save_tiny_tagger, write_files

from hf_squareloss.recipes.token_arguments import DataArguments, ModelArguments, load_tagger


def test_a_data_set_by_name_and_its_model(tmp_path: Path) -> None:
    model = ModelArguments(model_name_or_path=save_tiny_tagger(tmp_path / "model"), cache_dir=str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    rows = [{"tokens": ["Dr", "Ada"], "pos_tags": ["X", "Y"]}] * 2
    for split in ("train", "test"):
        (tmp_path / "data" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data_set = str(tmp_path / "data")
    arguments = DataArguments(dataset_name=data_set, task_name="pos", max_seq_length=3, eval_split_name="test")
    assert not arguments.is_demo and DataArguments().is_demo
    data = arguments.load(model)
    assert (data.label_names, list(data.splits)) == (["X", "Y"], ["train", "test", "validation"])
    model.ignore_mismatched_sizes = True
    tagger, _, tokenizer, data = load_tagger(model, data, train=True, verbose=False)
    assert tagger.config.id2label == {0: "X", 1: "Y"}
    assert arguments.encode(data, tokenizer, model)["train"]["starts"][0] == [1, -1]  # Dr is two pieces, and cut
    arguments.preprocessing_num_workers = 2
    arguments.encode(data, tokenizer, ModelArguments(cache_dir=str(tmp_path / "shared")))
    assert len(list((tmp_path / "shared").rglob("*_of_00002.arrow"))) == 2  # both splits are alike


def test_other_tags_than_the_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = ModelArguments(model_name_or_path=save_tiny_tagger(tmp_path / "model"))
    files = write_files(tmp_path)
    data = DataArguments(train_file=files[1]).load(model)
    tagger, *_ = load_tagger(model, data, train=False, verbose=True)
    assert "LABEL_0 is B-PER" in capsys.readouterr().out
    tagger.save_pretrained(tmp_path / "named")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "named" / file).write_bytes((tmp_path / "model" / file).read_bytes())
    assert list(tagger.config.id2label.values()) == TAGS
    (tmp_path / "other.conll").write_text("Ada B-SHIP\n\nsaw O\n")
    other = DataArguments(validation_file=str(tmp_path / "other.conll")).load(model)
    with pytest.raises(ValueError, match="the model's classes are B-PER"):
        load_tagger(ModelArguments(model_name_or_path=str(tmp_path / "named")), other, train=False, verbose=False)
