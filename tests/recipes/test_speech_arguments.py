"""Where the speech examples take their utterances from."""

from pathlib import Path

import numpy as np
import pytest
from transformers import HfArgumentParser

from hf_squareloss.recipes.speech_arguments import SpeechDataArguments


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
    splits = arguments.load(cache_dir=None, token=None)
    assert {name: len(rows) for name, rows in splits.items()} == {"train": 2, "validation": 3}
    assert splits["train"][0]["text"] == "hello"


def test_one_source() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        parsed("--dataset_name", "user/name", "--train_file", "train.csv")
