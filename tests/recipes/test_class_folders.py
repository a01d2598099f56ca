"""Files whose class is the name of their folder, and folders that cannot be read so."""

from pathlib import Path

import pytest

from hf_squareloss.recipes.class_folders import read_class_folder


def folder(root: Path, *files: str) -> Path:
    root.mkdir()
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_the_last_folder_is_the_class(tmp_path: Path) -> None:
    root = folder(tmp_path / "train", "dog/b.PNG", "cat/1.jpg", "more/cat/2.gif", "cat/notes.txt", "cat/.3.png")
    found = read_class_folder(root, "train", "image")
    assert found["image"] == [str(root / name) for name in ("cat/1.jpg", "dog/b.PNG", "more/cat/2.gif")]
    assert found["label"] == ["cat", "dog", "cat"]


def test_a_test_folder_may_have_no_classes(tmp_path: Path) -> None:
    root = folder(tmp_path / "new", "b.wav", "a.flac")
    assert read_class_folder(root, "test", "audio") == {"audio": [str(root / "a.flac"), str(root / "b.wav")]}
    with pytest.raises(ValueError, match="a.flac lies in no class's folder"):
        read_class_folder(root, "validation", "audio")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "train has no image file"),
        (["cat/1.wav"], "train has no image file"),
        (["cat/1.png", "dog/notes.txt"], "the class folder 'dog' has no image file"),
        (["cat/1.png", "2.png"], "2.png lies in no class's folder"),
    ],
)
def test_what_cannot_be_read_is_named(files: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_class_folder(folder(tmp_path / "train", *files), "train", "image")
    with pytest.raises(ValueError, match="the test folder .*nowhere does not exist"):
        read_class_folder(tmp_path / "nowhere", "test", "image")
    with pytest.raises(ValueError, match="lies in no class's folder"):
        read_class_folder(folder(tmp_path / "mixed", "cat/1.png", "2.png"), "test", "image")
