"""Models from scratch: a config of a model type and overrides, a vocabulary of the training texts, word vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from transformers import AutoConfig, AutoModelForSequenceClassification

import hf_squareloss.models  # noqa: F401  (its model types are registered by the import)
from hf_squareloss.recipes.classification import ClassificationData, name_classes
from hf_squareloss.recipes.config_overrides import override_config, read_overrides
from hf_squareloss.recipes.text_encoding import limit_to_positions, pad_with_end
from hf_squareloss.recipes.vocabulary import VOCABULARIES, build_tokenizer, training_texts
from hf_squareloss.recipes.word_vectors import read_vectors, set_vectors, vector_size

_OF_A_VOCABULARY = ("vocabulary", "vocabulary_size", "word_vectors")


@dataclass
class FromScratchArguments:
    """A model that is made and not loaded, for `HfArgumentParser`.

    Beside a model that is loaded (model_name_or_path) they say what it must be, so that one command can go on with what
    it has trained.
    """

    model_type: str | None = field(
        default=None,
        metadata={"help": "A model from scratch of this type: gpt2, bert, resnet, or one of hf_squareloss.models."},
    )
    config_overrides: list[str] = field(
        default_factory=list,
        metadata={"help": "Entries of its config: hidden_size=128,depths=[2,2], also as several words."},
    )

    def make_config(self, read: Any = None, **values: Any) -> Any:
        """A config of the model type, or `read` from a file, with `values` and then the overrides.

        Raises:
            ValueError: as the function of this name, or `read` is of another type.
        """
        if read is None:
            return make_config(self.model_type or "", self.config_overrides, **values)
        if self.model_type not in (None, read.model_type):
            raise ValueError(
                f"model_type={self.model_type} would be ignored: the config in config_name is of {read.model_type}"
            )
        for name, value in values.items():
            setattr(read, name, value)
        override_config(read, self.config_overrides)
        return read

    def require_same(self, config: Any) -> None:
        """ValueError where the config of a loaded model is another than these arguments describe."""
        overrides = read_overrides(config, self.config_overrides)
        wanted = {"model_type": self.model_type, **overrides}
        there = config.to_dict()
        for name, value in wanted.items():
            if value is not None and there.get(name) != value:
                raise ValueError(
                    f"{name}={value} would be ignored: the model in model_name_or_path has {there.get(name)}"
                )


@dataclass
class VocabularyArguments(FromScratchArguments):
    """The same for models of texts, with their vocabulary."""

    tokenizer_name: str | None = field(default=None, metadata={"help": "Tokenizer, if not the model's."})
    vocabulary: str | None = field(
        default=None,
        metadata={"help": f"Build the tokenizer from the training texts: {', '.join(VOCABULARIES)}."},
    )
    vocabulary_size: int | None = field(
        default=None, metadata={"help": "Entries of that vocabulary at most; default: 20,000 words, all characters."}
    )

    def __post_init__(self) -> None:
        if self.vocabulary is not None and self.vocabulary not in VOCABULARIES:
            raise ValueError(f"vocabulary must be one of {', '.join(VOCABULARIES)}, got {self.vocabulary!r}")
        if self.tokenizer_name is not None and (self.vocabulary or self.vocabulary_size):
            raise ValueError("a vocabulary of the training texts and tokenizer_name exclude each other: give one")

    def require_loaded(self, config: Any, *, training: bool) -> None:
        """As `require_same`, and ValueError where training is to begin with a vocabulary that is not the model's."""
        self.require_same(config)
        given = [name for name in _OF_A_VOCABULARY if vars(self).get(name) is not None]
        if training and given:
            raise ValueError(
                f"{given[0]} would be ignored: the model in model_name_or_path has its tokenizer and embeddings"
            )


@dataclass
class TextFromScratchArguments(VocabularyArguments):
    """The same for text classifiers, with word vectors."""

    word_vectors: str | None = field(
        default=None, metadata={"help": "A file of word vectors, as GloVe's, where the input embeddings begin."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.word_vectors is not None and self.vocabulary == "characters":
            raise ValueError("word_vectors would be ignored: the vocabulary is of characters")


def make_config(model_type: str, overrides: Iterable[str] = (), **values: Any) -> Any:
    """A config of this type: `values`, then the overrides, then what the type has; and what follows from these.

    Args:
        overrides: as for `override_config`.

    Raises:
        ValueError: no such type, or an override that does not fit it.

    Example:
        >>> make_config("gpt2", ["n_embd=16,n_layer=1", "activation_function=relu"]).n_embd
        16
    """
    try:
        known = AutoConfig.for_model(model_type)
    except (ValueError, KeyError):
        raise ValueError(
            f"no model type is called {model_type!r}: it is transformers' name of the architecture, such as gpt2, "
            f"llama or bert, or one of {', '.join(hf_squareloss.models.MODEL_TYPES)}"
        ) from None
    given = read_overrides(known, overrides)
    return AutoConfig.for_model(model_type, **{**values, **given})


def vocabulary_values(tokenizer: Any, read: Any, special: Iterable[str]) -> dict[str, Any]:
    """What a config is told of its tokenizer: the size, which one `read` from a file may exceed, and special ids."""
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in special}
    if read is None:
        return {"vocab_size": len(tokenizer), **ids}
    known = {name: value for name, value in ids.items() if value is not None}
    return {"vocab_size": max(len(tokenizer), read.vocab_size), **known}


def classifier_from_scratch(
    args: TextFromScratchArguments,
    data: ClassificationData,
    tokenizer: Any = None,
    *,
    config: Any = None,
    show: bool = True,
) -> tuple[Any, Any]:
    """A text classifier of the model type for these classes, and its tokenizer.

    Args:
        args: what is made; without `vocabulary` and a tokenizer, the vocabulary is of words.
        data: the vocabulary is that of its training texts.
        tokenizer: takes the place of a vocabulary of one's own.
        config: read from a file, in the place of the model type.
        show: print how many words have a vector.

    Raises:
        ValueError: a type that has no text classifier, or as `make_config`, `build_tokenizer` and `read_vectors`.
    """
    if tokenizer is None:
        tokenizer = build_tokenizer(training_texts(data.splits), args.vocabulary or "words", args.vocabulary_size)
    values = vocabulary_values(tokenizer, config, ("pad",))
    if args.word_vectors is not None:
        values["embedding_size"] = vector_size(args.word_vectors)
    config = args.make_config(config, **values)
    if type(config) not in AutoModelForSequenceClassification._model_mapping:
        raise ValueError(f"{config.model_type} has no text classifier")
    name_classes(config, data)
    pad_with_end(tokenizer, config)
    model = AutoModelForSequenceClassification.from_config(config)
    limit_to_positions(tokenizer, model)
    if args.word_vectors is not None:
        vectors = read_vectors(args.word_vectors, tokenizer.get_vocab())
        set_vectors(model.get_input_embeddings(), vectors)
        if show:
            print(f"{len(vectors)} of {len(tokenizer)} words have a vector in {args.word_vectors}")  # noqa: T201
    return model, tokenizer
