"""What the script makes of texts: streams, parts of them, blocks, rows and their numbers."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from example_scripts import QUIET
from language_runs import BERT, LLAMA, SHORT, script, weights
from transformers import AutoModelForMaskedLM, AutoTokenizer

from hf_squareloss import SquareLossTrainingArguments
from hf_squareloss.recipes.cli import parse_arguments
from hf_squareloss.recipes.language_texts import shuffled


def test_streaming(run: Callable[..., dict[str, float]], tmp_path: Path) -> None:
    given = [*LLAMA[:4], "--tokenizer_name", str(tmp_path / "whole"), "--block_size", "8", *SHORT]
    run(*LLAMA, *SHORT, name="whole")
    found = run(*given, "--streaming", name="stream")
    assert "train_loss" in found and found["eval_samples"] == 40
    run(*given, "--streaming", name="again")
    assert torch.equal(weights(tmp_path / "stream"), weights(tmp_path / "again"))
    with pytest.raises(ValueError, match="give --max_steps"):
        run(*given[:-6], "--streaming", name="endless")
    with pytest.raises(ValueError, match="already holds a run with training data"):
        run(*given, "--streaming", "--max_train_samples", "50", name="stream")


def test_a_validation_split_by_percentage(files: list[str], tmp_path: Path) -> None:
    given = [*files[:2], *LLAMA, *SHORT, *QUIET, "--output_dir", str(tmp_path)]
    found = script.main([*given, "--validation_split_percentage", "25", "--max_train_samples", "40"])
    assert (found["train_samples"], found["eval_samples"]) == (80, 60)


def texts_of(splits: dict[str, Any]) -> dict[str, list[int]]:
    return {name: [int(text) for text in rows["text"]] for name, rows in splits.items()}


def test_a_running_text_is_cut_in_one_place(tmp_path: Path) -> None:
    """As run_clm cuts it; lines of their own are drawn."""
    file = tmp_path / "a.txt"
    file.write_text("".join(f"{i}\n" for i in range(40)))
    given = ["--train_file", str(file), "--output_dir", str(tmp_path), "--train_val_split", "0.25"]
    limits = ["--max_train_samples", "8", "--max_eval_samples", "4"]

    def texts(*options: str) -> dict[str, list[int]]:
        classes = (script.ModelArguments, script.DataArguments, SquareLossTrainingArguments)
        model_args, data_args, args = parse_arguments(classes, [*given, *options])
        return texts_of(script.load_splits(model_args, data_args, args)[0])

    assert texts() == {"validation": list(range(10)), "train": list(range(10, 40))}
    assert texts(*limits) == {"validation": [0, 1, 2, 3], "train": list(range(10, 18))}
    drawn = texts("--line_by_line")
    assert sorted(drawn["train"] + drawn["validation"]) == list(range(40)) and drawn["validation"] != list(range(10))


def test_blocks_of_a_stream_hold_neighbours(tmp_path: Path, run: Callable[..., Any], monkeypatch: Any) -> None:
    run(*LLAMA, *SHORT, name="whole")
    (tmp_path / "a.txt").write_text("".join(f"w{i % 12}\n" for i in range(96)))
    seen = []

    def noted(encoded: Any, *rest: Any, **options: Any) -> Any:
        rows = shuffled(encoded, *rest, **options)
        seen.extend(row["input_ids"] for row in rows)
        return rows

    monkeypatch.setattr(script, "shuffled", noted)
    given = [*LLAMA[:4], "--tokenizer_name", str(tmp_path / "whole"), "--block_size", "8", *SHORT]
    run(*given, "--streaming", "--train_file", str(tmp_path / "a.txt"), name="stream")
    tokenizer: Any = AutoTokenizer.from_pretrained(tmp_path / "whole")
    blocks = [[int(word[1:]) for word in tokenizer.convert_ids_to_tokens(block)] for block in seen]
    assert len(blocks) == 12 and all((b - a) % 12 == 1 for block in blocks for a, b in pairwise(block))
    assert blocks != sorted(blocks, key=lambda block: block[0])  # in another order than in the text


def test_a_masked_stream(run: Callable[..., Any], tmp_path: Path) -> None:
    run(*BERT, *SHORT, name="whole")
    given = [*BERT[:4], "--tokenizer_name", str(tmp_path / "whole"), "--block_size", "8", *SHORT, "--streaming"]
    for name in ("one", "two"):
        found = run(*given, name=name)
        assert "train_loss" in found and found["eval_samples"] == 40
    one, two = (weights(tmp_path / name, AutoModelForMaskedLM) for name in ("one", "two"))
    assert torch.equal(one, two)


@pytest.mark.parametrize("model", [LLAMA, BERT])
def test_predictions_have_the_rows_of_the_file(model: list[str], run: Callable[..., Any], tmp_path: Path) -> None:
    lines = ["w0 w1 w6 w7", "", "w1", " ", *["w2 w11 w8 w5"] * 5]
    (tmp_path / "a.txt").write_text("\n".join(lines) + "\n")
    run(*model, *SHORT, "--line_by_line", "--test_file", str(tmp_path / "a.txt"))
    rows = (tmp_path / "out" / "test_predictions.tsv").read_text().splitlines()
    assert [row.split("\t")[0] for row in rows] == ["index", "0", *map(str, range(4, 9))]


def test_a_split_by_name_is_predicted_and_is_the_run(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for split, name in zip(files[::2], ("train", "other", "test"), strict=True):
        text = Path(files[files.index(split) + 1]).read_text().splitlines()
        rows = "".join(json.dumps({"text": line}) + "\n" for line in text)
        (tmp_path / "data" / f"{'train' if name == 'other' else name}-{name}.jsonl").write_text(rows)
    head = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    parts = "".join(f"  - split: {name}\n    path: '*-{name}.jsonl'\n" for name in ("train", "other", "test"))
    (tmp_path / "data" / "README.md").write_text(head + parts + "---\n")
    given = ["--dataset_name", str(tmp_path / "data"), "--cache_dir", str(tmp_path / "cache"), *QUIET, *SHORT]
    found = script.main([*given, *LLAMA, "--output_dir", str(tmp_path / "a"), "--test_split_name", "other"])
    assert found["test_samples"] == 40
    stream = [*given, *LLAMA[:4], "--tokenizer_name", str(tmp_path / "a"), "--block_size", "8", "--streaming"]
    stream += ["--output_dir", str(tmp_path / "b")]
    assert "test_samples" not in script.main(stream)
    with pytest.raises(ValueError, match="already holds a run with training data"):
        script.main([*stream, "--train_split_name", "test"])
