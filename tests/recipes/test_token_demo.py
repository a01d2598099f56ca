"""Lines of Python as the token demo cuts and tags them."""

from pathlib import Path

import pytest
from tag_files import write_modules

from hf_squareloss.recipes.token_data import encode_sentences, token_data
from hf_squareloss.recipes.token_demo import (
    TAGS,
    demo_config,
    demo_tokenizer,
    lookup_baseline,
    python_lines,
    tagged_lines,
)

SOURCE = '''"""A docstring
over two lines: if left out."""
def first(x, y):  # if it is so
    return x + 1.5 * "the name"
    assert x
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_modules(tmp_path)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "of_it.py").write_text("zzz = 1 + 2 + 3\n")
    (tmp_path / "broken.py").write_text("def (:\n '''")
    return tmp_path


def test_tags_of_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SOURCE)
    found = [list(zip(*line, strict=True)) for line in tagged_lines(tmp_path / "a.py")]
    keyword, name, other = "B-keyword", "B-name", "O"
    assert found == [
        [
            *[("def", keyword), ("first", name), ("(", other), ("x", name), (",", other), ("y", name), (")", other)],
            *[(":", other), ("#", "B-comment"), ("if", "I-comment"), ("it", "I-comment"), ("is", "I-comment")],
            ("so", "I-comment"),
        ],
        [
            *[("return", keyword), ("x", name), ("+", other), ("1", "B-number"), (".", "I-number"), ("5", "I-number")],
            *[("*", other), ('"', "B-string"), ("the", "I-string"), ("name", "I-string"), ('"', "I-string")],
        ],
    ]  # neither the docstring's lines nor the one with two tokens


def test_splits_share_no_file_and_no_line(root: Path) -> None:
    data = python_lines(root)
    assert data["train"].features["tags"].feature.names == list(TAGS)
    assert min(len(rows) for rows in data.values()) > 9
    lines = [tuple(tokens) for rows in data.values() for tokens in rows["tokens"]]
    assert len(lines) == len(set(lines)) and "zzz" not in {word for line in lines for word in line}
    numbers = [{line[1].split("_")[0] for line in rows["tokens"] if line[0] == "def"} for rows in data.values()]
    assert numbers[0].isdisjoint(numbers[1] | numbers[2]) and numbers[1].isdisjoint(numbers[2])
    assert python_lines(root).keys() == {"train", "validation", "test"}
    assert python_lines(root, seed=1)["train"]["tokens"][:] != data["train"]["tokens"][:]


def test_no_sources(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="sources of the standard library"):
        python_lines(tmp_path)


def test_the_tokenizer_is_the_same_each_time_and_knows_every_line(root: Path, tmp_path: Path) -> None:
    data = token_data(python_lines(root))
    tokenizer = demo_tokenizer(data.splits["train"])
    assert tokenizer.get_vocab() == demo_tokenizer(data.splits["train"]).get_vocab()
    encoded = encode_sentences(data, tokenizer, max_length=64, cache_dir=str(tmp_path / "cache"))
    assert not any(-1 in starts for starts in encoded["train"]["starts"])
    assert tokenizer.unk_token_id not in {i for row in encoded["train"]["input_ids"] for i in row}
    assert demo_config(tokenizer).vocab_size == len(tokenizer)


def test_the_baseline_looks_at_a_token_alone(root: Path) -> None:
    assert 0.2 < lookup_baseline(token_data(python_lines(root))) < 0.95
