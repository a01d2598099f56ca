"""Files whose class is the name of the folder that they lie in, as datasets reads imagefolder and audiofolder.

cats-and-dogs/train/cat/1.png
cats-and-dogs/train/dog/a.png
"""

from __future__ import annotations

from pathlib import Path

from hf_squareloss.recipes.tables import Columns

IMAGES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
SOUNDS = frozenset((".aif", ".aiff", ".au", ".flac", ".mp3", ".npy", ".ogg", ".opus", ".wav"))
SUFFIXES = {"image": IMAGES, "audio": SOUNDS}


def read_class_folder(folder: str | Path, split: str, kind: str) -> Columns:
    """The files below a folder in the order of their paths: columns `kind`, a path, and `label`, its folder's name.

    Hidden files and files of other suffixes are passed over.

    Args:
        split: how errors call it. The files of "test" may lie in `folder` itself: then they have no label.
        kind: "image" or "audio", as in `SUFFIXES`.

    Raises:
        ValueError: no such folder, no file of this kind in it, a class's folder without any, or a file that lies in
            no class's folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ValueError(f"the {split} folder {folder} does not exist")
    files = [path for path in sorted(root.rglob("*")) if _is_of(path, root, kind)]
    if not files:
        raise ValueError(f"the {split} folder {folder} has no {kind} file ({', '.join(sorted(SUFFIXES[kind]))})")
    outside = [path for path in files if path.parent == root]
    if outside and (split != "test" or len(outside) < len(files)):
        raise ValueError(
            f"the {split} folder {folder}: {outside[0].name} lies in no class's folder; expected "
            f"{folder}/CLASS/{outside[0].name}"
        )
    used = {path.relative_to(root).parts[0] for path in files}
    empty = sorted(path.name for path in root.iterdir() if _is_class(path) and path.name not in used)
    if empty and not outside:
        raise ValueError(f"the {split} folder {folder}: the class folder {empty[0]!r} has no {kind} file")
    columns: Columns = {kind: [str(path) for path in files]}
    return columns if outside else columns | {"label": [path.parent.name for path in files]}


def _is_of(path: Path, root: Path, kind: str) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return not hidden and path.suffix.lower() in SUFFIXES[kind] and path.is_file()


def _is_class(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")
