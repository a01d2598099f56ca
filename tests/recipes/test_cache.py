"""What is made of the same content lies in one file, whoever made it."""

import os
import subprocess
import sys
from pathlib import Path

from datasets import Dataset, config

from hf_squareloss.recipes.cache import cache_file, tokenized_splits


def rows(*texts: str) -> Dataset:
    return Dataset.from_dict({"text": list(texts)})


def test_the_content_decides(tmp_path: Path) -> None:
    folder = str(tmp_path)
    assert cache_file(rows("a", "b"), 1, cache_dir=folder) == cache_file(rows("a", "b"), 1, cache_dir=folder)
    others = [rows("a", "c"), rows("a"), rows("a", "b", "c"), rows("a", "b", "c").select([0, 1])]
    files = {cache_file(other, 1, cache_dir=folder) for other in [rows("a", "b"), *others[:3]]}
    assert len(files) == 4
    assert cache_file(rows("a", "b"), 2, cache_dir=folder) not in files
    assert cache_file(others[3].select([0]), cache_dir=folder) != cache_file(others[3].select([1]), cache_dir=folder)


def test_another_process_finds_it(tmp_path: Path) -> None:
    code = (
        "from datasets import Dataset; from hf_squareloss.recipes.cache import cache_file; "
        f"print(cache_file(Dataset.from_dict({{'text': ['a']}}), cache_dir={str(tmp_path)!r}))"
    )
    found = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    assert found == cache_file(rows("a"), cache_dir=str(tmp_path))


def test_the_default_is_the_cache_of_datasets() -> None:
    assert Path(cache_file(1)).parent == Path(config.HF_DATASETS_CACHE, "hf_squareloss")


def test_splits_are_made_once(tmp_path: Path) -> None:
    calls: list[int] = []

    def encode(batch: dict[str, list[str]]) -> dict[str, list[int]]:
        calls.append(len(batch["text"]))
        return {"length": [len(text) for text in batch["text"]]}

    def found(key: str, overwrite: bool = False) -> list[dict[str, int]]:
        splits = {"train": rows("a", "bcd")}
        made = tokenized_splits(splits, encode, key, overwrite=overwrite, cache_dir=str(tmp_path))
        return made["train"].to_list()

    expected = [{"length": 1}, {"length": 3}]  # without the old column
    assert found("one") == expected and calls == [2]
    assert found("one") == expected and calls == [2]
    assert found("two") == expected and calls == [2, 2]
    assert found("two", overwrite=True) == expected and calls == [2, 2, 2]


def test_processes_share_the_rows(tmp_path: Path) -> None:
    def encode(batch: dict[str, list[str]]) -> dict[str, list[object]]:
        return {"length": [len(text) for text in batch["text"]], "process": [os.getpid()] * len(batch["text"])}

    def found(count: int | None) -> list[dict[str, int]]:
        splits = {"train": rows("a", "bcd", "ef", "")}
        folder = str(tmp_path / str(count))
        return tokenized_splits(splits, encode, "key", num_proc=count, cache_dir=folder)["train"].to_list()

    one, two = found(None), found(2)
    assert [row["length"] for row in one] == [row["length"] for row in two] == [1, 3, 2, 0]
    assert {row["process"] for row in one} == {os.getpid()}
    assert len({row["process"] for row in two}) == 2 and os.getpid() not in {row["process"] for row in two}
