"""The description of a data set: how it is read, from which files, where to download them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ablate.data.source import Source


@dataclass(frozen=True)
class File:
    """A published file.

    Attributes:
        place: Its path below the data's root.
        md5: Its checksum.
        urls: Where it can be downloaded, mirrors included; empty for a file that is unpacked from
            a downloaded archive.
    """

    place: str
    md5: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: Its name in `data=NAME`.
        read: Reads all its images, given the data's root and the values of `settings`, and, if the
            images are `kept`, the `image_cache.Room` to put them in. Called only when all of
            `files` exist.
        files: Lists the files to read, given the root. A missing file is listed with the path that
            it would be downloaded to. None if the files cannot be known.
        settings: Knobs of the group `data` that decide what is read.
        listed: Lists the files to read, given the settings too, if they depend on the settings.
        published: Lists the files that can be downloaded and verified; None if there are none.
        unpublished: Why nothing can be downloaded.
        val_share: Share of the training images to hold out for validation, if the files contain
            test images but no validation images.
        kept: Whether its images are kept in the user's cache once they are decoded.
    """

    name: str
    read: Callable[..., Source]
    files: Callable[[Path], Sequence[Path]] | None
    settings: tuple[str, ...] = ()
    published: Callable[[], Sequence[File]] | None = None
    unpublished: str = ""
    val_share: Fraction = Fraction(1, 10)
    kept: bool = False
    listed: Callable[[Path, Mapping[str, Any]], Sequence[str | os.PathLike[str]]] | None = None

    def missing(self, root: Path) -> list[Path]:
        """List the files that must be downloaded before the data set can be read."""
        if self.published is None or self.files is None:
            return []
        return [path for path in self.files(root) if not path.is_file()]
