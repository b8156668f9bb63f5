"""`mnist`, `fashion_mnist` and `kmnist`: greyscale images of 28 × 28 pixels in the idx format.

Files are read in place in torchvision's layout, `<root>/<folder>/raw/`, unpacked or compressed.

Source: LeCun, Cortes & Burges, the MNIST database (the idx format); Xiao et al. 2017,
arXiv:1708.07747 (Fashion-MNIST); Clanuwat et al. 2018, arXiv:1812.01718 (KMNIST).
"""

from __future__ import annotations

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np

from ablate.data.source import Array, Part, Source, content, damaged
from ablate.errors import AblateError

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "kmnist": "KMNIST"}
FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_CLOTHES = (
    *("T-shirt", "trouser", "pullover", "dress", "coat"),
    *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
)
_KANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


def present(name: str, root: Path) -> bool:
    """Tell whether all four files are there, compressed or not."""
    return all(find(name, root, stem) for stems in FILES.values() for stem in stems)


def read(name: str, root: Path) -> Source:
    """Read the four files of a set.

    Raises:
        AblateError: A file is damaged; it is named.
    """
    parts = {part: _part(name, root, *stems) for part, stems in FILES.items()}
    shapes = {part.images.shape[1:] for part in parts.values()}
    if len(shapes) > 1:
        raise AblateError(f"{root / FOLDERS[name]}: training and test images differ in size")
    names = {"fashion_mnist": _CLOTHES, "kmnist": _KANA}
    return Source(parts, names.get(name, tuple(str(digit) for digit in range(10))))


def find(name: str, root: Path, stem: str) -> Path | None:
    """Find one file of a set, unpacked if it is there so, else compressed; None if neither is."""
    raw = root / FOLDERS[name] / "raw"
    return next((path for path in (raw / stem, raw / f"{stem}.gz") if path.is_file()), None)


def _part(name: str, root: Path, images_stem: str, labels_stem: str) -> Part:
    images_file, labels_file = find(name, root, images_stem), find(name, root, labels_stem)
    assert images_file is not None, "present() was asked first"
    assert labels_file is not None, "present() was asked first"
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
        raise damaged(path, f"it is no idx file of bytes with {dimensions} dimensions")
    shape = np.frombuffer(raw, ">u4", dimensions, offset=4).astype(int)
    if len(raw) != header + prod(shape.tolist()):
        raise damaged(path, f"{header + prod(shape.tolist())} bytes expected, {len(raw)} found")
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)
