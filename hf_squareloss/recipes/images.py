"""Reading image files as RGB, whatever their mode, and finding those that cannot be read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_squareloss.recipes.cache import cache_file
from hf_squareloss.recipes.row_names import only, row_name

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

_SHOWN = 5  # faults that a message lists
_WITHOUT_RANGE = ("I", "F")  # 32 bits a pixel: what is white is not known


def read_image(image: Mapping[str, Any], name: str = "image") -> Image:
    """An image file as RGB, turned as its EXIF says; of an animation the first picture.

    Grey becomes three equal channels (of 16 bits the upper 8), a palette its colours; transparency is dropped.

    Args:
        image: `path`, and `bytes` where the content is at hand.
        name: how errors call it.

    Raises:
        ValueError: a missing or broken file, or one whose pixels have no known range (32-bit integers or floats).
    """
    from PIL import Image, ImageOps

    source = image["path"] if image["bytes"] is None else io.BytesIO(image["bytes"])
    try:
        if source is None:
            raise ValueError("there is neither a path nor bytes")
        with Image.open(source) as opened:
            if opened.mode in _WITHOUT_RANGE:
                raise ValueError(f"its mode is {opened.mode}, pixels of 32 bits, whose range is not known: save 8 bits")
            picture: Any = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I;16"):
                picture = picture.point(lambda value: value / 256).convert("L")
            if "transparency" in picture.info:  # Pillow warns where it converts a palette to RGB at once
                picture = picture.convert("RGBA")
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name}: the image cannot be read: {error}") from error


def image_sizes(
    rows: Dataset,
    split: str,
    *,
    num_proc: int | None = None,
    overwrite: bool = False,
    cache_dir: str | None = None,
) -> set[tuple[int, int]]:
    """All (width, height) of the images of a split, each of which is read once; the answer lies in the cache.

    Raises:
        ValueError: images that cannot be read, by name.
    """
    images = only(rows, "image")
    made = images.map(
        _measure,
        with_indices=True,
        fn_kwargs={"split": split},
        remove_columns=images.column_names,
        num_proc=num_proc,
        load_from_cache_file=not overwrite,
        cache_file_name=cache_file(rows, split, "sizes of images", _stamps(rows), cache_dir=cache_dir),
        desc=f"Reading {split}",
    )
    faults = [fault for fault in made["fault"] if fault is not None]
    if faults:
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise ValueError("; ".join(faults[:_SHOWN]) + more)
    return set(zip(made["width"], made["height"], strict=True))


def _measure(row: dict[str, Any], index: int, split: str) -> dict[str, Any]:
    try:
        width, height = read_image(row["image"], row_name(row, "image", split, index)).size
    except ValueError as error:
        return {"width": 0, "height": 0, "fault": str(error)}
    return {"width": width, "height": height, "fault": None}


def _stamps(rows: Dataset) -> list[Any]:
    """What changes where a file behind a path does."""
    import os

    paths = [row["image"]["path"] for row in rows.select_columns("image") if row["image"]["bytes"] is None]  # type: ignore[index,call-overload]
    found = []
    for path in paths:
        try:
            state = os.stat(path)
            found.append((path, state.st_mtime_ns, state.st_size))
        except OSError:
            found.append((path, None, None))
    return found
