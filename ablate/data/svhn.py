"""`svhn`: house numbers, cropped to digits, colour images of 32 × 32 pixels in MATLAB files.

Files are read in place in torchvision's layout, `<root>/train_32x32.mat` and `test_32x32.mat`.

Source: Netzer et al. 2011, "Reading digits in natural images with unsupervised feature learning".
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ablate.data.source import Part, Source
from ablate.errors import AblateError

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}


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

    try:
        content = loadmat(path)
        images = np.ascontiguousarray(np.transpose(content["X"], (3, 2, 0, 1)))
        labels = content["y"].astype(np.int64).ravel() % 10  # the files call zero ten
    # scipy raises many kinds of error for a file that is cut off.
    except Exception as error:
        raise AblateError(
            f"{path} is damaged: it does not read as a MATLAB file ({error});"
            " delete it and it is fetched anew"
        ) from error
    if images.dtype != np.uint8 or len(images) != len(labels) or len(labels) == 0:
        raise AblateError(
            f"{path} is damaged: its images and labels do not match;"
            " delete it and it is fetched anew"
        )
    return Part(images, labels)
