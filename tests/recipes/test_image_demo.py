"""The digits of the image demo."""

from hf_squareloss.recipes.image_demo import SIDE, handwritten_digits, pixel_baseline
from hf_squareloss.recipes.images import read_image


def test_digits_in_three_splits() -> None:
    data = handwritten_digits()
    assert {name: len(rows) for name, rows in data.splits.items()} == {"train": 1078, "validation": 270, "test": 449}
    assert data.label_names == [str(digit) for digit in range(10)]
    row = data.splits["test"][0]
    image = read_image(row["image"])
    assert image.size == (SIDE, SIDE) and image.getextrema()[0] == (0, 255)
    files = [content["bytes"] for rows in data.splits.values() for content in rows["image"]]
    assert len(set(files)) > 1790  # two are equal
    assert handwritten_digits(1).splits["test"]["label"][:] != data.splits["test"]["label"][:]


def test_the_baseline() -> None:
    assert 0.95 < pixel_baseline(handwritten_digits()) < 0.99
