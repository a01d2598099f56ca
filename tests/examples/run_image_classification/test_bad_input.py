"""examples/run_image_classification.py with data that cannot be used: each is named, before anything is trained."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from example_scripts import results
from picture_files import SHORT
from PIL import Image

Run = Callable[..., dict[str, float]]


@pytest.fixture
def train(folders: list[str], tmp_path: Path) -> Path:
    """A copy of the training folder, to be spoilt."""
    return Path(shutil.copytree(folders[1], tmp_path / "train"))


def test_broken_images(run: Run, train: Path) -> None:
    for name in ("across/000.png", "upright/001.png"):
        (train / name).write_bytes((train / name).read_bytes()[:60])
    with pytest.raises(ValueError, match=r"train row 1 \(.*000.png\): the image cannot be read: .*; train row 33 "):
        run(*SHORT, "--train_dir", str(train))


def test_images_of_a_mode_without_a_range(run: Run, train: Path) -> None:
    Image.fromarray(np.ones((8, 8), np.float32)).save(train / "across" / "zzz.tiff")
    with pytest.raises(ValueError, match=r"train row 33 \(.*zzz.tiff\): .* its mode is F, pixels of 32 bits"):
        run(*SHORT, "--train_dir", str(train))


def test_lists_of_nothing_and_of_files_that_are_not_there(train: Path, tmp_path: Path) -> None:
    from example_scripts import QUIET, load_example
    from picture_files import MODEL

    main, file = load_example("run_image_classification").main, tmp_path / "list.csv"
    given = [*MODEL, "--train_file", str(file), *SHORT, *QUIET, "--output_dir", str(tmp_path / "out")]
    for content, message in (
        ("", "the train split is empty: no rows in .*list.csv"),
        ("image,label\n", "the train split is empty"),
        ("image,label\nno.png,a\n", r"train row 1 \(.*no.png\): the image cannot be read: .*No such file"),
        (f"image,label\n{train},a\n", r"train row 1 .*: the image cannot be read: .*directory"),
        (f"image,label\n{train / 'across' / '000.png'},\n", "the train split has an empty label in row 1"),
    ):
        file.write_text(content)
        with pytest.raises(ValueError, match=message):
            main(given)


def test_folders_without_images(run: Run, train: Path) -> None:
    shutil.rmtree(train / "across")
    (train / "across").mkdir()
    with pytest.raises(ValueError, match="the class folder 'across' has no image file"):
        run(*SHORT, "--train_dir", str(train))
    shutil.rmtree(train / "across")
    with pytest.raises(ValueError, match="the validation split has labels that the training labels do not have"):
        run(*SHORT, "--train_dir", str(train))


def test_validation_without_folders_by_class(run: Run, train: Path) -> None:
    for file in list(train.rglob("*.png")):
        file.rename(train / file.name)
    with pytest.raises(ValueError, match="the validation folder .* 000.png lies in no class's folder"):
        run(*SHORT, "--validation_dir", str(train))


def test_grey_colour_and_other_sizes_go_together(run: Run, train: Path, tmp_path: Path) -> None:
    grey = train / "across" / "000.png"
    Image.open(grey).convert("L").save(grey)
    Image.open(train / "upright" / "001.png").convert("RGBA").resize((30, 20)).save(train / "upright" / "001.png")
    sixteen = np.full((9, 9), 30_000, np.uint16)
    Image.fromarray(sixteen).save(train / "upright" / "003.png")
    run(*SHORT, "--train_dir", str(train), "--image_size", "8", "--do_train", "--do_eval")
    assert results(tmp_path / "out")["train_samples"] == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config_overrides", "num_channels=1"], "the model takes 1 channels"),
        (["--class_weights", "across=1,askew=2"], "no class is called 'askew'"),
        (["--augmentations", "crop", "turn"], "augmentations must be of crop, flip"),
        (["--min_crop_area", "0"], "min_crop_area must be in"),
        (["--train_file", "x.csv"], "exclude each other"),
        (["--image_root", "x"], "image_root would be ignored"),
        (["--image_size", "0"], "image_size must be at least 1"),
        (["--image_size", "1"], "of at least 2 x 2 pixels"),
        (["--train_val_split", "0.1"], "train_val_split would be ignored"),
    ],
)
def test_options_that_do_not_fit(
    options: list[str], message: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises((ValueError, SystemExit)) as error:
        run(*SHORT, *options)
    assert message in (str(error.value) + capsys.readouterr().err)


def test_a_validation_part_of_the_training_folder(run: Run, folders: list[str], tmp_path: Path) -> None:
    from example_scripts import QUIET, load_example
    from picture_files import MODEL

    main = load_example("run_image_classification").main
    given = [*MODEL, "--train_dir", folders[1], "--train_val_split", "0.25", *SHORT, *QUIET]
    found = main([*given, "--output_dir", str(tmp_path / "cut")])
    assert (found["train_samples"], found["eval_samples"]) == (48, 16)
