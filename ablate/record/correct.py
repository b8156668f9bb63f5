"""Which test images a run got right: correct.npy, one bit per image.

Images are in the order of the test split. The record beside it has the data's digest and the number
of images. The bits of two networks show on which images they differ, which tells how much their
difference would vary over new images.
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

# numpy lets Python parse the header, which may raise any of these if it is damaged.
_DAMAGE: Final = (
    *(OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError, OverflowError),
    TokenError,
)


def write_correct(directory: Path, correct: NDArray[np.bool_] | None) -> None:
    """Replace a run's file atomically, or remove it.

    Args:
        directory: The run's folder.
        correct: [N], or None for a run without answers.
    """
    if correct is None:
        (directory / CORRECT).unlink(missing_ok=True)
        return
    whole = io.BytesIO()  # numpy would report a full disk as another error
    np.save(whole, np.packbits(correct), allow_pickle=False)
    with replacing(directory / CORRECT) as file:
        file.write(whole.getbuffer())
        file.write(checksum.tail_of(whole.getbuffer()))


def read_correct(directory: Path, images: int, count: int) -> NDArray[np.uint8] | None:
    """Read a run's file, still packed: `numpy.unpackbits` with ``count=images`` gives the images.

    Args:
        directory: The run's folder.
        images: Images in its test split, according to its record.
        count: How many of them it got right, according to its record.

    Returns:
        uint8 [images / 8, rounded up]; None without a file, as for older runs, or if the file does
        not match the record.
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
    if whole.read(1):  # a checksum that is damaged
        return None
    if packed.dtype != np.uint8 or packed.shape != (-(-images // 8),):
        return None
    return packed if int(np.unpackbits(packed).sum()) == count else None
