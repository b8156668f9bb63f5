"""`svhn`: house numbers, cropped to digits, colour images of 32 × 32 pixels in MATLAB files.

Files are read in place in torchvision's layout, `<root>/train_32x32.mat` and `test_32x32.mat`.

Source: Netzer et al. 2011, "Reading digits in natural images with unsupervised feature learning".
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.dataset import Dataset, File
from ablate.data.source import Part, Source, content, damaged

_FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
_ZERO = 10  # how the files label a zero


def _files(root: Path) -> list[Path]:
    return [root / file for file in _FILES.values()]


def _read(root: Path, settings: Mapping[str, Any]) -> Source:
    parts = {part: _part(root / file) for part, file in _FILES.items()}
    return Source(parts, tuple(str(digit) for digit in range(10)))


def _published() -> list[File]:
    from torchvision import datasets  # keeps addresses and checksums up to date; slow to import

    published = [datasets.SVHN.split_list[part] for part in _FILES]
    return [File(file, md5, (url,)) for url, file, md5, *_ in published]


def _part(path: Path) -> Part:
    from scipy.io import loadmat

    raw = content(path)
    try:
        found = loadmat(io.BytesIO(raw))
        images = np.ascontiguousarray(np.transpose(found["X"], (3, 2, 0, 1)))
        stored = found["y"].ravel()
    # scipy raises many kinds of error for a file that is cut off.
    except Exception as error:
        raise damaged(path, f"it cannot be read as a MATLAB file of images ({error})") from error
    if images.dtype != np.uint8 or images.shape[1:] != (3, 32, 32):
        raise damaged(path, f"its images are {images.dtype} {images.shape[1:]}")
    if len(images) != len(stored) or len(stored) == 0:
        raise damaged(path, f"it holds {len(stored)} labels for {len(images)} images")
    labels = stored.astype(np.int64)
    if (labels != stored).any() or labels.min() < 0 or labels.max() > _ZERO:
        raise damaged(path, f"its labels are not whole numbers from 1 to {_ZERO}")
    return Part(images, labels % _ZERO)


SVHN = Dataset("svhn", _read, _files, published=_published)
