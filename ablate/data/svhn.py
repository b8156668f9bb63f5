"""`svhn`: house numbers, cropped to digits, colour images of 32 × 32 pixels in MATLAB files.

Files are read in place in torchvision's layout, `<root>/train_32x32.mat` and `test_32x32.mat`.

Source: Netzer et al. 2011, "Reading digits in natural images with unsupervised feature learning".
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ablate.data.source import Part, Source, content, damaged

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
_ZERO = 10  # how the files label a zero


def present(root: Path) -> bool:
    """Tell whether both files are there."""
    return all((root / file).is_file() for file in FILES.values())


def read(root: Path) -> Source:
    """Read both files.

    Raises:
        AblateError: A file is damaged; it is named.
    """
    parts = {part: _part(root / file) for part, file in FILES.items()}
    return Source(parts, tuple(str(digit) for digit in range(10)))


def _part(path: Path) -> Part:
    from scipy.io import loadmat

    raw = content(path)
    try:
        found = loadmat(io.BytesIO(raw))
        images = np.ascontiguousarray(np.transpose(found["X"], (3, 2, 0, 1)))
        stored = found["y"].ravel()
    # scipy raises many kinds of error for a file that is cut off.
    except Exception as error:
        raise damaged(path, f"it does not read as a MATLAB file of images ({error})") from error
    if images.dtype != np.uint8 or images.shape[1:] != (3, 32, 32):
        raise damaged(path, f"its images are {images.dtype} {images.shape[1:]}")
    if len(images) != len(stored) or len(stored) == 0:
        raise damaged(path, f"it holds {len(stored)} labels for {len(images)} images")
    labels = stored.astype(np.int64)
    if (labels != stored).any() or labels.min() < 0 or labels.max() > _ZERO:
        raise damaged(path, f"its labels are not whole numbers from 1 to {_ZERO}")
    return Part(images, labels % _ZERO)
