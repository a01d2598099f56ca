"""Images of every mode become RGB; those that cannot be read are named."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from hf_squareloss.recipes.images import image_sizes, read_image


def stored(image: Image.Image, kind: str = "PNG", **options: Any) -> dict[str, Any]:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return {"path": None, "bytes": file.getvalue()}


def of(value: Any, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (2, 1), value)


def palette() -> Image.Image:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([0, 0, 0, 9, 8, 7])
    image.info["transparency"] = b"\x00\xff"
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (of((9, 8, 7)), (9, 8, 7)),
        (of(200, "L"), (200, 200, 200)),
        (of(1, "1"), (255, 255, 255)),
        (of((9, 8, 7, 0), "RGBA"), (9, 8, 7)),
        (of((5, 0), "LA"), (5, 5, 5)),
        (palette(), (9, 8, 7)),
        (Image.fromarray(np.full((1, 2), 40_000, np.uint16)), (156, 156, 156)),  # and not white
    ],
    ids=["RGB", "L", "1", "RGBA", "LA", "P", "I;16"],
)
def test_every_mode_becomes_rgb(image: Image.Image, expected: tuple[int, int, int]) -> None:
    found = read_image(stored(image))
    assert found.mode == "RGB" and found.size == (2, 1) and found.getpixel((1, 0)) == expected


def test_exif_turns_and_animations_stand_still() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    assert read_image(stored(of((9, 8, 7)), "JPEG", exif=exif)).size == (1, 2)
    frames = [of((0, 0, 0)), of((255, 255, 255))]
    first = read_image(stored(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert first.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no image", "x: the image cannot be read: cannot identify"),
        (b"", "x: the image cannot be read: cannot identify"),
        (stored(of((1, 2, 3)).resize((64, 64)), "BMP")["bytes"][:500], "x: the image cannot be read: .*truncated"),
        (stored(of(0.5, "F"), "TIFF")["bytes"], "its mode is F"),
    ],
)
def test_broken_images(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_image({"path": None, "bytes": content}, "x")
    with pytest.raises(ValueError, match="No such file"):
        read_image({"path": "nowhere.png", "bytes": None})
    with pytest.raises(ValueError, match="neither a path nor bytes"):
        read_image({"path": None, "bytes": None})


def test_all_images_are_read_once_and_the_broken_ones_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for i in range(3):
        Image.new("RGB", (4 + i // 2, 4)).save(tmp_path / f"{i}.png")
    rows = Dataset.from_dict({"image": [{"path": str(tmp_path / f"{i}.png"), "bytes": None} for i in range(3)]})
    options = {"cache_dir": str(tmp_path / "cache")}
    assert image_sizes(rows, "train", **options) == {(4, 4), (5, 4)}
    before = len(list((tmp_path / "cache").rglob("*.arrow")))
    assert image_sizes(rows, "train", **options) == {(4, 4), (5, 4)}
    assert len(list((tmp_path / "cache").rglob("*.arrow"))) == before == 1
    (tmp_path / "1.png").write_bytes(b"broken")  # what was cached no longer counts
    with pytest.raises(ValueError, match=r"train row 2 \(.*1.png\): the image cannot be read"):
        image_sizes(rows, "train", **options)
