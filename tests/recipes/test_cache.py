"""What is made of the same content lies in one file, whoever made it."""

import subprocess
import sys
from pathlib import Path

from datasets import Dataset, config

from hf_squareloss.recipes.cache import cache_file


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
