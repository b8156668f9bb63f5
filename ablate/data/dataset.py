"""What the rest of the program knows of a data set: how it is read, from which files, and so on."""

from __future__ import annotations

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
        place: Where it lies below the data's root.
        md5: Its checksum.
        urls: Where it can be downloaded, mirrors included; none for a file that comes out of a
            downloaded archive.
    """

    place: str
    md5: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
        name: What `data=NAME` calls it.
        read: Reads all its images, given the data's root and the values of `settings`. It is called
            once all of `files` are there.
        files: Lists the files that are read, given the root. A file that is missing is listed under
            the path that it would be downloaded to. None where nobody can tell.
        settings: Knobs of the group `data` that decide what is read.
        published: Lists what can be downloaded and verified; None where nothing can be.
        unpublished: Why nothing can be downloaded.
        val_share: Share of the training images that validates, where the files hold test images and
            no validation images.
    """

    name: str
    read: Callable[[Path, Mapping[str, Any]], Source]
    files: Callable[[Path], Sequence[Path]] | None
    settings: tuple[str, ...] = ()
    published: Callable[[], Sequence[File]] | None = None
    unpublished: str = ""
    val_share: Fraction = Fraction(1, 10)

    def missing(self, root: Path) -> list[Path]:
        """List the files that would have to be downloaded before it can be read."""
        if self.published is None or self.files is None:
            return []
        return [path for path in self.files(root) if not path.is_file()]
