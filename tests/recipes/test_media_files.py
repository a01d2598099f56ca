"""Images and sounds with classes: from folders, lists and data sets by name, in one shape."""

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from picture_files import write_pictures

from hf_squareloss.recipes.images import read_image
from hf_squareloss.recipes.media_arguments import MediaDataArguments
from hf_squareloss.recipes.media_files import load_class_folders, load_listed, load_named_media
from hf_squareloss.recipes.row_names import PLACE


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    options = write_pictures(tmp_path / "pictures", {"train": 4, "validation": 2})
    return {"train": options[1], "validation": options[3]}


def test_folders_by_class(folders: dict[str, str]) -> None:
    data = load_class_folders(folders, "image")
    assert data.label_names == ["across", "upright"]
    assert data.splits["train"]["label"][:] == [0, 0, 1, 1] and data.splits["validation"]["label"][:] == [0, 1]
    image = data.splits["train"][0]["image"]
    assert image == {"path": f"{folders['train']}/across/000.png", "bytes": None}


def test_a_class_that_training_lacks(folders: dict[str, str]) -> None:
    (Path(folders["validation"]) / "across").rename(Path(folders["validation"]) / "askew")
    with pytest.raises(ValueError, match="the validation split has labels that the training labels do not have: askew"):
        load_class_folders(folders, "image")


def test_lists(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("file,kind,more\na.png,1.0,x\nb.png,2.5,y\n")
    (tmp_path / "test.csv").write_text("file\nc.png\n")
    files = {split: str(tmp_path / f"{split}.csv") for split in ("train", "test")}
    data = load_listed(files, "image", column="file", label_column="kind")
    assert data.label_names == ["1.0", "2.5"]  # classes, and no real values
    assert data.splits["train"].column_names == ["image", "label", PLACE] and data.splits["test"].column_names == [
        "image",
        PLACE,
    ]
    assert data.splits["test"][0]["image"] == {"path": str(tmp_path / "c.png"), "bytes": None}
    moved = load_listed(files, "image", column="file", label_column="kind", root="elsewhere")
    assert moved.splits["test"][0]["image"]["path"] == "elsewhere/c.png"
    for column, message in (("path", "no column 'path'; it has file"), ("file", "no column 'label'")):
        with pytest.raises(ValueError, match=message):
            load_listed(files, "image", column=column)
    (tmp_path / "train.csv").write_text("image,label\n,1\n")
    with pytest.raises(ValueError, match="train row 1: expected the path of an image file"):
        load_listed({"train": files["train"]}, "image")


def test_segments_of_sounds(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("audio,label,offset,duration\na.wav,x,0.5,1\na.wav,y,1.5,\n")
    rows = load_listed({"train": str(tmp_path / "train.csv")}, "audio").splits["train"]
    assert [(row["offset"], row["duration"]) for row in rows["audio"]] == [(0.5, 1.0), (1.5, None)]


def test_a_data_set_by_name(folders: dict[str, str], tmp_path: Path) -> None:
    files = sorted(Path(folders["train"]).rglob("*.png"))
    rows = Dataset.from_dict(
        {"img": [{"path": None, "bytes": file.read_bytes()} for file in files], "fine": [1, 0, 1, 0]},
        features=Features({"img": Image(), "fine": ClassLabel(names=["no", "yes"])}),
    )
    (tmp_path / "named").mkdir()
    rows.to_parquet(tmp_path / "named" / "train.parquet")
    options: dict[str, Any] = {"split_names": {}, "cache_dir": str(tmp_path / "cache")}
    data = load_named_media(str(tmp_path / "named"), None, "image", column="img", label_column="fine", **options)
    assert data.label_names == ["no", "yes"] and data.splits["train"]["label"][:] == [1, 0, 1, 0]
    assert read_image(data.splits["train"][0]["image"]).size == (8, 8)
    with pytest.raises(ValueError, match="no column 'image'; it has img, fine"):
        load_named_media(str(tmp_path / "named"), None, "image", label_column="fine", **options)


def test_a_folder_that_datasets_reads(folders: dict[str, str], tmp_path: Path) -> None:
    parent = str(Path(folders["train"]).parent)
    data = load_named_media(parent, None, "image", split_names={}, cache_dir=str(tmp_path / "cache"))
    assert data.label_names == ["across", "upright"] and set(data.splits) == {"train", "validation"}


def test_sounds_with_metadata(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "metadata.csv").write_text("file_name,label\na.wav,x\nb.wav,y\n")
    names = MediaDataArguments(dataset_name=str(tmp_path)).split_names
    assert set(load_named_media(str(tmp_path), None, "audio", split_names=names).splits) == {"train", "test"}
    data = load_named_media(str(tmp_path), None, "audio", split_names={**names, "validation": "test"})
    assert set(data.splits) == {"train", "validation", "test"} and len(data.splits["validation"]) == 2
    data = load_named_media(str(tmp_path), None, "audio", split_names={"test": "test"})
    assert data.label_names == ["x", "y"] and set(data.splits) == {"train", "test"}
    assert data.splits["test"][1]["audio"]["path"] == f"{tmp_path}/test/b.wav"
    assert data.splits["test"].features["audio"]["path"] == Value("string")


def test_other_columns_may_hold_anything(tmp_path: Path) -> None:
    lines = ['{"audio": "a.wav", "label": "x", "meta": "x"}', '{"audio": "b.wav", "label": "y", "meta": ["y"]}']
    (tmp_path / "train.json").write_text("\n".join(lines))
    assert load_listed({"train": str(tmp_path / "train.json")}, "audio").splits["train"]["label"][:] == [0, 1]
    (tmp_path / "test.json").write_text("\n".join(line.replace('"label"', '"more"') for line in lines))
    files = {split: str(tmp_path / f"{split}.json") for split in ("train", "test")}
    assert load_listed(files, "audio").splits["test"].column_names == ["audio", PLACE]
