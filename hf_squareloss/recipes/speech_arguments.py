"""Arguments that the speech recognition examples share: which model, where the utterances come from, and how many."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.arguments import ModelSourceArguments, SplitNameArguments, require_lists
from hf_squareloss.recipes.speech_files import load_named_speech, load_speech_files

if TYPE_CHECKING:
    from datasets import Dataset

    from hf_squareloss.recipes.speech_encoding import SpeechEncoder


@dataclass
class SpeechModelArguments(ModelSourceArguments):
    """A speech model, or the configuration of one from scratch, for `HfArgumentParser`."""

    config_name: str | None = field(
        default=None, metadata={"help": "Without a model, one is made from this configuration: a folder or a file."}
    )
    feature_extractor_name: str | None = field(
        default=None, metadata={"help": "Feature extractor, if not the model's or the configuration's."}
    )
    freeze_feature_encoder: bool = field(
        default=False, metadata={"help": "Do not train the convolutions on the waveform."}
    )


@dataclass
class ConfigArguments:
    """Dropout, SpecAugment and an adapter, for `HfArgumentParser`: what is given replaces the config's value."""

    attention_dropout: float | None = field(default=None, metadata={"help": "Default, here and below: the model's."})
    activation_dropout: float | None = field(default=None, metadata={"help": "Dropout inside the feed-forward layers."})
    feat_proj_dropout: float | None = field(default=None, metadata={"help": "Dropout of the projected features."})
    hidden_dropout: float | None = field(default=None, metadata={"help": "Dropout of the hidden states."})
    final_dropout: float | None = field(default=None, metadata={"help": "Dropout before the head."})
    layerdrop: float | None = field(default=None, metadata={"help": "Probability of leaving a layer out."})
    mask_time_prob: float | None = field(
        default=None, metadata={"help": "SpecAugment: about this share of the frames is masked."}
    )
    mask_time_length: int | None = field(default=None, metadata={"help": "SpecAugment: frames per mask."})
    mask_feature_prob: float | None = field(
        default=None, metadata={"help": "SpecAugment: about this share of the features is masked."}
    )
    mask_feature_length: int | None = field(default=None, metadata={"help": "SpecAugment: features per mask."})
    adapter_attn_dim: int | None = field(
        default=None, metadata={"help": "Width of the adapter layers of a language, for models that have none."}
    )
    add_adapter: bool | None = field(default=None, metadata={"help": "Convolutions that shorten the output."})

    @property
    def config_changes(self) -> dict[str, Any]:
        """Config entry -> new value."""
        names = [option.name for option in fields(ConfigArguments)]
        return {name: value for name in names if (value := vars(self)[name]) is not None}

    def change_config(self, config: Any) -> None:
        """Write the new values into a config. ValueError for an entry that it does not have."""
        for option, value in self.config_changes.items():
            if option not in config.to_dict():
                raise ValueError(
                    f"{option}={value} would be ignored: the config of a {config.model_type} has no such entry"
                )
            setattr(config, option, value)


@dataclass
class SpeechDataArguments(SplitNameArguments):
    """Utterances of a data set of the Hub or of lists of files, for `HfArgumentParser`."""

    audio_column_name: str = field(default="audio", metadata={"help": "Column of the audio, in lists its path."})
    audio_root: str | None = field(
        default=None, metadata={"help": "Folder at which the paths of lists start; default: the folder of the list."}
    )
    text_column_name: str = field(default="text", metadata={"help": "Column of the transcript."})
    min_duration_in_seconds: float = field(default=0.0, metadata={"help": "Leave shorter training audio out."})
    skip_bad_utterances: bool = field(
        default=False,
        metadata={"help": "Leave training and validation utterances that cannot be used out, instead of ending."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        require_lists(self, "audio_root")

    def load(self, cache_dir: str | None, token: str | None, *, predict: bool = False) -> dict[str, Dataset]:
        """The splits with the columns audio and text; a test split that is not named only to `predict` it."""
        columns: dict[str, Any] = {"audio_column": self.audio_column_name, "text_column": self.text_column_name}
        columns["skip_bad"] = self.skip_bad_utterances
        if self.files:
            return load_speech_files(self.files, **columns, audio_root=self.audio_root)
        named = {s: name for s, name in self.split_names.items() if s != "test" or predict or self.has_own_test}
        options: dict[str, Any] = columns | self.hub_options(cache_dir, token)
        return load_named_speech(self.dataset_name or "", self.dataset_config_name, named, **options)

    def encoded(
        self, splits: Mapping[str, Dataset], encoder: SpeechEncoder, cache_dir: str | None
    ) -> dict[str, Dataset]:
        """Every split with the model's inputs and labels, read as these arguments say."""
        return encoder.encode(
            splits,
            num_proc=self.preprocessing_num_workers,
            overwrite=self.overwrite_cache,
            cache_dir=cache_dir,
            skip_bad=self.skip_bad_utterances,
        )
