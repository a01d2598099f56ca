"""Rows are called as they stand in the data that were given."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from picture_files import write_pictures

from hf_squareloss.recipes.image_arguments import DataArguments, ModelArguments
from hf_squareloss.recipes.image_encoding import ImageRows
from hf_squareloss.recipes.row_names import PLACE, row_name, with_places
from hf_squareloss.recipes.run_identity import content_of_rows
from hf_squareloss.recipes.speech_arguments import SpeechDataArguments
from hf_squareloss.recipes.speech_encoding import SpeechEncoder


def test_names() -> None:
    rows = with_places(Dataset.from_dict({"audio": [{"path": "a.wav"}, {"path": None}, {"path": "c.wav"}]}), "train")
    names = [row_name(row, "audio", "validation", i) for i, row in enumerate(rows.select([2, 1]))]  # type: ignore[arg-type]
    assert names == ["train row 3 (c.wav)", "train row 2"]
    assert row_name({"image": {"path": None}}, "image", "test", 4) == "test row 5"


def test_a_place_is_no_content() -> None:
    rows = Dataset.from_dict({"text": ["a", "b"]})
    assert content_of_rows(with_places(rows, "train")) == content_of_rows(rows)


def test_an_utterance_of_a_part_of_a_list(tmp_path: Path) -> None:
    """The training part has other rows than the list, one of which is left out when it is read."""
    np.save(tmp_path / "good.npy", np.ones((4, 2), np.float32))
    lines = [*["good.npy\thello"] * 4, "good.npy\t", *["good.npy\thello"] * 4, "bad.npy\thello"]
    (tmp_path / "list.tsv").write_text("\n".join(["audio\ttext", *lines]) + "\n")
    data = SpeechDataArguments(train_file=str(tmp_path / "list.tsv"), train_val_split=0.5, skip_bad_utterances=True)
    splits = data.chosen(data.load(None, None), seed=0)
    assert sum(map(len, splits.values())) == 9
    data.skip_bad_utterances = False
    options: dict[str, Any] = {"extractor": None, "labels": lambda text, name: [1], "input_name": "input_features"}
    with pytest.raises(ValueError, match=r"^train row 10 \(.*bad.npy\): the audio cannot be read"):
        data.encoded(splits, SpeechEncoder(**options), str(tmp_path / "cache"))


def test_an_image_of_a_part_of_a_folder(tmp_path: Path) -> None:
    options = write_pictures(tmp_path, {"train": 8})
    (broken := tmp_path / "train" / "upright" / "007.png").write_bytes(b"no image")
    data_args = DataArguments(train_dir=options[1])
    model_args = ModelArguments(model_type="convnet", cache_dir=str(tmp_path / "cache"))
    data = data_args.load_images(model_args)
    assert data.splits["train"][7]["image"]["path"] == str(broken) and data.splits["train"][7][PLACE] == "train row 8"
    data.splits["train"] = data.splits["train"].select([0, 7])
    with pytest.raises(ValueError, match=r"^train row 8 \(.*007.png\): the image cannot be read"):
        data_args.read_sizes(data, model_args)
    with pytest.raises(ValueError, match=r"^train row 8 \(.*007.png\): the image cannot be read"):
        ImageRows(data.splits["train"], "train", None)[1]
