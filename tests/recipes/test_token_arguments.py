"""Arguments of token classification: which data and which model they name."""

import json
from pathlib import Path

import pytest
from tag_files import TAGS, save_tiny_tagger, sentences, write_files
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Config, GPT2ForTokenClassification, PreTrainedTokenizerFast

from hf_squareloss.recipes.token_arguments import DataArguments, ModelArguments, load_tagger, load_word_tokenizer


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


def byte_level(folder: Path, *, heeds: bool = True) -> str:
    """The files of a tokenizer that makes another piece of a word behind a space; one that heeds no option."""
    parts = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    backend = Tokenizer(models.BPE(unk_token="[UNK]"))  # type: ignore[arg-type]
    backend.pre_tokenizer = parts[0] if heeds else pre_tokenizers.Sequence([pre_tokenizers.Digits(), *parts])  # type: ignore[assignment,list-item]
    special = {"unk_token": "[UNK]", "eos_token": "[END]"}
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=list(special.values()), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    backend.train_from_iterator([" ".join(words) for words, _ in sentences(50, "train")], trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left", **special).save_pretrained(folder)
    return str(folder)


def test_words_are_cut_as_in_their_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So that a pipeline, which gets the text, sees what was trained on; and places are counted from the left."""
    name = byte_level(tmp_path / "bytes")
    words = "Dr Ada saw the sea".split()
    raw = AutoTokenizer.from_pretrained(name)
    assert raw(words, is_split_into_words=True).input_ids != raw(" ".join(words)).input_ids  # what must not be taken
    tokenizer = load_word_tokenizer(name, {})
    assert tokenizer(words, is_split_into_words=True).input_ids == tokenizer(" ".join(words)).input_ids
    assert tokenizer.padding_side == "right" and capsys.readouterr().out == ""
    tokenizer.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved")
    assert again(" ".join(words)).input_ids == tokenizer(words, is_split_into_words=True).input_ids
    load_word_tokenizer(byte_level(tmp_path / "deaf", heeds=False), {})
    assert "cuts a list of words otherwise than their text" in capsys.readouterr().out


def test_a_decoder_without_a_padding_token_and_without_a_length(tmp_path: Path) -> None:
    name = byte_level(tmp_path / "model")
    config = GPT2Config(vocab_size=300, n_embd=16, n_layer=1, n_head=2, n_positions=8, num_labels=3)  # type: ignore[call-arg]
    GPT2ForTokenClassification(config).save_pretrained(name)
    model = ModelArguments(model_name_or_path=name, cache_dir=str(tmp_path / "cache"))
    arguments = DataArguments(train_file=write_files(tmp_path)[1])
    tagger, _, tokenizer, data = load_tagger(model, arguments.load(model), train=True, verbose=False)
    assert tokenizer.pad_token == "[END]" and tagger.config.pad_token_id == tokenizer.pad_token_id
    encoded = arguments.encode(data, tokenizer, model)["train"]
    assert max(map(len, encoded["input_ids"])) == 8 == tokenizer.model_max_length
