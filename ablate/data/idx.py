"""`mnist`, `fashion_mnist` and `kmnist`: greyscale images of 28 × 28 pixels in the idx format.

Files are read in place in torchvision's layout, `<root>/<folder>/raw/`, unpacked or compressed.

Source: LeCun, Cortes & Burges, the MNIST database (the idx format); Xiao et al. 2017,
arXiv:1708.07747 (Fashion-MNIST); Clanuwat et al. 2018, arXiv:1812.01718 (KMNIST).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from fractions import Fraction
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.dataset import Dataset, File
from ablate.data.source import Array, Part, Source, content, damaged
from ablate.errors import AblateError

_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def _files(folder: str, root: Path) -> list[Path]:
    """Find each of the four files: unpacked if that exists, else compressed."""
    raw = root / folder / "raw"
    stems = [stem for pair in _STEMS.values() for stem in pair]
    return [raw / stem if (raw / stem).is_file() else raw / f"{stem}.gz" for stem in stems]


def _read(folder: str, classes: tuple[str, ...], root: Path, settings: Mapping[str, Any]) -> Source:
    files = iter(_files(folder, root))
    parts = {part: _part(next(files), next(files)) for part in _STEMS}
    shapes = {part.images.shape[1:] for part in parts.values()}
    if len(shapes) > 1:
        raise AblateError(f"{root / folder}: training and test images differ in size")
    return Source(parts, classes)


def _published(folder: str) -> list[File]:
    from torchvision import datasets  # keeps addresses and checksums up to date; slow to import

    cls: Any = getattr(datasets, folder)
    return [
        File(f"{folder}/raw/{file}", md5, tuple(f"{mirror}{file}" for mirror in cls.mirrors))
        for file, md5 in cls.resources
    ]


def _part(images_file: Path, labels_file: Path) -> Part:
    images, labels = _array(images_file, dimensions=3), _array(labels_file, dimensions=1)
    if len(images) != len(labels):
        raise damaged(labels_file, f"it holds {len(labels)} labels for {len(images)} images")
    if len(labels) == 0:
        raise damaged(labels_file, "it is empty")
    if labels.max() > 9:
        raise damaged(labels_file, f"it holds the label {labels.max()}")
    if images.size == 0:
        raise damaged(images_file, f"its images have {images.shape[1]} × {images.shape[2]} pixels")
    return Part(images[:, None], labels.astype(np.int64))


def _array(path: Path, dimensions: int) -> Array:
    """Decode an idx file of bytes: 0, 0, 8 (unsigned byte), dimensions, sizes, data."""
    raw = content(path)
    try:
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"it does not decompress ({error})") from error
    header = 4 + 4 * dimensions
    if raw[:4] != bytes([0, 0, 8, dimensions]) or len(raw) < header:
        raise damaged(path, f"it is not an idx file of bytes with {dimensions} dimensions")
    shape = np.frombuffer(raw, ">u4", dimensions, offset=4).astype(int)
    if len(raw) != header + prod(shape.tolist()):
        raise damaged(path, f"{header + prod(shape.tolist())} bytes expected, {len(raw)} found")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _dataset(name: str, folder: str, classes: tuple[str, ...]) -> Dataset:
    return Dataset(
        name,
        partial(_read, folder, classes),
        partial(_files, folder),
        published=partial(_published, folder),
        val_share=Fraction(1, 12),  # 5,000 of 60,000
    )


MNIST = _dataset("mnist", "MNIST", tuple(str(digit) for digit in range(10)))
FASHION_MNIST = _dataset(
    "fashion_mnist",
    "FashionMNIST",
    (
        *("T-shirt", "trouser", "pullover", "dress", "coat"),
        *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
    ),
)
KMNIST = _dataset("kmnist", "KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"))
