"""Where the speech examples take their models and utterances from."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from transformers import HfArgumentParser, Wav2Vec2Config

from hf_squareloss.recipes.speech_arguments import ConfigArguments, SpeechDataArguments, SpeechModelArguments


def parsed(*argv: str) -> SpeechDataArguments:
    (arguments,) = HfArgumentParser(SpeechDataArguments).parse_args_into_dataclasses(list(argv))  # type: ignore[arg-type]
    return arguments


def test_lists_and_how_much_of_them(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((4, 2), dtype=np.float32))
    for split, rows in (("train", 5), ("dev", 3)):
        (tmp_path / f"{split}.csv").write_text("audio,words\n" + "a.npy,hello\n" * rows)
    lists = ["--train_file", str(tmp_path / "train.csv"), "--validation_file", str(tmp_path / "dev.csv")]
    arguments = parsed(*lists, "--text_column_name", "words", "--max_train_samples", "2")
    assert list(arguments.files) == ["train", "validation"]
    splits = arguments.chosen(arguments.load(cache_dir=None, token=None), seed=0)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 2, "validation": 3}
    assert splits["train"][0]["text"] == "hello"


@pytest.mark.parametrize("layout", ["parquet", "metadata"])
def test_the_splits_that_a_data_set_has(layout: str, tmp_path: Path) -> None:
    def named(*splits: str) -> str:
        folder = tmp_path / "-".join(splits)
        for split in splits:
            (folder / split).mkdir(parents=True)
            if layout == "metadata":
                (folder / split / "metadata.csv").write_text("file_name,text\na.wav,hello\n")
            else:
                rows = {"audio": [{"path": "a.wav", "bytes": b""}], "text": ["hello"]}
                Dataset.from_dict(rows).to_parquet(folder / split / f"{split}.parquet")
        return str(folder)

    def loaded(*options: str, predict: bool = False) -> set[str]:
        return set(parsed("--dataset_name", *options).load(str(tmp_path / "cache"), None, predict=predict))

    assert loaded(named("train")) == {"train"}  # without one of validation nothing is evaluated, which is said
    assert loaded(named("test"), predict=True) == {"test"}
    everything = named("train", "validation", "test")
    assert loaded(everything) == {"train", "validation"} and loaded(everything, predict=True) == {
        "train", "validation", "test"
    }  # fmt: skip
    assert loaded(everything, "--test_split_name", "test") == {"train", "validation", "test"}
    with pytest.raises(ValueError, match="none of the splits train, validation"):
        loaded(str(tmp_path / "test"))


def test_names_of_splits_are_for_data_sets() -> None:
    for split in ("train", "eval", "test"):
        with pytest.raises(ValueError, match=f"{split}_split_name would be ignored: it is for dataset_name"):
            parsed("--train_file", "train.csv", f"--{split}_split_name", "x")


def test_where_paths_start_is_for_lists(tmp_path: Path) -> None:
    assert parsed("--train_file", "train.csv", "--audio_root", "x").audio_root == "x"
    with pytest.raises(ValueError, match="audio_root would be ignored: it is for the paths in lists"):
        parsed("--dataset_name", "a/b", "--audio_root", "x")


def test_what_is_given_replaces_the_config_s_values() -> None:
    (changes,) = HfArgumentParser(ConfigArguments).parse_args_into_dataclasses(  # type: ignore[arg-type]
        ["--hidden_dropout", "0", "--mask_time_length", "3", "--add_adapter", "True"]
    )
    assert changes.config_changes == {"hidden_dropout": 0.0, "mask_time_length": 3, "add_adapter": True}
    config, untouched = Wav2Vec2Config(), Wav2Vec2Config().to_dict()
    changes.change_config(config)
    differing = {name for name, value in config.to_dict().items() if untouched[name] != value}
    assert differing == {"hidden_dropout", "mask_time_length", "add_adapter"}
    del config.add_adapter
    with pytest.raises(ValueError, match="add_adapter=True would be ignored: the config of a wav2vec2 has no such"):
        changes.change_config(config)


def test_a_speech_model_is_a_model() -> None:
    argv = ["--config_name", "folder", "--feature_extractor_name", "other", "--freeze_feature_encoder"]
    (model,) = HfArgumentParser(SpeechModelArguments).parse_args_into_dataclasses(argv)  # type: ignore[arg-type]
    assert model.freeze_feature_encoder and model.feature_extractor_name == "other"


def test_one_source() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        parsed("--dataset_name", "user/name", "--train_file", "train.csv")
