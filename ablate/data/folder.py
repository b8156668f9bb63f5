"""`folder`: the user's own images, in a directory with one directory a class.

    root/cats/a.jpg  root/dogs/b.png ...          split 60/20/20
    root/train/cats/a.jpg  root/test/cats/...     as given; root/val too, where there is one

Any format that torchvision's ImageFolder reads. Each image is brought to `data.image_size`: its
shorter side is resized, its middle is kept. All grey is read as one channel, anything else as RGB.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ablate.data.source import Array, Part, Source
from ablate.errors import AblateError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm"),
    *(".tif", ".tiff", ".webp", ".gif"),
)
_GREY = {"1", "L", "I", "I;16", "F"}


def count(root: Path) -> tuple[dict[str, int], int]:
    """Count the images of each part, and the classes, without decoding any.

    Raises:
        AblateError: There is no such directory, or no images, or a single class.
    """
    parts, classes = _files(root)
    return {name: len(files) for name, files in parts.items()}, len(classes)


def read(root: Path, image_size: int) -> Source:
    """Decode every image.

    Raises:
        AblateError: An image does not decode; the first few such are named.
    """
    files, classes = _files(root)
    grey = _all_grey([path for part in files.values() for path, _ in part])
    parts = {
        name: Part(
            np.stack([_image(path, image_size, grey) for path, _ in part]),
            np.array([label for _, label in part], np.int64),
        )
        for name, part in files.items()
    }
    return Source(parts, classes)


def _files(root: Path) -> tuple[dict[str, list[tuple[Path, int]]], tuple[str, ...]]:
    if not root.is_dir():
        raise AblateError(
            f"data.root={root} is {'a file' if root.exists() else 'not there'}: data=folder takes"
            " a directory that holds one directory of images a class"
        )
    below = {path.name for path in _directories(root)}
    given = below if {"train", "test"} <= below <= {"train", "val", "test"} else set()
    roots = {name: root / name for name in sorted(given)} or {"train": root}
    classes = tuple(path.name for path in _directories(roots["train"]))
    labels = {name: label for label, name in enumerate(classes)}
    parts: dict[str, list[tuple[Path, int]]] = {}
    for part, directory in roots.items():
        parts[part] = []
        for path in _directories(directory):
            if path.name not in labels:
                raise AblateError(f"{path}: there is no such class among {roots['train']}")
            parts[part] += [(image, labels[path.name]) for image in _images(path)]
    _refuse_the_unusable(root, parts, classes)
    return parts, classes


def _refuse_the_unusable(
    root: Path, parts: dict[str, list[tuple[Path, int]]], classes: tuple[str, ...]
) -> None:
    wanted = "data=folder takes a directory that holds one directory of images a class"
    if not any(parts.values()):
        raise AblateError(
            f"data.root={root} holds no images below class directories: {wanted}"
            f" ({', '.join(EXTENSIONS)})"
        )
    if len(classes) < 2:
        raise AblateError(f"data.root={root} holds the single class '{classes[0]}': {wanted}")
    for part, files in parts.items():
        missing = set(range(len(classes))) - {label for _, label in files}
        if part == "train" and missing:
            raise AblateError(f"{root / classes[min(missing)]} holds no image: {wanted}")
        if not files:
            raise AblateError(f"{root / part} holds no image")


def _directories(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def _images(directory: Path) -> list[Path]:
    return sorted(p for p in directory.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())


def _all_grey(paths: list[Path]) -> bool:
    for path in paths:
        try:
            with Image.open(path) as image:
                if image.mode not in _GREY:
                    return False
        # Told when it is decoded, with its reason.
        except (OSError, ValueError, SyntaxError):
            continue
    return True


def _image(path: Path, size: int, grey: bool) -> Array:
    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("L" if grey else "RGB")
    # Pillow raises these, and SyntaxError for some broken PNG files.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise AblateError(
            f"{path} does not decode as an image ({error}); mend it or take it away"
        ) from error
    image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8)
    return pixels[None] if grey else np.moveaxis(pixels, -1, 0)
