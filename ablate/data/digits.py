"""`digits`: 1,797 scanned handwritten digits of 8 × 8 pixels with 17 grey levels.

They ship inside scikit-learn, so nothing is downloaded. Read straight from its file, since
importing scikit-learn takes longer than a short run.

Source: Alpaydin & Kaynak 1998, UCI Machine Learning Repository (the test part of optdigits).
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ablate.data.dataset import Dataset
from ablate.data.source import Part, Source
from ablate.errors import AblateError

SHAPE = (1, 8, 8)
_LEVELS = 16  # the file's white; stretched to 255
_AGAIN = "`pip install --force-reinstall scikit-learn` puts it back"


def _files(root: Path) -> list[Path]:
    """Find scikit-learn's file.

    Raises:
        AblateError: It is not there.
    """
    spec = find_spec("sklearn")  # finds the package without importing it
    if spec is None or spec.origin is None:
        raise AblateError("data=digits is a file of scikit-learn, which is not installed here")
    path = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if not path.is_file():
        raise AblateError(f"data=digits is read from {path}, which is not there; {_AGAIN}")
    return [path]


def _read(root: Path, settings: Mapping[str, Any]) -> Source:
    (path,) = _files(root)
    try:
        with gzip.open(path, "rt", encoding="ascii") as lines:
            table = np.loadtxt(lines, delimiter=",", dtype=np.int64)
        grey = table[:, :-1].reshape(-1, *SHAPE)
    except (OSError, EOFError, zlib.error, ValueError, IndexError) as error:
        raise AblateError(f"{path} cannot be read ({error}); {_AGAIN}") from error
    images = (grey * 255 // _LEVELS).astype(np.uint8)
    return Source({"train": Part(images, table[:, -1])}, tuple(str(digit) for digit in range(10)))


DIGITS = Dataset("digits", _read, _files, unpublished="it ships inside scikit-learn")
