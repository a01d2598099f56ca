"""Arguments that the speech recognition examples share: where the utterances come from, and which of them are used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.speech_files import load_named_speech, load_speech_files
from hf_squareloss.recipes.stages import limited

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass
class SpeechDataArguments:
    """A data set of the Hub or lists of files, for `HfArgumentParser`; a script adds its own by a subclass."""

    dataset_name: str | None = field(default=None, metadata={"help": "A data set of the Hub."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "Its configuration."})
    train_split_name: str = field(default="train", metadata={"help": "Its training split(s), as in train+other."})
    eval_split_name: str = field(default="validation", metadata={"help": "Its validation split."})
    test_split_name: str | None = field(default=None, metadata={"help": "Its test split, for --do_predict."})
    train_file: str | None = field(default=None, metadata={"help": "List of training data: csv, tsv or json."})
    validation_file: str | None = field(default=None, metadata={"help": "List of validation data."})
    test_file: str | None = field(default=None, metadata={"help": "List of test data; its texts are optional."})
    audio_column_name: str = field(default="audio", metadata={"help": "Column of the audio, in lists its path."})
    text_column_name: str = field(default="text", metadata={"help": "Column of the transcript."})
    min_duration_in_seconds: float = field(default=0.0, metadata={"help": "Leave shorter training audio out."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Use only so many training utterances."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Use only so many validation utterances."})
    max_predict_samples: int | None = field(default=None, metadata={"help": "Use only so many test utterances."})
    preprocessing_num_workers: int | None = field(default=None, metadata={"help": "Processes that read the audio."})
    overwrite_cache: bool = field(default=False, metadata={"help": "Read the audio again, not from the cache."})

    def __post_init__(self) -> None:
        if self.dataset_name and self.files:
            raise ValueError("dataset_name and files exclude each other: give one")

    @property
    def files(self) -> dict[str, str]:
        named = {"train": self.train_file, "validation": self.validation_file, "test": self.test_file}
        return {split: file for split, file in named.items() if file is not None}

    def load(self, cache_dir: str | None, token: str | None) -> dict[str, Dataset]:
        """The splits with the columns audio and text, the first max_*_samples of each."""
        columns = {"audio_column": self.audio_column_name, "text_column": self.text_column_name}
        if self.files:
            return self.limited(load_speech_files(self.files, **columns))
        named = {"train": self.train_split_name, "validation": self.eval_split_name}
        if self.test_split_name is not None:
            named["test"] = self.test_split_name
        options: dict[str, Any] = columns | {"cache_dir": cache_dir, "token": token}
        return self.limited(load_named_speech(self.dataset_name or "", self.dataset_config_name, named, **options))

    def limited(self, splits: dict[str, Dataset]) -> dict[str, Dataset]:
        """The first max_*_samples of each split."""
        most = {
            "train": self.max_train_samples,
            "validation": self.max_eval_samples,
            "test": self.max_predict_samples,
        }
        return limited(splits, most)
