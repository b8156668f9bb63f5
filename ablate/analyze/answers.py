"""Which test images runs got right, read when a comparison asks for it.

Two runs answered the same images if they had the same data, split the same way. Older runs have no
answers, nor do runs whose file no longer matches the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ablate import record
from ablate.analyze.crossed import Bits


class _Answered(NamedTuple):
    """What identifies a run's answers; the last three fields identify the images."""

    path: str
    right: int
    digest: str
    images: int
    split: int | None


class Answers:
    """The answers of the runs of a frame.

    They stay packed, one bit each: 1.25 kB for a run on 10,000 images.

    Args:
        runs: The runs frame.
    """

    def __init__(self, runs: pd.DataFrame) -> None:
        self._rows = [_answered(*row) for row in _columns(runs).itertuples(index=False, name=None)]
        self._packed: dict[int, NDArray[np.uint8] | None] = {}

    def of(self, mine: Sequence[int], theirs: Sequence[int]) -> tuple[Bits, Bits] | None:
        """Return the answers of two arms.

        Args:
            mine: The rows of one arm in the frame.
            theirs: The rows of the other.

        Returns:
            [n, I] and [m, I]; None unless all runs answered the same two or more images.
        """
        rows = [self._rows[i] for i in (*mine, *theirs)]
        if len({None if row is None else row[2:] for row in rows}) != 1 or rows[0] is None:
            return None
        packed = [self._of(i) for i in (*mine, *theirs)]
        known = [one for one in packed if one is not None]
        if len(known) < len(packed) or rows[0].images < 2:
            return None
        found = np.unpackbits(np.stack(known), axis=1, count=rows[0].images).astype(bool)
        return found[: len(mine)], found[len(mine) :]

    def _of(self, i: int) -> NDArray[np.uint8] | None:
        row = self._rows[i]
        if row is not None and i not in self._packed:
            self._packed[i] = record.read_correct(Path(row.path), row.images, row.right)
        return self._packed.get(i)


def _columns(runs: pd.DataFrame) -> pd.DataFrame:
    names = ["path", "test/accuracy", "data_digest", "test_images", "seeds.split"]
    return runs.reindex(columns=names).astype("object")


def _answered(path: Any, accuracy: Any, digest: Any, images: Any, split: Any) -> _Answered | None:
    if any(pd.isna(known) for known in (path, accuracy, digest, images)):
        return None
    return _Answered(
        str(path),
        round(accuracy * images),
        str(digest),
        int(images),
        None if pd.isna(split) else int(split),
    )
