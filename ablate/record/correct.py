"""Which test images a run got right: correct.npy, a bit an image.

The images are in the order of the test split, as the data set is split; the record beside it has
the digest of the data and the number of images. From the bits of two networks follows on which
images they differ, and so how a difference would vary over new images.
"""

from __future__ import annotations

import io
from pathlib import Path
from tokenize import TokenError
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ablate.record import checksum
from ablate.record.names import CORRECT
from ablate.record.writing import replacing

# numpy has Python parse the header, which may raise any of these on a damaged one.
_DAMAGE: Final = (
    *(OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError, OverflowError),
    TokenError,
)


def write_correct(directory: Path, correct: NDArray[np.bool_] | None) -> None:
    """Replace a run's file atomically, or remove it.

    Args:
        directory: The run's folder.
        correct: [N], or None of a run that has no answers.
    """
    if correct is None:
        (directory / CORRECT).unlink(missing_ok=True)
        return
    whole = io.BytesIO()  # numpy would report a full disk as some other error
    np.save(whole, np.packbits(correct), allow_pickle=False)
    with replacing(directory / CORRECT) as file:
        file.write(whole.getbuffer())
        file.write(checksum.tail_of(whole.getbuffer()))


def read_correct(directory: Path, images: int, count: int) -> NDArray[np.uint8] | None:
    """Read a run's file, still packed: `numpy.unpackbits` with ``count=images`` gives the images.

    Args:
        directory: The run's folder.
        images: Images in its test split, by its record.
        count: How many of them it got right, by its record.

    Returns:
        uint8 [images / 8, rounded up]; None where there is no file, as of an older run, or where
        it is not what the record was written with.
    """
    try:
        content = (directory / CORRECT).read_bytes()
    except OSError:
        return None
    if checksum.soundness(content) == "damaged":
        return None
    whole = io.BytesIO(checksum.body_of(content))
    try:
        packed = np.load(whole, allow_pickle=False)
    except _DAMAGE:
        return None
    if whole.read(1):  # a checksum that is none any more
        return None
    if packed.dtype != np.uint8 or packed.shape != (-(-images // 8),):
        return None
    return packed if int(np.unpackbits(packed).sum()) == count else None
