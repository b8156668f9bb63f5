"""`folder`: the user's own images, in a directory with one directory a class.

    root/cats/a.jpg  root/dogs/b.png ...          split 60/20/20
    root/train/cats/a.jpg  root/test/cats/...     as given; root/val too, where there is one

Any format that torchvision's ImageFolder reads, at any depth; hidden files are left out. Each image
is turned as its EXIF says and brought to `data.image_size`: its shorter side is resized, its middle
is kept. All grey is read as one channel, anything else as RGB, without transparency.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.dataset import Dataset
from ablate.data.decode_many import Encoded, decode_all
from ablate.data.image_cache import Room
from ablate.data.source import Source
from ablate.errors import AblateError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm"),
    *(".tif", ".tiff", ".webp", ".gif"),
)
_HOLDOUTS = {"val", "valid", "validation", "test", "testing"}
_WANTED = "data=folder takes a directory that holds one directory of images a class"


def _read(root: Path, settings: Mapping[str, Any], room: Room) -> Source:
    """Decode every image.

    Raises:
        AblateError: An image does not decode; the first few such are named.
    """
    files, classes = _labelled(root)
    encoded = Encoded(
        {name: [os.fspath(path) for path, _ in part] for name, part in files.items()},
        {name: np.array([label for _, label in part], np.int64) for name, part in files.items()},
        classes,
    )
    return decode_all(encoded, room, {"size": settings["image_size"]}).source


def _files(root: Path) -> list[Path]:
    """List all images.

    Raises:
        AblateError: They do not lie as the module's docstring says.
    """
    files, _ = _labelled(root)
    return [path for part in files.values() for path, _ in part]


def _labelled(root: Path) -> tuple[dict[str, list[tuple[Path, int]]], tuple[str, ...]]:
    if not root.is_dir():
        raise AblateError(
            f"data.root={root} is {'a file' if root.exists() else 'not there'}: {_WANTED}"
        )
    roots = _roots(root)
    classes = tuple(path.name for path in _directories(roots["train"]))
    labels = {name: label for label, name in enumerate(classes)}
    parts: dict[str, list[tuple[Path, int]]] = {}
    for part, directory in roots.items():
        parts[part] = []
        for path in _directories(directory):
            if path.name not in labels:
                raise AblateError(f"{path}: there is no such class among {roots['train']}")
            parts[part] += [(image, labels[path.name]) for image in _image_files(path)]
    _refuse_the_unusable(roots, parts, classes)
    return parts, classes


def _roots(root: Path) -> dict[str, Path]:
    """Find the directory of classes of each part; of train alone where the files fix no split."""
    below = {path.name for path in _directories(root)}
    if "train" not in below or not below & _HOLDOUTS:
        return {"train": root}
    if not {"train", "test"} <= below <= {"train", "val", "test"}:
        raise AblateError(
            f"data.root={root} holds the directories {', '.join(sorted(below))}: a split"
            " of your own is train and test, with val or without, and nothing beside them"
        )
    return {name: root / name for name in sorted(below)}


def _refuse_the_unusable(
    roots: dict[str, Path], parts: dict[str, list[tuple[Path, int]]], classes: tuple[str, ...]
) -> None:
    for part, files in parts.items():
        if not files:
            raise AblateError(
                f"data.root: {roots[part]} holds no images below class directories: {_WANTED}"
                f" ({', '.join(EXTENSIONS)})"
            )
    if len(classes) < 2:
        raise AblateError(
            f"data.root: {roots['train']} holds the single class '{classes[0]}': {_WANTED}"
        )
    missing = set(range(len(classes))) - {label for _, label in parts["train"]}
    if missing:
        raise AblateError(f"{roots['train'] / classes[min(missing)]} holds no image: {_WANTED}")


def _directories(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _image_files(directory: Path) -> list[Path]:
    found: list[Path] = []
    seen: set[str] = set()
    for folder, below, names in os.walk(directory, followlinks=True):
        if os.path.realpath(folder) in seen:  # a link that leads round in a circle
            below.clear()
            continue
        seen.add(os.path.realpath(folder))
        below[:] = [name for name in below if not name.startswith(".")]
        paths = [Path(folder, name) for name in names if not name.startswith(".")]
        found += [path for path in paths if path.suffix.lower() in EXTENSIONS and path.is_file()]
    return sorted(found)


FOLDER = Dataset(
    "folder",
    _read,
    _files,
    settings=("image_size",),
    unpublished="it is your own data set",
    kept=True,
)
