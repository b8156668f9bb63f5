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
from typing import TYPE_CHECKING, Any

import numpy as np

from ablate.data.dataset import Dataset
from ablate.data.source import Array, Part, Source
from ablate.errors import AblateError

if TYPE_CHECKING:
    from PIL import Image

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm"),
    *(".tif", ".tiff", ".webp", ".gif"),
)
_GREY = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N"}
_HOLDOUTS = {"val", "valid", "validation", "test", "testing"}
_WHITE_16 = 2**16 - 1
_TOLD = 5  # broken images in one message
_WANTED = "data=folder takes a directory that holds one directory of images a class"


def _read(root: Path, settings: Mapping[str, Any]) -> Source:
    """Decode every image.

    Raises:
        AblateError: An image does not decode; the first few such are named.
    """
    files, classes = _labelled(root)
    paths = [path for part in files.values() for path, _ in part]
    images = iter(_images(paths, settings["image_size"], _all_grey(paths)))
    parts = {
        name: Part(
            np.stack([next(images) for _ in part]), np.array([label for _, label in part], np.int64)
        )
        for name, part in files.items()
    }
    return Source(parts, classes)


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


def _all_grey(paths: list[Path]) -> bool:
    from PIL import Image  # only to decode: planning, which knows the folder, starts without

    for path in paths:
        try:
            with Image.open(path) as image:
                if image.mode not in _GREY:
                    return False
        # Told when it is decoded, with its reason.
        except Exception:
            continue
    return True


def _images(paths: list[Path], size: int, grey: bool) -> list[Array]:
    images: list[Array] = []
    faults: list[str] = []
    for path in paths:
        try:
            images.append(_image(path, size, grey))
        # Pillow's decoders raise many kinds of error for a broken file.
        except Exception as error:
            faults.append(f"{path} does not decode as an image ({error}); mend it or take it away")
        if len(faults) == _TOLD:
            break
    if faults:
        raise AblateError(*faults)
    return images


def _image(path: Path, size: int, grey: bool) -> Array:
    from PIL import Image, ImageOps

    with Image.open(path) as opened:
        image = _eight_bits(ImageOps.exif_transpose(opened)).convert("L" if grey else "RGB")
    image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if grey else np.moveaxis(pixels, -1, 0)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Bring what `convert` would clip or warn about to a mode that it converts faithfully."""
    from PIL import Image

    if image.mode == "P" and image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode == "F":
        raise ValueError("its pixels are floating point, of no known range; 8 or 16 bits are read")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > _WHITE_16:
        raise ValueError("its pixels have more than 16 bits; 8 or 16 bits are read")
    return Image.fromarray((values >> 8).astype(np.uint8))


FOLDER = Dataset(
    "folder", _read, _files, settings=("image_size",), unpublished="it is your own data set"
)
