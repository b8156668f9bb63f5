"""`digits`: 1,797 scanned handwritten digits of 8 × 8 pixels with 17 grey levels.

They ship inside scikit-learn, so nothing is downloaded. Read straight from its file, since
importing scikit-learn takes longer than a short run.

Source: Alpaydin & Kaynak 1998, UCI Machine Learning Repository (the test part of optdigits).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ablate.data.source import Part, Source

SHAPE = (1, 8, 8)
_LEVELS = 16  # the file's white; stretched to 255


def read() -> Source:
    """Read the digits."""
    spec = find_spec("sklearn")
    assert spec is not None, "scikit-learn is a dependency"
    assert spec.origin is not None, "scikit-learn is a dependency"
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(path, delimiter=",", dtype=np.int64)
    grey = table[:, :-1].reshape(-1, *SHAPE)
    images = (grey * 255 // _LEVELS).astype(np.uint8)
    return Source({"train": Part(images, table[:, -1])}, tuple(str(digit) for digit in range(10)))
