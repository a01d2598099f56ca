"""The built-in token demo: which pieces of a line of Python are its keywords, names, numbers, strings and comments."""

from __future__ import annotations

import keyword
import random
import re
import sysconfig
import token
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.metrics import EntityMetric

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

    from hf_squareloss.recipes.classification import ClassificationData

CLASSES = ("comment", "keyword", "name", "number", "string")
_ONE_PIECE = ("keyword", "name")  # the others may have several
TAGS = ("O", *(f"{place}-{c}" for c in CLASSES for place in ("B" if c in _ONE_PIECE else "BI")))
_LINES = MappingProxyType({"train": 6000, "validation": 1000, "test": 2000})
_PIECES = range(4, 41)  # of a line; most are shorter, and longer ones slow every batch down
_LINES_OF_A_FILE = 120
_FREQUENT = 1000  # tokens in the vocabulary, beside the characters

# The first setting that was tried.
DEMO_TRAINING: Mapping[str, Any] = MappingProxyType(
    {
        "learning_rate": 1e-3,
        "num_train_epochs": 6,
        "per_device_train_batch_size": 32,
        "per_device_eval_batch_size": 128,
        "train_sampling_strategy": "group_by_length",
        "warmup_steps": 0.1,
        "metric_for_best_model": "f1",
    }
)


def python_lines(root: Path | None = None, seed: int = 0) -> DatasetDict:
    """Lines of the standard library's sources as columns `tokens` and `tags`; splits train, validation and test.

    A token is a run of letters, digits and underscores, or one other character, so that a word within a string or a
    comment looks like a name or a keyword: only the rest of the line tells. Tags are in the IOB scheme: B-string for
    the opening quote, I-string for what follows in the same string; O for operators. Lines that share a string with
    another line are left out. No line is there twice, and no file is in two splits.

    Args:
        root: a folder of sources; default: the standard library that runs.
        seed: chooses files and lines. The result depends on these and on the Python release alone.

    Raises FileNotFoundError where there are no sources.

    Example: `python_lines()["test"][0]["tokens"]`
    """
    from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

    root = root or Path(sysconfig.get_path("stdlib"))
    features = Features({"tokens": List(Value("string")), "tags": List(ClassLabel(names=list(TAGS)))})
    return DatasetDict(
        {
            split: Dataset.from_dict(
                {"tokens": [list(tokens) for tokens, _ in rows], "tags": [list(tags) for _, tags in rows]},
                features=features,
            )
            for split, rows in _lines(root, seed).items()
        }
    )


@cache
def _lines(root: Path, seed: int) -> dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]]:
    """Split -> (tokens, tags) of its lines; train gets two files for one of the others."""
    files = [path for path in sorted(root.rglob("*.py")) if not {"test", "tests", "site-packages"} & set(path.parts)]
    if not files:
        raise FileNotFoundError(f"expected the sources of the standard library below {root}, found none")
    generator = random.Random(seed)
    generator.shuffle(files)
    splits: dict[str, list[Any]] = {split: [] for split in _LINES}
    seen: set[tuple[str, ...]] = set()
    for number, path in enumerate(files):
        split = ("train", "validation", "train", "test")[number % 4]
        if len(splits[split]) < _LINES[split]:
            new = [line for line in tagged_lines(path) if line[0] not in seen]
            chosen = generator.sample(new, min(_LINES_OF_A_FILE, len(new)))
            splits[split].extend(line for line in dict(chosen).items())
            seen.update(tokens for tokens, _ in chosen)
    return {split: rows[: _LINES[split]] for split, rows in splits.items()}


def tagged_lines(path: Path) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(tokens, tags) of the lines of a source file, in its order."""
    lines: dict[int, list[tuple[str, str]]] = {}
    shared: set[int] = set()
    try:
        with tokenize.open(path) as file:
            found = list(tokenize.generate_tokens(file.readline))
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):  # written for another Python than the one that runs
        return
    for part in found:
        (first, _), (last, _) = part.start, part.end
        if first != last:
            shared.update(range(first, last + 1))
        pieces = re.findall(r"\w+|[^\w\s]", part.string)
        name = _class_of(part)
        tags = ["O" if name is None else f"{'I' if i else 'B'}-{name}" for i in range(len(pieces))]
        lines.setdefault(first, []).extend(zip(pieces, tags, strict=True))
    for number, line in lines.items():
        if number not in shared and len(line) in _PIECES:
            tokens, tags = zip(*line, strict=True)
            yield tokens, tags


def _class_of(part: tokenize.TokenInfo) -> str | None:
    if part.type == token.NAME:
        return "keyword" if keyword.iskeyword(part.string) else "name"
    kind = token.tok_name[part.type]
    if "STRING" in kind:  # from Python 3.12 on an f-string has a start, middles and an end
        return "string"
    return {"NUMBER": "number", "COMMENT": "comment"}.get(kind)


def lookup_baseline(data: ClassificationData) -> float:
    """Test F1 of giving each token the tag that it has most often in training, or B-name where it is not there."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for tokens, tags in zip(data.splits["train"]["tokens"], data.splits["train"]["tags"], strict=True):
        for word, tag in zip(tokens, tags, strict=True):
            counts[word][tag] += 1
    best = {word: max(sorted(found), key=lambda tag: found[tag]) for word, found in counts.items()}
    test = data.splits["test"]
    predictions = [[best.get(word, "B-name") for word in tokens] for tokens in test["tokens"]]
    found = EntityMetric(data.label_names or []).compute(predictions=predictions, references=list(test["tags"]))
    return (found or {})["f1"]


def demo_tokenizer(lines: Dataset) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of the characters and the most frequent tokens of these lines, the same each time."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    counts = Counter(piece for line in lines["tokens"] for piece in line)
    characters = sorted({character for piece in counts for character in piece})
    frequent = sorted(counts, key=lambda piece: (-counts[piece], piece))[:_FREQUENT]
    pieces = dict.fromkeys((*special.values(), *characters, *(f"##{c}" for c in characters), *frequent))
    tokenizer: Any = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=128, **special)


def demo_config(tokenizer: PreTrainedTokenizerFast) -> PreTrainedConfig:
    """Two layers of width 96 that see where tokens are by rotation, so that neighbours are easily found."""
    from transformers import ModernBertConfig

    return ModernBertConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        pad_token_id=0,
        cls_token_id=2,
        sep_token_id=3,
        bos_token_id=2,
        eos_token_id=3,
    )
