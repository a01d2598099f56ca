"""Files of a toy task of named entities: a title begins a name, and the words after it in capitals go on with it."""

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

TITLES, NAMES = ["Dr", "Mrs"], ["Ada", "Grace", "Emmy", "Hedy"]
OTHER = ["saw", "the", "sea", "and", "then", "went", "home"]
TAGS = ["B-PER", "I-PER", "O"]


def sentences(count: int, seed: str) -> list[tuple[list[str], list[str]]]:
    """(tokens, tags): names without a title are no entities, so that a token alone does not tell."""
    generator = random.Random(seed)
    found = []
    for _ in range(count):
        words = [(word, "O") for word in generator.choices(OTHER + NAMES, k=generator.randint(2, 5))]
        if generator.random() < 0.8:
            place = generator.randint(0, len(words))
            names = [(name, "I-PER") for name in generator.choices(NAMES, k=generator.randint(1, 2))]
            words[place:place] = [(generator.choice(TITLES), "B-PER"), *names, ("saw", "O")]
        found.append(([word for word, _ in words], [tag for _, tag in words]))
    return found


def write_conll(path: Path, rows: list[tuple[list[str], list[str]]]) -> None:
    blocks = ["\n".join(f"{word} {tag}" for word, tag in zip(*row, strict=True)) for row in rows]
    path.write_text("-DOCSTART- O\n\n" + "\n\n".join(blocks) + "\n")


def write_files(folder: Path) -> list[str]:
    """The options that name the files."""
    options = []
    for split, count in (("train", 160), ("validation", 40), ("test", 40)):
        write_conll(folder / f"{split}.conll", sentences(count, split))
        options += [f"--{split}_file", str(folder / f"{split}.conll")]
    return options


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Titles are two pieces each."""
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    words = [*special.values(), "D", "##r", "M", "##rs", *NAMES, *OTHER]
    pieces = models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    tokenizer = Tokenizer(pieces)  # type: ignore[arg-type]
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece()  # type: ignore[assignment]
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **special)


def write_modules(folder: Path) -> Path:
    """A small standard library: eight modules of eighteen lines."""
    for number in range(8):
        lines = [
            f"def f{number}_{i}(a, b):  # comment {number} {i}\n    return 'a {number} {i}' + b\n" for i in range(9)
        ]
        (folder / f"module{number}.py").write_text("".join(lines))
    return folder


def save_tiny_tagger(folder: Path) -> str:
    tokenizer = make_tokenizer()
    size: dict[str, Any] = {
        "hidden_dropout_prob": 0.0,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
    }
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, num_labels=len(TAGS), **size)  # type: ignore[call-arg]
    torch.manual_seed(0)
    BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
